//! Runs that end while others spawn into them, one after the other, side by side, and inside each other.

use fibers::{Handle, Runtime, channel, sleep, spawn, yield_now};
use fibers_tests::{Counter, Drops, HANG, Rng, panics_with, rounds, runtime, watchdog};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

#[test]
fn f44_spawns_that_race_the_end_of_the_runtime_all_hear_something() {
    for workers in [1, 2, 4] {
        watchdog(HANG, || {
            let mut rng = Rng::new(44);
            let (mut finished, mut cancelled) = (0, 0);
            for _ in 0..rounds(50, 2000) {
                let drops = Drops::default();
                let runtime = runtime(workers);
                let over = AtomicBool::new(false);
                thread::scope(|scope| {
                    let spawners: Vec<_> = (0..2)
                        .map(|_| {
                            let (handle, drops, over) = (runtime.handle(), drops.clone(), &over);
                            scope.spawn(move || {
                                let mut joins = Vec::new();
                                while !over.load(Ordering::Relaxed) && joins.len() < 1000 {
                                    let kept = drops.make(());
                                    joins.push(handle.spawn(move || {
                                        let _kept = kept;
                                        yield_now();
                                    }));
                                }
                                joins
                            })
                        })
                        .collect();
                    runtime.run(|| sleep(Duration::from_micros(rng.below(500))));
                    drop(runtime);
                    over.store(true, Ordering::Relaxed);
                    for spawner in spawners {
                        for join in spawner.join().unwrap() {
                            match join.join() {
                                Ok(()) => finished += 1,
                                Err(error) => {
                                    assert!(error.is_cancelled(), "{error:?}");
                                    cancelled += 1;
                                }
                            }
                        }
                    }
                });
                assert_eq!(drops.live(), 0);
            }
            println!("{workers} workers: {finished} finished, {cancelled} cancelled");
        });
    }
}

/// A thread that joins fibers of a runtime while that ends.
#[test]
fn f44_joins_that_race_the_end_of_the_runtime() {
    for workers in [1, 2] {
        watchdog(HANG, || {
            for _ in 0..rounds(30, 1000) {
                let runtime = runtime(workers);
                let handle = runtime.handle();
                let joiner = thread::spawn(move || {
                    let mut heard = 0;
                    for _ in 0..50 {
                        let join = handle.spawn(|| sleep(Duration::from_millis(1)));
                        heard += u32::from(join.join().is_ok());
                    }
                    heard
                });
                runtime.run(|| sleep(Duration::from_millis(2)));
                drop(runtime);
                joiner.join().unwrap();
            }
        });
    }
}

#[test]
fn f44_a_runtime_that_has_ended_cancels_what_comes() {
    watchdog(HANG, || {
        let handle = runtime(2).handle();
        let drops = Drops::default();
        let kept = drops.make(());
        let join = handle.spawn(move || drop(kept));
        assert!(join.is_finished());
        assert!(join.join().unwrap_err().is_cancelled());
        assert_eq!(drops.live(), 0);
    });
}

#[test]
fn f44_between_two_runs_a_fiber_waits_for_the_next() {
    for workers in [1, 2] {
        watchdog(HANG, || {
            let runtime = runtime(workers);
            let early = runtime.handle().spawn(|| 1);
            assert_eq!(runtime.run(|| early.join().unwrap()), 1);
            let early = runtime.handle().spawn(|| 2);
            assert!(!early.is_finished());
            assert_eq!(runtime.run(|| early.join().unwrap()), 2);
        });
    }
}

#[test]
fn f44_threads_that_wake_fibers_while_the_runtime_ends() {
    for workers in [1, 2] {
        watchdog(HANG, || {
            for round in 0..rounds(100, 5000) {
                let (tx, rx) = channel::<u64>(round as usize % 2);
                let sender = thread::spawn(move || (0..1000).take_while(|&i| tx.send(i).is_ok()).count());
                let received = Counter::default();
                runtime(workers).run(|| {
                    for _ in 0..4 {
                        let (rx, received) = (rx.clone(), received.clone());
                        spawn(move || {
                            while rx.recv().is_ok() {
                                received.add();
                            }
                        });
                    }
                    drop(rx);
                    yield_now();
                });
                // What was sent has been received, or lay in the buffer.
                let sent = sender.join().unwrap() as u64;
                assert!(
                    received.get() <= sent && sent <= received.get() + 1 + round % 2,
                    "{sent} {}",
                    received.get()
                );
            }
        });
    }
}

