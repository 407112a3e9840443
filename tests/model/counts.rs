//! Permits, turns, groups and barriers, against choices that withdraw, shutdowns and panics.

use crate::world::{ALL, AT_MOST_1, AT_MOST_2, AT_MOST_3, explore};
use fibers::sync::{Barrier, Once, Semaphore, WaitGroup};
use fibers::{Op, time};
use loom::thread;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

/// Runs on a fiber of the model, or on a thread.
fn on<T>(fiber: bool, f: impl FnOnce() -> T) -> T {
    if fiber { fibers::run(f) } else { f() }
}

/// A deadline, which may pass at any time.
fn late() -> impl Op<Output = ()> {
    time::sleep_op(Duration::from_millis(1))
}

fn is_at_rest(semaphore: &Semaphore, available: usize) {
    assert_eq!(
        format!("{semaphore:?}"),
        format!("Semaphore {{ available: {available}, closed: false, waiting: 0 }}")
    );
}

/// A permit that is given back meets one who waits, and one who may withdraw.
#[test]
fn permits_from_hand_to_hand() {
    for fiber in [false, true] {
        explore("release, acquire, withdraw", AT_MOST_2, move || {
            let semaphore = Arc::new(Semaphore::new(1));
            let held = semaphore.clone().try_acquire_owned().unwrap();
            let theirs = semaphore.clone();
            let withdraws = thread::spawn(move || {
                on(fiber, || {
                    let got = theirs.acquire_op().wrap(|permit| drop(permit.unwrap()));
                    got.or(late()).perform();
                });
            });
            let theirs = semaphore.clone();
            let waits = thread::spawn(move || on(fiber, || drop(theirs.acquire().unwrap())));
            drop(held);
            withdraws.join().unwrap();
            waits.join().unwrap();
            is_at_rest(&semaphore, 1);
        });
    }
}

/// A large demand at the head withdraws: whoever stands behind it is not forgotten.
#[test]
fn many_permits_at_once() {
    for fiber in [false, true] {
        explore("many", AT_MOST_3, move || {
            let semaphore = Arc::new(Semaphore::new(1));
            let theirs = semaphore.clone();
            let large = thread::spawn(move || {
                on(fiber, || {
                    let many = theirs.acquire_many_op(2).wrap(|permit| drop(permit.unwrap()));
                    many.or(late()).perform();
                });
            });
            let theirs = semaphore.clone();
            let small = thread::spawn(move || on(fiber, || drop(theirs.acquire().unwrap())));
            large.join().unwrap();
            small.join().unwrap();
            is_at_rest(&semaphore, 1);
        });
        explore("many, given back", AT_MOST_3, move || {
            let semaphore = Arc::new(Semaphore::new(2));
            let held = semaphore.clone().try_acquire_owned().unwrap();
            let theirs = semaphore.clone();
            let large = thread::spawn(move || on(fiber, || theirs.acquire_many(2).unwrap().permits()));
            let theirs = semaphore.clone();
            let small = thread::spawn(move || {
                on(fiber, || {
                    let got = theirs.acquire_op().wrap(|permit| drop(permit.unwrap()));
                    got.or(late()).perform();
                });
            });
            drop(held);
            assert_eq!(large.join().unwrap(), 2);
            small.join().unwrap();
            is_at_rest(&semaphore, 2);
        });
    }
}

/// Two choices over the same two semaphores, in opposite orders; there is a permit of one, and one of the other comes.
#[test]
fn crossed_semaphores() {
    explore("crossed semaphores", AT_MOST_1, || {
        let pair = Arc::new((Semaphore::new(1), Semaphore::new(0)));
        let chooser = |swapped: bool| {
            let pair = pair.clone();
            thread::spawn(move || {
                let (a, b) = if swapped { (&pair.1, &pair.0) } else { (&pair.0, &pair.1) };
                a.acquire_op().or(b.acquire_op()).perform().unwrap().forget();
            })
        };
        let (one, other) = (chooser(false), chooser(true));
        pair.1.add_permits(1);
        one.join().unwrap();
        other.join().unwrap();
        assert_eq!((pair.0.available(), pair.1.available()), (0, 0));
    });
}

