//! Two ways to slow requests down to one per tick: strictly, and with a bucket that lets a burst pass.
//!
//! `cargo run --release --example rate_limiter`

use fibers::time::Ticker;
use fibers::{Cond, Receiver, channel, go, select, time};
use std::time::{Duration, Instant};

const TICK: Duration = Duration::from_millis(10);
const BURST: usize = 3;
const REQUESTS: u32 = 8;

/// One token per tick; up to `BURST` of them wait in the bucket, which is full at first.
fn bucket(stop: Cond) -> Receiver<()> {
    let (tokens, bucket) = channel(BURST);
    for _ in 0..BURST {
        tokens.send(()).expect("an empty bucket");
    }
    let ticker = Ticker::new(TICK);
    go! {
        loop {
            select! {
                <-ticker => {
                    let _ = tokens.try_send(()); // a full bucket stays full
                }
                <-stop => return,
            }
        }
    };
    bucket
}

/// Tells how long the requests took, in a way that does not depend on the speed of the machine: never faster than allowed.
fn report(what: &str, started: Instant, ticks: u32) {
    let held_back = started.elapsed() >= ticks * TICK;
    println!("{what}: {REQUESTS} requests, spread over at least {ticks} ticks: {held_back}");
}

#[fibers::main]
fn main() {
    let started = time::now();
    let ticker = Ticker::new(TICK);
    for request in 1..=REQUESTS {
        ticker.recv();
        println!("strict: request {request}");
    }
    report("strict", started, REQUESTS);

    let stop = Cond::new();
    let started = time::now();
    let tokens = bucket(stop.clone());
    for request in 1..=REQUESTS {
        tokens.recv().expect("the bucket is refilled until `stop`");
        println!("bursty: request {request}");
    }
    report("bursty", started, REQUESTS - BURST as u32);
    stop.signal();
}
