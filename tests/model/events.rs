//! Conds, nacks, deadlines, timers that are reset, completers, and shutdowns, against commits.

use crate::world::*;
use fibers::{Op, channel, op, time};
use loom::thread;
use std::sync::Arc;
use std::time::Duration;

#[test]
fn conds() {
    let parties: &[Party] = &[
        (Thread, &[Signal]),
        (Fiber, &[Perform(&[Wait])]),
        (Thread, &[Perform(&[Wait])]),
    ];
    meet("lone waits", AT_MOST_3, &[], parties, |done| counts(done, Signalled, 2));
    let parties: &[Party] = &[
        (Thread, &[Signal]),
        (Fiber, &[Perform(&[Take(0), Wait])]),
        (Thread, &[Perform(&[Wait, Give(0)])]),
    ];
    meet("choices", AT_MOST_2, &[0], parties, |done| {
        counts(done, Signalled, 2) || one_pair(done)
    });
    let parties: &[Party] = &[
        (Thread, &[Signal]),
        (Thread, &[Perform(&[Wait]), Perform(&[Wait])]),
        (Fiber, &[Signal]),
    ];
    meet("twice", AT_MOST_3, &[], parties, |done| counts(done, Signalled, 2));
}

#[test]
fn deadlines() {
    let parties: &[Party] = &[(Thread, &[Perform(&[Give(0), Late])]), (Thread, &[Perform(&[Late, Take(0)])])];
    meet("threads", AT_MOST_3, &[0], parties, |done| {
        met(done) || counts(done, TimeOver, 2)
    });
    let parties: &[Party] = &[(Fiber, &[Perform(&[Give(0), Late])]), (Fiber, &[Perform(&[Late, Take(0)])])];
    meet("fibers", AT_MOST_3, &[0], parties, |done| {
        met(done) || counts(done, TimeOver, 2)
    });
    let parties: &[Party] = &[
        (Fiber, &[Perform(&[Give(0), Late])]),
        (Fiber, &[Perform(&[Take(0), Late])]),
        (Thread, &[Perform(&[Take(0), Late])]),
    ];
    meet("three", AT_MOST_2, &[0], parties, |done| {
        counts(done, TimeOver, 1) || counts(done, TimeOver, 3)
    });
}

/// Delivered or aborted, never both and never neither.
#[test]
fn shutdowns() {
    let parties: &[Party] = &[(Thread, &[Perform(&[Give(0), Late])]), (Ending, &[Perform(&[Take(0)])])];
    meet("lone", AT_MOST_3, &[0], parties, |done| {
        met(done) || (done[0] == [TimeOver] && done[1] == [Unwound])
    });
    let parties: &[Party] = &[
        (Thread, &[Perform(&[Give(0), Late])]),
        (Ending, &[Perform(&[Take(1), Take(0)])]),
    ];
    meet("choice", AT_MOST_3, &[0, 0], parties, |done| {
        met(done) || (done[0] == [TimeOver] && done[1] == [Unwound])
    });
    let parties: &[Party] = &[
        (Ending, &[Perform(&[Give(0), Take(1)])]),
        (Ending, &[Perform(&[Give(1), Take(0)])]),
    ];
    meet("both", AT_MOST_3, &[0, 0], parties, |done| {
        one_pair(done) || counts(done, Unwound, 2)
    });
}

/// The nack fires exactly when its subtree was not chosen; whoever waits for it is released once.
#[test]
fn nacks() {
    for on_fiber in [false, true] {
        explore("nack", AT_MOST_3, move || {
            let ends = Arc::new(channel::<u32>(0));
            let theirs = ends.clone();
            let (server_tx, server_rx) = std::sync::mpsc::channel();
            let client = thread::spawn(move || {
                let op = op::with_nack(|nack| {
                    let ends = theirs.clone();
                    let server = move || {
                        let reply = ends.0.send_op(1).wrap(|sent| sent.is_ok());
                        reply.or(nack.wrap(|()| false)).perform()
                    };
                    server_tx.send(thread::spawn(server)).unwrap();
                    theirs.1.recv_op().wrap(|got| got.is_ok())
                });
                let run = || op.timeout(Duration::from_millis(1)).perform().is_ok();
                if on_fiber { fibers::run(run) } else { run() }
            });
            let taken = client.join().unwrap();
            let served = server_rx.try_recv().unwrap().join().unwrap();
            assert_eq!(served, taken);
            assert_eq!((ends.0.waiting_senders(), ends.1.waiting_receivers()), (0, 0));
        });
    }
}

/// A reset tells who waits to look again.
#[test]
fn resets() {
    for on_fiber in [false, true] {
        explore("reset", AT_MOST_3, move || {
            let timer = time::Timer::new(Duration::from_secs(1));
            let theirs = timer.clone();
            let waiter = thread::spawn(move || match on_fiber {
                true => fibers::run(|| theirs.recv()),
                false => theirs.recv(),
            });
            let pending = timer.reset(Duration::from_millis(1));
            if !pending {
                // The tick had been taken; this is the next one, and nobody takes it.
                assert!(timer.stop());
            }
            waiter.join().unwrap();
        });
    }
}

/// A completer delivers to its perform or gives the value back.
#[test]
fn completers() {
    for on_fiber in [false, true] {
        explore("completer", AT_MOST_3, move || {
            let ends = Arc::new(channel::<u32>(0));
            let theirs = ends.clone();
            let (tx, rx) = std::sync::mpsc::channel::<thread::JoinHandle<bool>>();
            let performer = thread::spawn(move || {
                let base = op::base(
                    || None,
                    |completer: op::Completer<u32>| {
                        tx.send(thread::spawn(move || completer.complete(7).is_ok())).unwrap();
                    },
                    || {},
                );
                let run = || base.or(theirs.1.recv_op().wrap(|got| got.unwrap())).perform();
                if on_fiber { fibers::run(run) } else { run() }
            });
            // Not here: the wake of a thread may come after its perform, when loom takes it for the end of a join.
            let sender = thread::spawn(move || {
                let late = time::sleep_op(Duration::from_millis(1)).wrap(|()| false);
                ends.0.send_op(1).wrap(|sent| sent.is_ok()).or(late).perform()
            });
            let (got, sent) = (performer.join().unwrap(), sender.join().unwrap());
            let completed = rx
                .try_iter()
                .map(|thread| thread.join().unwrap())
                .filter(|done| *done)
                .count();
            assert_eq!(completed, usize::from(got == 7));
            assert_eq!(sent, got == 1);
        });
    }
}
