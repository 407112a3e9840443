//! A tree of fibers, ten to a node, whose leaves are numbered and summed up.

use fibers::{Sender, channel, spawn};

/// The sum over a tree with so many leaves, a power of ten.
pub(crate) fn skynet(leaves: usize) -> usize {
    let (tx, rx) = channel(0);
    spawn(move || node(&tx, 0, leaves));
    rx.recv().unwrap()
}

fn node(parent: &Sender<usize>, number: usize, size: usize) {
    if size == 1 {
        parent.send(number).unwrap();
        return;
    }
    let (tx, rx) = channel(0);
    for i in 0..10 {
        let tx = tx.clone();
        spawn(move || node(&tx, number + i * (size / 10), size / 10));
    }
    let sum = (0..10).map(|_| rx.recv().unwrap()).sum();
    parent.send(sum).unwrap();
}