#[test]
fn runs_one_after_the_other() {
    for workers in [1, 2, 3] {
        watchdog(HANG, || {
            let runtime = runtime(workers);
            for i in 0..rounds(300, 20_000) {
                let sum = runtime.run(|| {
                    let fibers: Vec<_> = (0..5).map(|k| spawn(move || i + k)).collect();
                    fibers.into_iter().map(|fiber| fiber.join().unwrap()).sum::<u64>()
                });
                assert_eq!(sum, 5 * i + 10);
            }
        });
    }
}

#[test]
fn runs_of_one_runtime_on_different_threads() {
    watchdog(HANG, || {
        let runtime = runtime(2);
        for i in 0..20 {
            let runtime = &runtime;
            let result = thread::scope(|scope| scope.spawn(move || runtime.run(|| spawn(move || i).join().unwrap())).join());
            assert_eq!(result.unwrap(), i);
        }
    });
}

#[test]
fn several_runtimes_at_once() {
    watchdog(HANG, || {
        let (tx, rx) = channel::<u64>(3);
        thread::scope(|scope| {
            for i in 0..4 {
                let (tx, rx) = (tx.clone(), rx.clone());
                scope.spawn(move || {
                    runtime(1 + i % 2).run(|| {
                        let sender = spawn(move || (0..1000).for_each(|k| tx.send(k).unwrap()));
                        let received = (0..1000).filter(|_| rx.recv().is_ok()).count();
                        sender.join().unwrap();
                        assert_eq!(received, 1000);
                    });
                });
            }
        });
    });
}

#[test]
fn a_fiber_may_spawn_into_another_runtime() {
    watchdog(HANG, || {
        let other = runtime(2);
        let (tx, rx) = channel::<()>(0);
        thread::scope(|scope| {
            let handle = other.handle();
            let other = &other;
            scope.spawn(move || other.run(|| rx.recv()));
            runtime(1).run(|| {
                let join = handle.spawn(|| (thread::current().id(), Handle::current()));
                let (there, _) = join.join().unwrap();
                assert_ne!(there, thread::current().id());
                tx.send(()).unwrap();
            });
        });
    });
}

#[test]
fn a_nested_run_panics_and_says_what_to_do() {
    const MESSAGE: &str =
        "a runtime was entered inside a fiber: spawn a fiber there, or enter the other runtime from a thread of its own";
    watchdog(HANG, || {
        let other = runtime(1);
        runtime(2).run(|| {
            panics_with(MESSAGE, || fibers::run(|| ()));
            panics_with(MESSAGE, || other.run(|| ()));
            assert_eq!(spawn(|| 1).join().unwrap(), 1);
        });
        assert_eq!(other.run(|| 2), 2);
    });
}

#[test]
fn a_runtime_runs_in_one_thread_at_a_time() {
    const MESSAGE: &str = "this runtime runs in another thread: use a Handle to spawn into it, or build a second runtime";
    watchdog(HANG, || {
        let runtime: Runtime = runtime(1);
        let (tx, rx) = channel::<()>(0);
        thread::scope(|scope| {
            let runtime = &runtime;
            let first = scope.spawn(move || runtime.run(|| rx.recv()));
            while tx.waiting_receivers() == 0 {
                thread::yield_now();
            }
            panics_with(MESSAGE, || runtime.run(|| ()));
            tx.send(()).unwrap();
            first.join().unwrap().unwrap();
        });
        assert_eq!(runtime.run(|| 1), 1);
    });
}

#[test]
fn a_runtime_may_be_dropped_by_one_of_its_own_fibers() {
    // The last owner may well be a fiber: then its message says what to do, or it works.
    watchdog(HANG, || {
        let runtime = std::sync::Arc::new(runtime(2));
        let theirs = runtime.clone();
        runtime.run(move || drop(theirs));
        drop(runtime);
    });
}
