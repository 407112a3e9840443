//! A deadlock is reported only if nobody is left who could wake somebody: not while a thread, or a blocking job, is about to.
//!
//! A program of its own, since threads of a test harness would be taken for those that could.

use fibers::{Runtime, channel, spawn, spawn_blocking};
use std::thread;
use std::time::{Duration, Instant};

fn main() {
    let rt = Runtime::builder().workers(1).build().unwrap();
    let over = Instant::now() + Duration::from_secs(2);
    let rounds = rt.run(|| {
        let mut rounds = 0_u64;
        while Instant::now() < over {
            let (tx, rx) = channel::<u64>(0);
            thread::spawn(move || tx.send(1));
            let received = spawn(move || rx.recv().unwrap()).join().unwrap();
            let computed = spawn(|| spawn_blocking(|| 1).join().unwrap()).join().unwrap();
            rounds += received * computed;
        }
        rounds
    });
    println!("{rounds} rounds");
}
