//! Once: exactly one initialiser, and everybody sees what it did.

use crate::{hush, join_all, mixed};
use fibers::sync::Once;
use fibers::{Op, channel, op, select};
use fibers_tests::{Counter, On, everywhere, panic_message, quiet_panic, rounds, under_stress};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

pub(crate) const ITSELF: &str = "an initialiser waits for itself: it was called again from inside its own run";

#[test]
fn runs_once() {
    let (once, runs) = (Once::new(), Counter::default());
    assert!(!once.is_completed());
    assert_eq!(format!("{once:?}"), "Once { phase: Incomplete }");
    assert!(once.wait_op().try_perform().is_none());
    once.call_once(|| runs.add());
    once.call_once(|| runs.add());
    once.wait();
    assert!(once.is_completed());
    assert_eq!(runs.get(), 1);
    assert_eq!(format!("{once:?}"), "Once { phase: Complete }");
    static ONCE: Once = Once::new();
    ONCE.call_once(|| runs.add());
    assert_eq!(runs.get(), 2);
}

/// The initialiser suspends; all others wait for it, more than a batch of them, as callers and as waiters.
#[test]
fn an_initialiser_may_suspend() {
    everywhere(|on| {
        let (once, runs) = (Arc::new(Once::new()), Counter::default());
        let (go_on, told) = channel::<()>(0);
        let (began, begun) = channel::<()>(0);
        let (first, ran) = (once.clone(), runs.clone());
        let first = on.spawn(move || {
            first.call_once(|| {
                began.send(()).unwrap();
                told.recv().unwrap();
                ran.add();
            });
        });
        begun.recv().unwrap();
        let others: Vec<_> = (0..40)
            .map(|i| {
                let (once, runs) = (once.clone(), runs.clone());
                on.spawn(move || {
                    if i % 2 == 0 {
                        once.call_once(|| runs.add());
                    } else {
                        once.wait();
                    }
                    runs.get()
                })
            })
            .collect();
        assert!(once.call_once_op(|| runs.add()).try_perform().is_none());
        assert!(
            once.call_once_op(|| runs.add())
                .timeout(Duration::from_millis(1))
                .perform()
                .is_err()
        );
        assert!(once.wait_op().timeout(Duration::from_millis(1)).perform().is_err());
        go_on.send(()).unwrap();
        first.join();
        for other in others {
            assert_eq!(other.join(), 1);
        }
        assert_eq!(runs.get(), 1);
    });
}

/// A panic is no run: the first caller who waits gets the turn, and waiters go on waiting.
#[test]
fn a_panic_hands_the_turn_on() {
    everywhere(|on| {
        let (once, runs) = (Arc::new(Once::new()), Counter::default());
        let (go_on, told) = channel::<()>(0);
        let (began, begun) = channel::<()>(0);
        let theirs = once.clone();
        let fails = on.spawn(move || {
            theirs.call_once(|| {
                began.send(()).unwrap();
                told.recv().unwrap();
                quiet_panic("no");
            });
        });
        begun.recv().unwrap();
        let others: Vec<_> = (0..4)
            .map(|i| {
                let (once, runs) = (once.clone(), runs.clone());
                on.spawn(move || if i == 0 { once.wait() } else { once.call_once(|| runs.add()) })
            })
            .collect();
        go_on.send(()).unwrap();
        assert_eq!(panic_message(&*fails.outcome().unwrap_err()), "no");
        others.into_iter().for_each(|task| task.join());
        assert_eq!(runs.get(), 1);
        assert!(once.is_completed());
    });
}

#[test]
fn calling_itself_panics() {
    hush();
    everywhere(|on| {
        let once = Arc::new(Once::new());
        let theirs = once.clone();
        let task = on.spawn(move || theirs.call_once(|| theirs.call_once(|| {})));
        assert_eq!(panic_message(&*task.outcome().unwrap_err()), ITSELF);
        // Nothing is poisoned.
        once.call_once(|| {});
        assert!(once.is_completed());
    });
}

