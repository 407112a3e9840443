//! How runs end: shutdown policies, destructors, swallowed unwinding, deadlocks, late wakes.

use std::sync::atomic::AtomicUsize;

use super::basics::nap;
use super::*;

/// Counts its drops.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn with_policy(workers: usize, shutdown: Shutdown) -> Runtime {
    Runtime::builder()
        .workers(workers)
        .shutdown(shutdown)
        .build()
        .expect("a runtime")
}

#[test]
fn unwinding_drops_parked_yielding_and_unstarted_fibers() {
    let _dog = watchdog(60);
    for workers in [1, 2, 4] {
        let drops = Arc::new(AtomicUsize::new(0));
        let rt = with_policy(workers, Shutdown::Unwind);
        let never = Arc::new(Event::default());
        rt.run(|| {
            for i in 0..300 {
                let (counted, never) = (Counted(drops.clone()), never.clone());
                go(move || {
                    let _counted = counted;
                    match i % 3 {
                        0 => never.wait(),
                        1 => loop {
                            yield_now();
                        },
                        _ => nap(3_600_000_000_000),
                    }
                });
            }
            (0..100).for_each(|_| yield_now());
        });
        assert_eq!(drops.load(Ordering::SeqCst), 300, "{workers} workers");
        assert_eq!(rt.run(|| 5), 5);
    }
}

#[test]
fn unstarted_fibers_are_cancelled() {
    let drops = Arc::new(AtomicUsize::new(0));
    let mut all = Vec::new();
    runtime(1).run(|| {
        for _ in 0..10 {
            let counted = Counted(drops.clone());
            all.push(go(move || {
                let _counted = counted;
                panic!("must not run");
            }));
        }
    });
    assert_eq!(drops.load(Ordering::SeqCst), 10);
    assert!(all.iter().all(|done| done.cancelled.load(Ordering::SeqCst)));
}

