//! Eight producers and eight consumers on one channel with room for 128.

use fibers::{Receiver, Sender, WaitGroup, channel};

/// Passes N values on.
pub(crate) fn crowd(n: usize) {
    let (tx, rx) = channel(128);
    let (producers, consumers) = (WaitGroup::new(), WaitGroup::new());
    for _ in 0..8 {
        let tx: Sender<usize> = tx.clone();
        producers.go(move || (0..n / 8).for_each(|i| tx.send(i).unwrap()));
    }
    for _ in 0..8 {
        let rx: Receiver<usize> = rx.clone();
        consumers.go(move || rx.iter().for_each(drop));
    }
    producers.wait();
    tx.close();
    consumers.wait();
}
