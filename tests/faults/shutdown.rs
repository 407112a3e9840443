//! The end of a run, with fibers left over.

use fibers::fiber::Builder;
use fibers::{Op, Runtime, Shutdown, channel, defer, op, sleep, spawn, unbounded, yield_now};
use fibers_tests::{Counter, Drops, HANG, watchdog};
use std::panic::catch_unwind;
use std::time::Duration;

fn runtime(workers: usize, shutdown: Shutdown) -> Runtime {
    Runtime::builder().workers(workers).shutdown(shutdown).build().unwrap()
}

/// Leaves fibers behind in every state: unstarted, waiting for a channel, a timer, a choice, another fiber, and yielding.
fn leave_behind(drops: &Drops, workers: usize) -> usize {
    let (tx, rx) = channel::<u32>(0);
    let (full, _full) = channel::<u32>(0);
    let mut count = 0;
    let mut start = |f: Box<dyn FnOnce() + Send>| {
        let kept = drops.make(());
        count += 1;
        Builder::new()
            .worker(count % workers)
            .spawn(move || {
                let _kept = kept;
                f();
            })
            .unwrap()
    };
    for _ in 0..20 {
        let (tx, rx, full) = (tx.clone(), rx.clone(), full.clone());
        start(Box::new({
            let (tx, rx) = (tx.clone(), rx.clone());
            move || {
                let _tx = tx;
                let _ = rx.recv();
            }
        }));
        start(Box::new({
            let (tx, full) = (tx.clone(), full.clone());
            move || {
                let _tx = tx;
                let _ = full.send(1);
            }
        }));
        start(Box::new(|| sleep(Duration::from_secs(3600))));
        start(Box::new({
            let rx = rx.clone();
            move || {
                op::choice((rx.recv_op().wrap(|_| ()), fibers::time::sleep_op(Duration::from_secs(3600)))).perform();
            }
        }));
        let slow = start(Box::new(|| op::never::<()>().perform()));
        start(Box::new(move || drop(slow.join())));
    }
    for _ in 0..10 {
        yield_now();
    }
    sleep(Duration::from_millis(5));
    for _ in 0..20 {
        // Nobody gets round to these before the end, on one worker.
        start(Box::new(|| {
            loop {
                yield_now();
            }
        }));
    }
    count
}

#[test]
fn f06_unwind_drops_everything() {
    for workers in [1, 2, 4] {
        watchdog(HANG, || {
            let drops = Drops::default();
            let runtime = runtime(workers, Shutdown::Unwind);
            for round in 1..=3 {
                let count = runtime.run(|| leave_behind(&drops, workers));
                assert_eq!((drops.made(), drops.live()), (round * count, 0), "{workers} workers");
            }
        });
    }
}

#[test]
fn f06_unwound_fibers_leave_nothing_behind() {
    watchdog(HANG, || {
        // The channel outlives the run: the waiters of the fibers that were unwound are gone from it.
        let (tx, rx) = channel::<u32>(0);
        let runtime = runtime(2, Shutdown::Unwind);
        runtime.run(|| {
            for i in 0..10 {
                let (tx, rx) = (tx.clone(), rx.clone());
                Builder::new()
                    .worker(i % 2)
                    .spawn(move || (tx.is_closed(), rx.recv()))
                    .unwrap();
            }
            while rx.waiting_receivers() < 10 {
                yield_now();
            }
        });
        assert_eq!(rx.waiting_receivers(), 0);
        assert!(tx.try_send(1).is_err());
        let receiver = std::thread::spawn(move || rx.recv());
        tx.send(2).unwrap();
        assert_eq!(receiver.join().unwrap(), Ok(2));
    });
}