/// The runtime of a waiter ends: its permit is taken and given back, or never taken.
#[test]
fn shutdown_of_a_waiter() {
    for lone in [true, false] {
        explore("shutdown of a waiter", AT_MOST_2, move || {
            let semaphore = Arc::new(Semaphore::new(1));
            let held = semaphore.clone().try_acquire_owned().unwrap();
            let theirs = semaphore.clone();
            let ending = thread::spawn(move || {
                let wait = || match lone {
                    true => drop(theirs.acquire()),
                    false => drop(theirs.acquire_op().or(theirs.acquire_many_op(2)).perform()),
                };
                let _ = fibers::shut_down(wait);
            });
            let theirs = semaphore.clone();
            let behind = thread::spawn(move || drop(theirs.acquire().unwrap()));
            drop(held);
            ending.join().unwrap();
            behind.join().unwrap();
            is_at_rest(&semaphore, 1);
        });
    }
}

#[test]
fn closing_a_semaphore() {
    explore("close", AT_MOST_3, || {
        let semaphore = Arc::new(Semaphore::new(0));
        let waiters = [false, true].map(|fiber| {
            let theirs = semaphore.clone();
            thread::spawn(move || on(fiber, || theirs.acquire().map(|permit| permit.forget()).is_ok()))
        });
        semaphore.add_permits(1);
        semaphore.close();
        let served = waiters.map(|waiter| waiter.join().unwrap());
        let served = served.iter().filter(|served| **served).count();
        assert_eq!(served + semaphore.available(), 1);
    });
}

/// The first initialiser panics, or does not: then the second caller runs its own, or sees what the first one did.
#[test]
fn once_and_a_second_caller() {
    for (fiber, panics) in [(false, false), (false, true), (true, false), (true, true)] {
        explore("once", AT_MOST_2, move || {
            let shared = Arc::new((Once::new(), AtomicUsize::new(0)));
            let caller = |fails: bool| {
                let shared = shared.clone();
                move || {
                    on(fiber, || {
                        shared.0.call_once(|| {
                            if fails {
                                panic::resume_unwind(Box::new("no"));
                            }
                            shared.1.fetch_add(1, Relaxed);
                        });
                        assert_eq!(shared.1.load(Relaxed), 1);
                    });
                }
            };
            let fails = caller(panics);
            let first = thread::spawn(move || {
                let ran = panic::catch_unwind(AssertUnwindSafe(fails));
                assert!(ran.is_ok() || panics);
            });
            let second = thread::spawn(caller(false));
            let theirs = shared.clone();
            let waiter = thread::spawn(move || {
                on(fiber, || {
                    theirs.0.wait();
                    assert_eq!(theirs.1.load(Relaxed), 1);
                });
            });
            first.join().unwrap();
            second.join().unwrap();
            waiter.join().unwrap();
            assert!(shared.0.is_completed());
        });
    }
}

/// A turn that is handed to somebody who withdraws, or whose runtime ends, is handed on.
#[test]
fn a_turn_is_handed_on() {
    for ending in [false, true] {
        explore("turn", AT_MOST_2, move || {
            let once = Arc::new(Once::new());
            let theirs = once.clone();
            let fails = thread::spawn(move || {
                let call = || theirs.call_once(|| panic::resume_unwind(Box::new("no")));
                let _ = panic::catch_unwind(AssertUnwindSafe(call));
            });
            let theirs = once.clone();
            let leaves = thread::spawn(move || match ending {
                true => drop(fibers::shut_down(|| theirs.call_once(|| {}))),
                false => theirs.call_once_op(|| {}).or(late()).perform(),
            });
            let theirs = once.clone();
            let calls = thread::spawn(move || theirs.call_once(|| {}));
            fails.join().unwrap();
            leaves.join().unwrap();
            calls.join().unwrap();
            assert!(once.is_completed());
        });
    }
}

