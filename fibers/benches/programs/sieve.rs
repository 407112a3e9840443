//! A chain of filters that grows by one fiber per prime.

use fibers::{channel, spawn};

/// The Nth prime.
pub(crate) fn sieve(n: usize) -> usize {
    let (tx, mut rx) = channel(0);
    spawn(move || (2..).try_for_each(|i: usize| tx.send(i)));
    let mut last = 0;
    for _ in 0..n {
        let prime = rx.recv().unwrap();
        last = prime;
        let (out, filtered) = channel(0);
        let numbers = std::mem::replace(&mut rx, filtered);
        spawn(move || {
            for v in numbers {
                if v % prime != 0 && out.send(v).is_err() {
                    return;
                }
            }
        });
    }
    last
}
