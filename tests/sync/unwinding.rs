//! What becomes of permits, turns and arrivals when their holders or waiters are unwound: by a panic, by another part of their
//! operation, by the end of their runtime.

use fibers::sync::{Barrier, Once, OnceCell, Semaphore};
use fibers::{Op, Runtime, Shutdown, WaitGroup, channel, op, sleep, spawn, yield_now};
use fibers_tests::{Counter, Drops, HANG, everywhere, panic_message, quiet_panic, rounds, runtime, watchdog};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A holder that panics gives its permits back.
#[test]
fn a_holder_panics() {
    everywhere(|on| {
        let semaphore = Arc::new(Semaphore::new(2));
        for owned in [false, true] {
            let theirs = semaphore.clone();
            let task = on.spawn(move || {
                let borrowed = (!owned).then(|| theirs.acquire_many(2).unwrap());
                let kept = owned.then(|| theirs.clone().acquire_many_owned(2).unwrap());
                if borrowed.is_some() || kept.is_some() {
                    quiet_panic("with permits");
                }
            });
            assert!(task.outcome().is_err());
            assert_eq!(semaphore.available(), 2);
        }
    });
}

/// An acquire that is committed while another branch's abort action panics gives its permits back, to those who wait.
#[test]
fn an_abort_action_panics() {
    everywhere(|on| {
        let semaphore = Arc::new(Semaphore::new(1));
        let held = semaphore.clone().acquire_owned().unwrap();
        let (quiet, never) = channel::<()>(0);
        let theirs = semaphore.clone();
        let waits = on.spawn(move || {
            let other = never.recv_op().wrap(drop).on_abort(|| quiet_panic("in the abort action"));
            theirs.acquire_op().wrap(drop).or(other).perform();
        });
        on.eventually(|| quiet.waiting_receivers() == 1);
        let theirs = semaphore.clone();
        let behind = on.spawn(move || theirs.acquire().map(drop));
        drop(held);
        assert_eq!(panic_message(&*waits.outcome().unwrap_err()), "in the abort action");
        assert_eq!(behind.join(), Ok(()));
        assert_eq!(semaphore.available(), 1);
        // The same without a wait.
        let ready = semaphore
            .acquire_op()
            .wrap(drop)
            .or(op::never().on_abort(|| quiet_panic("at once")));
        crate::panics_with("at once", || ready.perform());
        assert_eq!(semaphore.available(), 1);
        // And a wrap that panics drops what it was given.
        let wrapped = semaphore.acquire_op().wrap(|permit| {
            let _permit = permit;
            quiet_panic("in the wrap")
        });
        crate::panics_with("in the wrap", || wrapped.perform());
        assert_eq!(semaphore.available(), 1);
    });
}

/// The runtime ends while fibers hold permits and wait for some: all permits are back, and a thread that waits gets them.
#[test]
fn a_runtime_ends_with_permits_out() {
    if cfg!(miri) {
        return;
    }
    watchdog(HANG, || {
        for workers in [1, 2] {
            let (semaphore, drops) = (Arc::new(Semaphore::new(3)), Drops::default());
            let all = std::thread::spawn({
                let semaphore = semaphore.clone();
                move || semaphore.acquire_many(4).unwrap().permits()
            });
            runtime(workers).run(|| {
                for i in 0..20 {
                    let (semaphore, kept) = (semaphore.clone(), drops.make(()));
                    spawn(move || {
                        let _kept = kept;
                        let acquire = semaphore.acquire_many_op(1 + i % 3);
                        let permit = match i % 2 {
                            0 => acquire.perform(),
                            _ => acquire.or(op::never()).perform(),
                        };
                        let _permit = permit.unwrap();
                        sleep(Duration::from_secs(3600));
                    });
                }
                (0..10).for_each(|_| yield_now());
            });
            assert_eq!(drops.live(), 0);
            // Three are back; the thread, which was the first or is the last, wants one more.
            semaphore.add_permits(1);
            assert_eq!(all.join().unwrap(), 4);
            assert_eq!(semaphore.available(), 4);
            assert!(format!("{semaphore:?}").contains("waiting: 0"));
        }
    });
}