#[test]
fn f06_drain_waits_for_all() {
    for workers in [1, 2] {
        watchdog(HANG, || {
            let (drops, done) = (Drops::default(), Counter::default());
            runtime(workers, Shutdown::Drain).run(|| {
                for i in 0..50 {
                    let (kept, done) = (drops.make(()), done.clone());
                    spawn(move || {
                        let _kept = kept;
                        sleep(Duration::from_millis(i % 7));
                        let done = done.clone();
                        spawn(move || done.add());
                    });
                }
            });
            assert_eq!((drops.made(), drops.live(), done.get()), (50, 0, 50));
        });
    }
}

#[test]
fn f06_leak_drops_nothing() {
    for workers in [1, 2] {
        watchdog(HANG, || {
            let drops = Drops::default();
            let runtime = runtime(workers, Shutdown::Leak);
            let count = runtime.run(|| leave_behind(&drops, workers));
            assert_eq!((drops.made(), drops.live()), (count, count as isize));
            // The leaked ones are neither run nor in the way of the next run.
            assert_eq!(runtime.run(|| spawn(|| 3).join().unwrap()), 3);
            drop(runtime);
            assert_eq!(drops.live(), count as isize);
        });
    }
}

/// Others may still hold pointers into the stacks of leaked fibers: they must find them.
#[test]
fn f06_wakes_for_leaked_fibers_are_ignored() {
    watchdog(HANG, || {
        let ran = Counter::default();
        let (tx, rx) = channel::<u32>(0);
        let runtime = runtime(1, Shutdown::Leak);
        runtime.run(|| {
            for _ in 0..5 {
                let (rx, ran) = (rx.clone(), ran.clone());
                spawn(move || {
                    rx.recv().unwrap();
                    ran.add();
                });
            }
            while rx.waiting_receivers() < 5 {
                yield_now();
            }
        });
        // The values go to fibers that are still in the queue, though they will never run again.
        assert!(tx.try_send(1).is_ok());
        // Neither a sibling of the next run nor one of another runtime wakes them.
        runtime.run(|| {
            assert!(tx.try_send(2).is_ok());
            spawn(|| ()).join().unwrap();
        });
        fibers_tests::runtime(1).run(|| assert!(tx.try_send(3).is_ok()));
        runtime.run(yield_now);
        drop(runtime);
        assert!(tx.try_send(4).is_ok());
        assert_eq!(ran.get(), 0);
    });
}

#[test]
fn f11_the_unwinding_is_raised_again_and_bounded() {
    for workers in [1, 2] {
        watchdog(HANG, || {
            let (drops, raised) = (Drops::default(), Counter::default());
            let runtime = runtime(workers, Shutdown::Unwind);
            runtime.run(|| {
                for stubborn in [false, true] {
                    for _ in 0..3 {
                        let (kept, raised) = (drops.make(()), raised.clone());
                        spawn(move || {
                            let _kept = kept;
                            while catch_unwind(|| op::never::<()>().perform()).is_err() {
                                let times = raised.next();
                                assert!(times < 1000);
                                if !stubborn {
                                    return;
                                }
                            }
                        });
                    }
                }
                sleep(Duration::from_millis(5));
            });
            // Three gave in at once; three were raised 16 times and leaked.
            assert_eq!(raised.get(), 3 + 3 * 16);
            assert_eq!(drops.live(), 3);
            assert_eq!(runtime.run(|| spawn(|| 3).join().unwrap()), 3);
        });
    }
}

#[test]
fn f11_a_stubborn_yielder_is_leaked() {
    watchdog(HANG, || {
        let runtime = runtime(1, Shutdown::Unwind);
        runtime.run(|| {
            spawn(|| {
                loop {
                    let _ = catch_unwind(yield_now);
                }
            });
            yield_now();
        });
        assert_eq!(runtime.run(|| 3), 3);
    });
}