#[test]
fn wait_groups() {
    for fiber in [false, true] {
        explore("wait group", AT_MOST_2, move || {
            let (group, done) = (WaitGroup::new(), Arc::new(AtomicUsize::new(0)));
            group.add(2);
            let (theirs, counted) = (group.clone(), done.clone());
            let worker = thread::spawn(move || {
                counted.fetch_add(1, Relaxed);
                theirs.done();
            });
            let (theirs, seen) = (group.clone(), done.clone());
            let withdraws = thread::spawn(move || {
                on(fiber, || {
                    let all = theirs.wait_op().wrap(|()| true);
                    if all.or(late().wrap(|()| false)).perform() {
                        assert_eq!(seen.load(Relaxed), 2);
                    }
                });
            });
            let (theirs, seen) = (group.clone(), done.clone());
            let waits = thread::spawn(move || {
                on(fiber, || theirs.wait());
                assert_eq!(seen.load(Relaxed), 2);
            });
            done.fetch_add(1, Relaxed);
            group.done();
            waits.join().unwrap();
            worker.join().unwrap();
            withdraws.join().unwrap();
        });
        // Used again before the waiter of the first round has returned.
        explore("wait group, again", ALL, move || {
            let group = WaitGroup::new();
            group.add(1);
            let theirs = group.clone();
            let waiter = thread::spawn(move || on(fiber, || theirs.wait()));
            group.done();
            group.add(2);
            group.add(-2);
            waiter.join().unwrap();
        });
    }
}

/// All parties of a round or none, whoever withdraws.
#[test]
fn barriers() {
    for fiber in [false, true] {
        explore("barrier", AT_MOST_3, move || {
            let barrier = Arc::new(Barrier::new(2));
            let parties = [false, true].map(|twice| {
                let barrier = barrier.clone();
                let arrive = move || match twice {
                    true => barrier.wait_op().or(barrier.wait_op()).perform().is_leader(),
                    false => barrier.wait().is_leader(),
                };
                thread::spawn(move || on(fiber, || [arrive(), arrive()]))
            });
            let [mine, theirs] = parties.map(|party| party.join().unwrap());
            assert!(mine[0] != theirs[0] && mine[1] != theirs[1], "{mine:?}, {theirs:?}");
        });
        explore("barrier, withdrawing", AT_MOST_2, move || {
            let barrier = Arc::new(Barrier::new(2));
            let parties = [(); 3].map(|()| {
                let barrier = barrier.clone();
                thread::spawn(move || {
                    on(fiber, || {
                        let arrives = barrier.wait_op().wrap(|result| Some(result.is_leader()));
                        arrives.or(late().wrap(|()| None)).perform()
                    })
                })
            });
            let passed: Vec<_> = parties.into_iter().filter_map(|party| party.join().unwrap()).collect();
            let leaders = passed.iter().filter(|leads| **leads).count();
            assert!(passed.len() == 2 * leaders && leaders <= 1, "{passed:?}");
        });
    }
    explore("barrier of three", AT_MOST_2, || {
        let barrier = Arc::new(Barrier::new(3));
        let parties = [false, true, false].map(|fiber| {
            let barrier = barrier.clone();
            thread::spawn(move || {
                on(fiber, || {
                    let arrives = barrier.wait_op().wrap(|_| true);
                    arrives.or(late().wrap(|()| false)).perform()
                })
            })
        });
        let passed = parties.map(|party| party.join().unwrap());
        assert_eq!(passed, [passed[0]; 3]);
    });
}

/// Parties that wait at two barriers at once, in opposite orders: each passes one, together with the other one.
#[test]
fn crossed_barriers() {
    for fiber in [false, true] {
        explore("crossed barriers", AT_MOST_3, move || {
            let pair = Arc::new((Barrier::new(2), Barrier::new(2)));
            let parties = [false, true].map(|swapped| {
                let pair = pair.clone();
                thread::spawn(move || {
                    let (a, b) = (pair.0.wait_op().wrap(|_| 0), pair.1.wait_op().wrap(|_| 1));
                    on(fiber, || match swapped {
                        true => b.or(a).perform(),
                        false => a.or(b).perform(),
                    })
                })
            });
            let [one, other] = parties.map(|party| party.join().unwrap());
            assert_eq!(one, other);
        });
    }
}