/// The turn belongs to the performer, not to its thread: another fiber of the same worker waits.
#[test]
fn another_fiber_on_the_same_thread_waits() {
    if cfg!(miri) {
        return;
    }
    On::Fibers(1).run(|on| {
        let once = Arc::new(Once::new());
        let theirs = once.clone();
        let first = on.spawn(move || theirs.call_once(fibers::yield_now));
        let theirs = once.clone();
        let second = on.spawn(move || theirs.call_once(fibers::yield_now));
        first.join();
        second.join();
        assert!(once.is_completed());
    });
}

#[test]
fn an_arm_that_wins_and_one_that_loses() {
    everywhere(|_| {
        let once = Once::new();
        let (tx, rx) = channel::<u32>(1);
        tx.send(1).unwrap();
        select! {
            <-once => panic!("nothing has been run"),
            v = <-rx => assert_eq!(v, Ok(1)),
        }
        select! {
            _ = once.call_once_op(|| {}) => {}
            <-rx => panic!("nothing was sent"),
        }
        select! {
            <-once => {}
            <-rx => panic!("nothing was sent"),
        }
    });
}

/// A caller who is given the turn, but takes another branch or unwinds before it begins, hands it on.
#[test]
fn a_turn_that_is_not_used_is_handed_on() {
    everywhere(|on| {
        let once = Arc::new(Once::new());
        let (go_on, told) = channel::<()>(0);
        let (began, begun) = channel::<()>(0);
        let theirs = once.clone();
        let fails = on.spawn(move || {
            theirs.call_once(|| {
                began.send(()).unwrap();
                told.recv().unwrap();
                quiet_panic("no");
            });
        });
        begun.recv().unwrap();
        let (never_tx, never) = channel::<()>(0);
        let theirs = once.clone();
        let unwinds = on.spawn(move || {
            let other = never.recv_op().wrap(drop).on_abort(|| quiet_panic("in the abort action"));
            theirs.call_once_op(|| unreachable!()).or(other).perform();
        });
        on.eventually(|| never_tx.waiting_receivers() == 1);
        go_on.send(()).unwrap();
        assert!(fails.outcome().is_err());
        assert_eq!(panic_message(&*unwinds.outcome().unwrap_err()), "in the abort action");
        let done = AtomicBool::new(false);
        once.call_once(|| done.store(true, Ordering::Relaxed));
        assert!(done.into_inner());
    });
}

#[test]
fn two_branches_on_one_once() {
    everywhere(|_| {
        let (once, runs) = (Arc::new(Once::new()), Counter::default());
        let both = |runs: &Counter| {
            let runs = runs.clone();
            let also = runs.clone();
            op::choice((once.call_once_op(move || runs.add()), once.call_once_op(move || also.add()))).perform();
        };
        both(&runs);
        both(&runs);
        assert_eq!(runs.get(), 1);
    });
}

/// Everybody calls at once, initialisers fail at times: one succeeds, and everybody sees what it did.
#[test]
fn contended() {
    under_stress(|on| {
        for round in 0..rounds(20, 20_000) {
            let shared = Arc::new((Once::new(), AtomicU64::new(0), AtomicU64::new(0)));
            let tasks: Vec<_> = mixed(on, 4)
                .enumerate()
                .map(|(i, on)| {
                    let shared = shared.clone();
                    on.spawn(move || {
                        let (once, value, runs) = &*shared;
                        let fails = i % 2 == 0 && round % 3 == 0;
                        let called = catch_unwind(AssertUnwindSafe(|| {
                            once.call_once(|| {
                                if fails {
                                    on.pause();
                                    quiet_panic("at times");
                                }
                                value.store(round + 1, Ordering::Relaxed);
                                runs.fetch_add(1, Ordering::Relaxed);
                            });
                        }));
                        assert!(fails || called.is_ok());
                        if called.is_ok() {
                            assert_eq!(value.load(Ordering::Relaxed), round + 1);
                        }
                    })
                })
                .collect();
            join_all(on, tasks);
            assert_eq!(shared.2.load(Ordering::Relaxed), 1);
        }
    });
}
