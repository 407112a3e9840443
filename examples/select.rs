//! What `select!` can wait for: receiving, sending, a deadline, nothing at all, and arms that are absent for the moment.
//!
//! `cargo run --release --example select`

use fibers::{Receiver, Sender, channel, go, select, time};
use std::time::Duration;

/// `default` makes it a question: is anything ready now?
fn poll(rx: &Receiver<u32>) {
    select! {
        v = <-rx => println!("poll: {v:?}"),
        default => println!("poll: nothing yet"),
    }
}

/// A deadline for the whole loop, and a pause that each value may take: both are arms like any other. `biased` takes the first
/// arm that is ready, so that no value is left behind.
fn within(rx: &Receiver<u32>, all: Duration, each: Duration) -> &'static str {
    let deadline = time::after(all);
    loop {
        select! {
            biased;
            Ok(v) = <-rx else { return "closed" } => println!("within: got {v}"),
            <-time::after(each) => return "a pause too long",
            <-deadline => return "too late",
        }
    }
}

/// Merges two streams until both have ended. A stream that has ended becomes `None`, and receiving from `None` is never ready:
/// what Go does with a nil channel.
fn merge(left: Receiver<u32>, right: Receiver<u32>, to: Sender<u32>) {
    let (mut left, mut right) = (Some(left), Some(right));
    while left.is_some() || right.is_some() {
        select! {
            v = <-left => match v {
                Ok(v) => to.send(v).expect("main receives all"),
                Err(_) => left = None,
            },
            v = <-right => match v {
                Ok(v) => to.send(v).expect("main receives all"),
                Err(_) => right = None,
            },
        }
    }
}

/// A queue without a bound, between two channels without a buffer: it sends only while it holds something, and receives only
/// while there is more to come. The value that is sent is evaluated only if the arm's condition holds.
fn elastic(from: Receiver<u32>, to: Sender<u32>) {
    let mut held = std::collections::VecDeque::new();
    let mut more = true;
    while more || !held.is_empty() {
        select! {
            v = <-from if more => match v {
                Ok(v) => held.push_back(v),
                Err(_) => more = false,
            },
            to <- held[0] if !held.is_empty() => {
                held.pop_front();
            }
        }
    }
}

/// A producer of `values`: the receiver sees the end when it is done.
fn produce(values: std::ops::Range<u32>) -> Receiver<u32> {
    let (tx, rx) = channel(0);
    go! {
        for value in values {
            tx.send(value).expect("somebody receives all");
        }
    };
    rx
}

#[fibers::main]
fn main() {
    let (tx, rx) = channel(1);
    poll(&rx);
    tx.send(7).expect("rx is here");
    poll(&rx);

    tx.send(8).expect("rx is here");
    println!(
        "within: {}",
        within(&rx, Duration::from_secs(3600), Duration::from_millis(20))
    );
    println!(
        "within: {}",
        within(&rx, Duration::from_millis(20), Duration::from_secs(3600))
    );
    drop(tx);
    println!(
        "within: {}",
        within(&rx, Duration::from_secs(3600), Duration::from_secs(3600))
    );
    poll(&rx);

    let (tx, merged) = channel(0);
    go!(merge(produce(0..10), produce(10..20), tx));
    let mut all: Vec<_> = merged.iter().collect();
    all.sort_unstable();
    println!("merge: {all:?}");

    let (input, from) = channel(0);
    let (to, output) = channel(0);
    go!(elastic(from, to));
    for value in 0..1000 {
        input.send(value).expect("elastic takes everything"); // before anything has been received
    }
    drop(input);
    println!("elastic: {} values, in order: {}", 1000, output.iter().eq(0..1000));
}