#[test]
fn f11_the_join_of_a_leaked_fiber_does_not_hang_a_thread() {
    watchdog(HANG, || {
        let (handles, given) = unbounded();
        let waiting = std::thread::spawn(move || {
            let handle: fibers::JoinHandle<()> = given.recv().unwrap();
            handle.join().unwrap_err().is_cancelled()
        });
        let runtime = runtime(1, Shutdown::Unwind);
        runtime.run(|| {
            let stubborn = spawn(|| {
                loop {
                    let _ = catch_unwind(|| op::never::<()>().perform());
                }
            });
            handles.send(stubborn).unwrap();
            sleep(Duration::from_millis(5));
        });
        drop(runtime);
        assert!(waiting.join().unwrap());
    });
}

#[test]
fn f06_the_joins_of_leaked_fibers_return() {
    for workers in [1, 2] {
        watchdog(HANG, || {
            let runtime = runtime(workers, Shutdown::Leak);
            let (started, unstarted) = runtime.run(|| {
                let started: Vec<_> = (0..4).map(|_| spawn(|| op::never::<()>().perform())).collect();
                sleep(Duration::from_millis(5));
                let last = Builder::new().worker(0).spawn(|| ()).unwrap();
                (started, vec![spawn(|| ()), fibers::spawn_local(|| ()), last])
            });
            drop(runtime);
            for handle in started {
                assert!(handle.join().unwrap_err().is_cancelled());
            }
            for handle in unstarted {
                // With several workers another one may have run it.
                assert!(handle.join().map_or_else(|error| error.is_cancelled(), |()| workers > 1));
            }
        });
    }
}

#[test]
fn f06_destructors_may_spawn_and_wait() {
    for workers in [1, 2] {
        watchdog(HANG, || {
            let (ran, cancelled, met) = (Counter::default(), Counter::default(), Counter::default());
            runtime(workers, Shutdown::Unwind).run(|| {
                for _ in 0..10 {
                    let (ran, cancelled, met) = (ran.clone(), cancelled.clone(), met.clone());
                    spawn(move || {
                        let _end = defer(move || {
                            let (tx, rx) = channel::<u32>(0);
                            // The closure of a fiber that is spawned now is only dropped.
                            let dropped = defer(move || {
                                cancelled.add();
                            });
                            let late = spawn(move || {
                                let _dropped = dropped;
                                ran.add();
                            });
                            assert!(late.join().unwrap_err().is_cancelled());
                            // So nobody will ever send; but the sender is there, in this very destructor.
                            assert!(rx.recv_timeout(Duration::from_millis(1)).is_err());
                            drop(tx);
                            met.add();
                        });
                        op::never::<()>().perform();
                    });
                }
                sleep(Duration::from_millis(5));
            });
            assert_eq!((ran.get(), cancelled.get(), met.get()), (0, 10, 10));
        });
    }
}

#[test]
fn f06_a_destructor_that_waits_in_vain_is_leaked() {
    watchdog(HANG, || {
        let reached = Counter::default();
        let runtime = runtime(2, Shutdown::Unwind);
        runtime.run(|| {
            let reached = reached.clone();
            spawn(move || {
                let _end = defer(move || {
                    reached.add();
                    op::never::<()>().perform();
                    unreachable!("nobody wakes it");
                });
                op::never::<()>().perform();
            });
            sleep(Duration::from_millis(5));
        });
        assert_eq!(reached.get(), 1);
        assert_eq!(runtime.run(|| 3), 3);
    });
}

#[test]
fn f06_fiber_locals_are_dropped_when_a_fiber_is_unwound() {
    use std::cell::RefCell;
    fibers::fiber_local! { static KEPT: RefCell<Vec<fibers_tests::Counted<()>>> = RefCell::default(); }
    watchdog(HANG, || {
        let drops = Drops::default();
        runtime(2, Shutdown::Unwind).run(|| {
            for _ in 0..10 {
                let kept = drops.make(());
                spawn(move || {
                    KEPT.with(|all| all.borrow_mut().push(kept));
                    op::never::<()>().perform();
                });
            }
            let kept = drops.make(());
            KEPT.with(|all| all.borrow_mut().push(kept));
            sleep(Duration::from_millis(5));
        });
        assert_eq!((drops.made(), drops.live()), (11, 0));
    });
}
