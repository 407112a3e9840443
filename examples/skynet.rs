//! A million fibers: each spawns ten others, down to the leaves, which send their number; everybody else adds up.
//!
//! Prints the sum, and on stderr how long it took.
//!
//! `cargo run --release --example skynet -- 1000000`

use fibers::{Sender, channel, go};
use std::time::Instant;

const USAGE: &str = "usage: skynet [LEAVES]\nAdds up the numbers of LEAVES fibers (1000000 if LEAVES is not given).";

/// Sends the sum of `first`, `first + 1`, .., one fiber for each of `leaves` numbers.
fn skynet(sum: Sender<u64>, first: u64, leaves: u64) {
    if leaves <= 1 {
        sum.send(first * leaves).expect("the parent waits for it");
        return;
    }
    let children = leaves.min(10);
    let (tx, sums) = channel(0);
    let mut start = first;
    for child in 0..children {
        let share = leaves / children + u64::from(child < leaves % children);
        go!(skynet(tx.clone(), start, share));
        start += share;
    }
    drop(tx);
    sum.send(sums.iter().sum()).expect("the parent waits for it");
}

#[fibers::main]
fn main() {
    let leaves = fibers_examples::number(USAGE, 1_000_000);
    let started = Instant::now();
    let (tx, sum) = channel(0);
    go!(skynet(tx, 0, leaves as u64));
    println!("{}", sum.recv().expect("skynet sends its sum"));
    eprintln!("{leaves} leaves in {:?}", started.elapsed());
}