/// The runtime ends while an initialiser waits: a thread that waits for it runs its own.
#[test]
fn a_runtime_ends_in_an_initialiser() {
    if cfg!(miri) {
        return;
    }
    watchdog(HANG, || {
        for workers in [1, 2] {
            let (cell, once) = (Arc::new(OnceCell::new()), Arc::new(Once::new()));
            let (began, begun) = channel::<()>(0);
            let waiter = {
                let (cell, once) = (cell.clone(), once.clone());
                std::thread::spawn(move || {
                    begun.recv().unwrap();
                    begun.recv().unwrap();
                    once.call_once(|| {});
                    *cell.get_or_init(|| 2)
                })
            };
            runtime(workers).run(|| {
                let run = Counter::default();
                let (theirs, told, runs) = (cell.clone(), began.clone(), run.clone());
                spawn(move || {
                    theirs.get_or_init(|| {
                        told.send(()).unwrap();
                        runs.add();
                        sleep(Duration::from_secs(3600));
                        1
                    });
                });
                let (theirs, told, runs) = (once.clone(), began.clone(), run.clone());
                spawn(move || {
                    theirs.call_once(|| {
                        told.send(()).unwrap();
                        runs.add();
                        sleep(Duration::from_secs(3600));
                    });
                });
                // These wait as well, and are unwound.
                for i in 0..4 {
                    let (cell, once) = (cell.clone(), once.clone());
                    spawn(move || {
                        if i % 2 == 0 {
                            cell.wait();
                        } else {
                            once.wait();
                        }
                    });
                }
                while run.get() < 2 {
                    yield_now();
                }
            });
            assert_eq!(waiter.join().unwrap(), 2);
            assert!(once.is_completed());
        }
    });
}

/// Parties of a barrier that are unwound have withdrawn: the round goes on without them.
#[test]
fn a_runtime_ends_at_a_barrier() {
    if cfg!(miri) {
        return;
    }
    watchdog(HANG, || {
        let (barrier, wg) = (Arc::new(Barrier::new(4)), WaitGroup::new());
        runtime(2).run(|| {
            for i in 0..3 {
                let (barrier, done) = (barrier.clone(), wg.guard());
                spawn(move || {
                    let _done = done;
                    match i {
                        0 => barrier.wait(),
                        1 => barrier.wait_op().or(op::never()).perform(),
                        _ => barrier.wait_op().or(barrier.wait_op()).perform(),
                    };
                });
            }
            while !format!("{barrier:?}").contains("waiting: 4") {
                yield_now();
            }
        });
        wg.wait();
        assert!(barrier.wait_op().try_perform().is_none());
        assert!(format!("{barrier:?}").contains("waiting: 0"));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let barrier = barrier.clone();
                std::thread::spawn(move || barrier.wait().is_leader())
            })
            .collect();
        let leaders = threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .filter(|leads| *leads);
        assert_eq!(leaders.count(), 1);
    });
}

/// Runtimes that end while permits go to and fro between them and a thread: none is lost.
#[test]
fn runtimes_come_and_go() {
    if cfg!(miri) {
        return;
    }
    watchdog(HANG, || {
        let semaphore = Arc::new(Semaphore::new(2));
        let (stop, stopped) = channel::<()>(0);
        let acquired = Arc::new(AtomicU64::new(0));
        let thread = {
            let (semaphore, acquired) = (semaphore.clone(), acquired.clone());
            std::thread::spawn(move || {
                while stopped.recv_op().try_perform().is_none() {
                    drop(semaphore.acquire_many(1 + acquired.fetch_add(1, Ordering::Relaxed) as usize % 2));
                }
            })
        };
        for round in 0..rounds(20, 5000) {
            Runtime::builder()
                .workers(1 + round as usize % 2)
                .shutdown(Shutdown::Unwind)
                .build()
                .unwrap()
                .run(|| {
                    for i in 0..6 {
                        let semaphore = semaphore.clone();
                        spawn(move || {
                            loop {
                                let acquire = semaphore.acquire_many_op(1 + i % 2);
                                let permit = acquire.timeout(Duration::from_micros(50)).perform();
                                yield_now();
                                drop(permit);
                            }
                        });
                    }
                    sleep(Duration::from_micros(200));
                });
        }
        drop(stop);
        thread.join().unwrap();
        assert!(acquired.load(Ordering::Relaxed) > 0);
        assert_eq!(semaphore.available(), 2);
        assert!(format!("{semaphore:?}").contains("waiting: 0"));
    });
}