#[test]
fn draining_waits() {
    let _dog = watchdog(60);
    for workers in [1, 2] {
        let count = Arc::new(AtomicUsize::new(0));
        with_policy(workers, Shutdown::Drain).run(|| {
            for i in 0..100 {
                let count = count.clone();
                go(move || {
                    nap(i * 100_000);
                    count.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        assert_eq!(count.load(Ordering::SeqCst), 100);
    }
}

#[test]
fn leaking_leaves_everything_and_late_wakes_are_harmless() {
    let _dog = watchdog(60);
    for workers in [1, 2] {
        let drops = Arc::new(AtomicUsize::new(0));
        let event = Arc::new(Event::default());
        let rt = with_policy(workers, Shutdown::Leak);
        rt.run(|| {
            for _ in 0..10 {
                let (counted, event) = (Counted(drops.clone()), event.clone());
                go(move || {
                    let _counted = counted;
                    event.wait();
                });
            }
            (0..1000).for_each(|_| yield_now());
        });
        (0..5).for_each(|_| event.signal());
        assert_eq!(rt.run(|| 1), 1);
        drop(rt);
        (0..5).for_each(|_| event.signal());
        assert_eq!(drops.load(Ordering::SeqCst), 0);
    }
}

#[test]
fn swallowed_unwinding_is_raised_again_and_then_given_up() {
    let _dog = watchdog(60);
    for workers in [1, 2] {
        let (raises, begun) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let rt = runtime(workers);
        let never = Arc::new(Event::default());
        rt.run(|| {
            for i in 0..3 {
                let (raises, never, begun) = (raises.clone(), never.clone(), begun.clone());
                go(move || {
                    begun.fetch_add(1, Ordering::SeqCst);
                    loop {
                        let _ = catch_unwind(AssertUnwindSafe(|| match i {
                            0 => never.wait(),
                            1 => yield_now(),
                            _ => nap(u64::MAX / 2),
                        }))
                        .map_err(|payload| {
                            assert!(is_unwind(&*payload));
                            raises.fetch_add(1, Ordering::SeqCst);
                        });
                    }
                });
            }
            // One that has not begun would only be cancelled.
            while begun.load(Ordering::SeqCst) < 3 {
                yield_now();
            }
        });
        assert_eq!(raises.load(Ordering::SeqCst), 3 * 16);
        (0..3).for_each(|_| never.signal());
    }
}

#[test]
fn destructors_may_wait_for_partners_while_unwinding() {
    let _dog = watchdog(60);
    struct Meet(Arc<Event>, Arc<Event>);
    impl Drop for Meet {
        fn drop(&mut self) {
            self.0.signal();
            self.1.wait();
            nap(1_000_000);
            yield_now();
            self.0.signal();
        }
    }
    for workers in [1, 2] {
        for _ in 0..20 {
            let (a, b, met) = (
                Arc::new(Event::default()),
                Arc::new(Event::default()),
                Arc::new(Event::default()),
            );
            let never = Arc::new(Event::default());
            runtime(workers).run(|| {
                for (mine, other) in [(&a, &b), (&b, &a)] {
                    let (mine, other, never) = (mine.clone(), other.clone(), never.clone());
                    let met = met.clone();
                    go(move || {
                        let _met = Counted(Arc::default());
                        let _meet = Meet(other, mine);
                        met.signal();
                        never.wait();
                    });
                }
                met.wait();
                met.wait();
            });
            // Both have met twice: each one's second signal is left over.
            a.wait_blocking();
            b.wait_blocking();
        }
    }
}

#[test]
fn a_destructor_whose_partner_never_comes_is_given_up() {
    let _dog = watchdog(60);
    struct Forever(Arc<Event>);
    impl Drop for Forever {
        fn drop(&mut self) {
            self.0.wait();
        }
    }
    for workers in [1, 2] {
        let never = Arc::new(Event::default());
        let rt = runtime(workers);
        rt.run(|| {
            let started = Arc::new(Event::default());
            let (never, started2) = (never.clone(), started.clone());
            go(move || {
                let _forever = Forever(never.clone());
                started2.signal();
                never.wait();
            });
            started.wait();
        });
        drop(rt);
        never.signal();
    }
}

#[test]
fn two_panics_that_suspend_on_one_worker() {
    let _dog = watchdog(60);
    struct Slow;
    impl Drop for Slow {
        fn drop(&mut self) {
            assert!(here().unwrap().is_panicking());
            nap(1_000_000);
            yield_now();
            assert!(here().unwrap().is_panicking());
        }
    }
    runtime(1).run(|| {
        let bystander = go(|| {
            for _ in 0..10 {
                nap(300_000);
                assert!(!here().unwrap().is_panicking());
            }
        });
        let all: Vec<_> = (0..2)
            .map(|_| {
                go(|| {
                    let _slow = Slow;
                    panic!("expected");
                })
            })
            .collect();
        all.iter().for_each(|done| done.event.wait());
        assert!(all.iter().all(|done| done.panicked.load(Ordering::SeqCst)));
        bystander.event.wait();
        assert!(!bystander.panicked.load(Ordering::SeqCst));
        assert!(!std::thread::panicking());
    });
}

#[test]
fn spawns_from_outside_race_with_the_end() {
    let _dog = watchdog(120);
    for round in 0..200 {
        let rt = runtime(1 + round % 3);
        let handle = rt.handle();
        let drops = Arc::new(AtomicUsize::new(0));
        let (stop, go_on) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let thread = {
            let (drops, stop, go_on) = (drops.clone(), stop.clone(), go_on.clone());
            std::thread::spawn(move || {
                let mut spawned = 0;
                while !stop.load(Ordering::Relaxed) && spawned < 2000 {
                    let counted = Counted(drops.clone());
                    let body = job(move || drop(counted));
                    // SAFETY: the closure is `Send`.
                    unsafe { handle.spawn_raw(spec(Place::Auto), body) }.unwrap();
                    spawned += 1;
                    go_on.fetch_add(1, Ordering::Relaxed);
                }
                spawned
            })
        };
        while go_on.load(Ordering::Relaxed) < 10 {
            std::thread::yield_now();
        }
        rt.run(|| (0..10).for_each(|_| yield_now()));
        if round % 2 == 0 {
            stop.store(true, Ordering::Relaxed);
        }
        drop(rt);
        stop.store(true, Ordering::Relaxed);
        let spawned = thread.join().unwrap();
        assert_eq!(drops.load(Ordering::SeqCst), spawned, "round {round}");
    }
}

#[test]
fn entering_twice_panics() {
    let rt = Arc::new(runtime(1));
    let rt2 = rt.clone();
    rt.run(|| {
        let nested = catch_unwind(AssertUnwindSafe(|| runtime(1).run(|| ())));
        assert!(nested.unwrap_err().downcast_ref::<&str>().unwrap().contains("inside a fiber"));
        let second = std::thread::spawn(move || catch_unwind(AssertUnwindSafe(|| rt2.run(|| ()))).is_err());
        assert!(second.join().unwrap());
    });
}

#[test]
fn suspending_can_be_forbidden() {
    runtime(1).run(|| {
        let here = here().unwrap();
        let guard = here.forbid_suspend("not now");
        let result = catch_unwind(AssertUnwindSafe(|| here.yield_now()));
        assert_eq!(result.unwrap_err().downcast_ref::<String>().unwrap(), "not now");
        drop(guard);
        here.yield_now();
    });
}

#[test]
fn locals_are_dropped_on_the_fiber() {
    let drops = Arc::new(AtomicUsize::new(0));
    struct OnFiber(Arc<AtomicUsize>);
    impl Drop for OnFiber {
        fn drop(&mut self) {
            assert!(here().is_some());
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    runtime(1).run(|| {
        let done = go({
            let drops = drops.clone();
            move || {
                let here = here().unwrap();
                assert!(here.local(1).is_none());
                here.set_local(1, std::rc::Rc::new(OnFiber(drops)));
                assert!(here.local(1).is_some());
            }
        });
        done.event.wait();
        yield_now();
        go(|| assert!(here().unwrap().local(1).is_none())).event.wait();
    });
    assert_eq!(drops.load(Ordering::SeqCst), 1);
}
