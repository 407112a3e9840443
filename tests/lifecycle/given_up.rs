//! Fibers that a shutdown gives up stay where they are for ever, whoever meets the operations that they still wait in.

use super::within_a_minute;
use fibers::{Op, fiber};
use fibers::{Receiver, Runtime, Sender, Shutdown, channel, defer, op, sleep, spawn, yield_now};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const A_MOMENT: Duration = Duration::from_millis(5);

/// Leaves a fiber behind that waits at the receiver; says whether it ever goes on.
fn leave_behind(rt: &Runtime, rx: &Receiver<u32>) -> Arc<AtomicBool> {
    let resumed = Arc::new(AtomicBool::new(false));
    let (theirs, noted) = (rx.clone(), resumed.clone());
    rt.run(|| {
        spawn(move || {
            let _ = theirs.recv();
            noted.store(true, Ordering::SeqCst);
        });
        sleep(A_MOMENT);
        assert_eq!(rx.waiting_receivers(), 1);
    });
    resumed
}

/// A fiber of the last run is met by one of the next, on the same worker: its stack refers to a worker that is gone.
#[test]
fn met_in_the_next_run() {
    within_a_minute(|| {
        for workers in [1, 2] {
            let rt = Runtime::builder().workers(workers).shutdown(Shutdown::Leak).build().unwrap();
            let (tx, rx) = channel(0);
            let resumed = leave_behind(&rt, &rx);
            rt.run(|| {
                tx.try_send(5).unwrap();
                sleep(A_MOMENT);
                (0..100).for_each(|_| yield_now());
            });
            assert!(!resumed.load(Ordering::SeqCst));
        }
    });
}

/// ... and by a thread, while no run goes on, and after the runtime is gone.
#[test]
fn met_by_a_thread() {
    within_a_minute(|| {
        for gone in [false, true] {
            let rt = Runtime::builder().workers(1).shutdown(Shutdown::Leak).build().unwrap();
            let (tx, rx) = channel(0);
            let resumed = leave_behind(&rt, &rx);
            let rt = (!gone).then_some(rt);
            tx.try_send(5).unwrap();
            if let Some(rt) = rt {
                rt.run(|| sleep(A_MOMENT));
            }
            assert!(!resumed.load(Ordering::SeqCst));
        }
    });
}

/// A fiber that swallows every unwinding is given up while it waits; then a sibling meets it in a destructor.
#[test]
fn stubborn_and_met_by_a_sibling() {
    within_a_minute(|| {
        let rt = Runtime::builder().workers(1).build().unwrap();
        let (tx, rx): (Sender<u32>, Receiver<u32>) = channel(0);
        let sent = Arc::new(AtomicBool::new(false));
        rt.run(|| {
            let theirs = rx.clone();
            spawn(move || {
                // Stops after a number of rounds that is never reached: a fiber that is given up does not run.
                for _ in 0..100 {
                    let received = catch_unwind(AssertUnwindSafe(|| theirs.recv()));
                    assert!(received.is_err(), "given up, and yet it goes on");
                }
                unreachable!("it is given up after 16 rounds");
            });
            let noted = sent.clone();
            sleep(A_MOMENT);
            let waiting = rx.clone();
            fiber::Builder::new()
                .name("partner")
                .spawn(move || {
                    let _last = defer(move || {
                        while waiting.waiting_receivers() == 0 {
                            sleep(A_MOMENT);
                        }
                        noted.store(tx.try_send(1).is_ok(), Ordering::SeqCst);
                        sleep(A_MOMENT);
                    });
                    op::never::<()>().perform();
                })
                .unwrap();
            sleep(A_MOMENT);
        });
        assert!(sent.load(Ordering::SeqCst), "its operation is still there to be met");
    });
}
