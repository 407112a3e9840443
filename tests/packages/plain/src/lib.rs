//! Everything that the macros do can be written without them.
#![cfg(test)]

use fibers::op::{biased, choice};
use fibers::{Op, channel, spawn};

#[test]
fn plain_api() {
    fibers::run(|| {
        let (tx, rx) = channel::<u32>(0);
        let sender = spawn(move || tx.send(1));
        let _deferred = fibers::defer(|| ());
        let got = choice((rx.recv_op().wrap(Some), fibers::op::never())).perform();
        assert_eq!(got, Some(Ok(1)));
        sender.join().unwrap().unwrap();
        assert!(biased((rx.recv_op(), rx.recv_op())).perform().is_err());
    });
}
