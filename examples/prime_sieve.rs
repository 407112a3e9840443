//! Go's concurrent prime sieve: a chain of fibers, one for each prime found, and each strikes out the multiples of its own.
//!
//! Prints the first N primes, the Nth on the last line.
//!
//! `cargo run --release --example prime_sieve -- 100`

use fibers::{Receiver, Sender, channel, go};
use std::io::{self, Write};

const USAGE: &str = "usage: prime_sieve [N]\nPrints the first N primes (100 if N is not given).";

/// Sends 2, 3, 4, .. for as long as somebody receives.
fn generate(numbers: Sender<u64>) {
    for number in 2.. {
        if numbers.send(number).is_err() {
            return;
        }
    }
}

/// Passes on what `prime` does not divide.
fn filter(from: Receiver<u64>, to: Sender<u64>, prime: u64) {
    for number in from {
        if number % prime != 0 && to.send(number).is_err() {
            return;
        }
    }
}

#[fibers::main]
fn main() {
    let n = fibers_examples::number(USAGE, 100);
    let mut out = io::stdout();

    let (tx, mut numbers) = channel(0);
    go!(generate(tx));
    for _ in 0..n {
        let Ok(prime) = numbers.recv() else { return };
        if writeln!(out, "{prime}").is_err() {
            return; // nobody reads on, as in `prime_sieve | head`
        }
        let (tx, rx) = channel(0);
        go!(filter(numbers, tx, prime));
        numbers = rx;
    }
}
