//! What user code may do while its fiber has a perform published.

use super::within_a_minute;
use fibers::{Op, Runtime, channel, op};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// A perform in the publish function of a `base` operation must not wait. It is never published, so nobody can meet it: a fiber
/// with two performs published could be woken twice.
#[test]
fn no_second_perform_is_published() {
    within_a_minute(|| {
        let (tx, rx) = channel::<u32>(0);
        let over = Arc::new(AtomicBool::new(false));
        let seen = over.clone();
        let peer = thread::spawn(move || {
            let mut met = 0;
            while !seen.load(Ordering::Relaxed) {
                met += u32::from(tx.try_send(1).is_ok());
            }
            met
        });
        let rt = Runtime::builder().workers(1).build().unwrap();
        rt.run(|| {
            for round in 0..200 {
                let mut refused = false;
                let outer = op::base(
                    || None,
                    |completer: op::Completer<u32>| {
                        refused = catch_unwind(AssertUnwindSafe(|| rx.recv())).is_err();
                        completer.complete(round).unwrap();
                    },
                    || {},
                );
                assert_eq!(outer.perform(), round);
                assert!(refused);
            }
        });
        over.store(true, Ordering::Relaxed);
        assert_eq!(peer.join().unwrap(), 0);
    });
}
