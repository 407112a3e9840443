//! Scopes in the middle of which the runtime ends.

use fibers::fiber::Builder;
use fibers::{Op, Runtime, Shutdown, channel, op, scope, sleep, spawn, yield_now};
use fibers_tests::{Counter, Drops, HANG, quiet_panic, rounds, watchdog};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

fn runtime(workers: usize, shutdown: Shutdown) -> Runtime {
    Runtime::builder().workers(workers).shutdown(shutdown).build().unwrap()
}

/// What a frame owns and its children borrow: it says so if a child sees it after its end.
struct Owned {
    alive: AtomicBool,
    drops: Drops,
}

impl Owned {
    fn look(&self) {
        assert!(self.alive.load(Ordering::Acquire), "the frame is gone");
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        self.alive.store(false, Ordering::Release);
    }
}

/// Looks at the frame when it is dropped.
struct Looks<'a>(&'a Owned, #[expect(dead_code)] fibers_tests::Counted<()>);

impl Drop for Looks<'_> {
    fn drop(&mut self) {
        self.0.look();
        // Slow to go.
        yield_now();
        self.0.look();
    }
}

impl Owned {
    fn new(drops: &Drops) -> Owned {
        Owned {
            alive: AtomicBool::new(true),
            drops: drops.clone(),
        }
    }

    fn lend(&self) -> Looks<'_> {
        Looks(self, self.drops.make(()))
    }
}

/// A frame with children in every state. It ends only by the end of the runtime.
fn family(drops: &Drops, ready: &Counter) {
    let owned = Owned::new(drops);
    let (_tx, rx) = channel::<u32>(0);
    let (full, _full) = channel::<u32>(0);
    scope(|s| {
        let child = |f: &'static (dyn Fn() + Sync)| {
            let (lent, ready, owned) = (owned.lend(), ready.clone(), &owned);
            s.spawn(move || {
                let lent = lent;
                ready.add();
                f();
                owned.look();
                lent
            })
        };
        child(&|| ());
        child(&|| sleep(Duration::from_secs(3600)));
        child(&|| op::never::<()>().perform());
        child(&|| {
            loop {
                yield_now();
            }
        });
        let waits = child(&|| op::never::<()>().perform());
        let (lent, rx, full) = (owned.lend(), &rx, &full);
        s.spawn(move || {
            let _lent = lent;
            ready.add();
            op::choice((rx.recv_op().wrap(|_| ()), full.send_op(1).wrap(|_| ()))).perform();
        });
        let lent = owned.lend();
        s.spawn(move || {
            let _lent = lent;
            ready.add();
            let _ = waits.join();
        });
        let lent = owned.lend();
        s.spawn(move || {
            let _lent = lent;
            // A frame of its own, that unwinds with children of its own.
            let inner = lent_again(&_lent);
            scope(|s| {
                s.spawn(|| inner.look());
                s.spawn(|| op::never::<()>().perform());
                ready.add();
                op::never::<()>().perform();
            });
        });
        s.spawn(|| {
            // Swallows one unwinding.
            let _ = catch_unwind(|| op::never::<()>().perform());
            owned.look();
            op::never::<()>().perform();
        });
        // These are not started before the end, on one worker that yields in a circle.
        for _ in 0..5 {
            let lent = owned.lend();
            s.spawn(move || drop(lent));
        }
    });
}

fn lent_again<'a>(looks: &Looks<'a>) -> &'a Owned {
    looks.0
}

#[test]
fn unwinding_waits_for_the_children() {
    for workers in [1, 2, 4] {
        for round in 0..rounds(5, 500) {
            watchdog(HANG, || {
                let (drops, ready) = (Drops::default(), Counter::default());
                let runtime = runtime(workers, Shutdown::Unwind);
                for _ in 0..2 {
                    let enough = ready.get() + (round * 4).min(20);
                    runtime.run(|| {
                        for _ in 0..3 {
                            let (drops, ready) = (drops.clone(), ready.clone());
                            spawn(move || family(&drops, &ready));
                        }
                        while ready.get() < enough {
                            yield_now();
                        }
                    });
                    assert_eq!(drops.live(), 0, "{workers} workers, round {round}");
                }
            });
        }
    }
}

#[test]
fn draining_waits_for_scopes() {
    for workers in [1, 2] {
        watchdog(HANG, || {
            let (drops, ended) = (Drops::default(), Counter::default());
            runtime(workers, Shutdown::Drain).run(|| {
                for _ in 0..10 {
                    let (drops, ended) = (drops.clone(), ended.clone());
                    spawn(move || {
                        let owned = Owned::new(&drops);
                        scope(|s| {
                            for i in 0..10 {
                                let (lent, ended) = (owned.lend(), &ended);
                                s.spawn(move || {
                                    let _lent = lent;
                                    sleep(Duration::from_micros(100 * i));
                                    ended.add();
                                });
                            }
                        });
                    });
                }
            });
            assert_eq!((drops.live(), ended.get()), (0, 100));
        });
    }
}

#[test]
fn leaking_leaves_frames_and_children_as_they_are() {
    for workers in [1, 2] {
        for round in 0..rounds(5, 200) {
            watchdog(HANG, || {
                let (drops, ready) = (Drops::default(), Counter::default());
                let runtime = runtime(workers, Shutdown::Leak);
                for _ in 0..2 {
                    runtime.run(|| {
                        let (drops, ready) = (drops.clone(), ready.clone());
                        spawn(move || family(&drops, &ready));
                        for _ in 0..round * 3 {
                            yield_now();
                        }
                    });
                    runtime.run(|| scope(|s| assert_eq!(s.spawn(|| 3).join().unwrap(), 3)));
                }
                drop(runtime);
            });
        }
    }
}

/// A child that does not let itself be unwound is leaked, and its frame with it: what it borrows stays.
#[test]
fn a_stubborn_child_keeps_its_frame_for_ever() {
    for workers in [1, 2] {
        watchdog(HANG, || {
            let (drops, raised, left) = (Drops::default(), Counter::default(), Counter::default());
            let runtime = runtime(workers, Shutdown::Unwind);
            runtime.run(|| {
                let (theirs, raised, left) = (drops.clone(), raised.clone(), left.clone());
                let frame = Builder::new().worker(workers - 1).spawn(move || {
                    let owned = Owned::new(&theirs);
                    let on_the_way_out = fibers::defer(|| left.add());
                    scope(|s| {
                        s.spawn(|| {
                            let _lent = owned.lend();
                            loop {
                                let _ = catch_unwind(AssertUnwindSafe(|| op::never::<()>().perform()));
                                owned.look();
                                raised.add();
                            }
                        });
                        s.spawn(|| op::never::<()>().perform());
                    });
                    drop(on_the_way_out);
                });
                drop(frame);
                while drops.made() == 0 {
                    yield_now();
                }
            });
            assert_eq!((drops.live(), left.get()), (1, 0));
            assert!(raised.get() >= 15, "{}", raised.get());
            runtime.run(|| scope(|s| drop(s.spawn(yield_now))));
            drop(runtime);
            assert_eq!((drops.live(), left.get()), (1, 0));
        });
    }
}

/// The frame of the main fiber is never raised into: it waits until its children have ended, and only then the run does.
#[test]
fn the_main_fiber_waits_for_its_scope() {
    for shutdown in [Shutdown::Unwind, Shutdown::Drain, Shutdown::Leak] {
        for workers in [1, 2] {
            watchdog(HANG, || {
                let mut text = String::from("main");
                let length = runtime(workers, shutdown).run(|| {
                    scope(|s| {
                        s.spawn(|| {
                            sleep(Duration::from_millis(1));
                            text.push_str(" and child");
                        });
                    });
                    text.len()
                });
                assert_eq!((length, text.as_str()), (14, "main and child"));
            });
        }
    }
}

/// The closure is raised into while it waits for something else, with children that are in the middle of a panic.
#[test]
fn unwinding_while_children_panic() {
    for workers in [1, 2] {
        for round in 0..rounds(10, 500) {
            watchdog(HANG, || {
                let drops = Drops::default();
                runtime(workers, Shutdown::Unwind).run(|| {
                    let drops = drops.clone();
                    spawn(move || {
                        let owned = Owned::new(&drops);
                        scope(|s| {
                            for i in 0..6 {
                                let lent = owned.lend();
                                s.spawn(move || {
                                    let _lent = lent;
                                    (0..i).for_each(|_| yield_now());
                                    quiet_panic("a child");
                                });
                            }
                            op::never::<()>().perform();
                        });
                    });
                    (0..round).for_each(|_| yield_now());
                });
                assert_eq!(drops.live(), 0);
            });
        }
    }
}

/// Runs that end while scopes open, spawn and join, on several workers.
#[test]
fn ends_at_any_moment() {
    for workers in [1, 2, 4] {
        for round in 0..rounds(20, 2000) {
            watchdog(HANG, || {
                let drops = Drops::default();
                runtime(workers, Shutdown::Unwind).run(|| {
                    for _ in 0..4 {
                        let drops = drops.clone();
                        spawn(move || {
                            loop {
                                let owned = Owned::new(&drops);
                                scope(|s| {
                                    let children: Vec<_> = (0..4)
                                        .map(|_| {
                                            let lent = owned.lend();
                                            s.spawn(move || {
                                                yield_now();
                                                lent
                                            })
                                        })
                                        .collect();
                                    for child in children.into_iter().skip(2) {
                                        let _ = child.join();
                                    }
                                    s.cancelled_op().timeout(Duration::from_micros(20)).perform().unwrap_or(());
                                });
                            }
                        });
                    }
                    sleep(Duration::from_micros(50 * round));
                });
                assert_eq!(drops.live(), 0, "{workers} workers");
            });
        }
    }
}

/// The frame has borrowed from a thread-local, its child has not started when the run is left, and the runtime is dropped by
/// another thread when the thread-local is gone.
#[test]
fn an_unstarted_child_is_not_dropped_in_another_run() {
    struct Guarded(Arc<AtomicBool>);
    impl Drop for Guarded {
        fn drop(&mut self) {
            self.0.store(false, Ordering::SeqCst);
        }
    }
    thread_local! {
        static GUARDED: std::cell::OnceCell<Guarded> = const { std::cell::OnceCell::new() };
    }
    struct Reads<'a>(&'a AtomicBool);
    impl Drop for Reads<'_> {
        fn drop(&mut self) {
            assert!(self.0.load(Ordering::SeqCst), "the thread-local is gone");
        }
    }
    watchdog(HANG, || {
        for _ in 0..rounds(20, 500) {
            let thread = std::thread::spawn(|| {
                let runtime = runtime(2, Shutdown::Leak);
                let busy = Arc::new(AtomicBool::new(true));
                runtime.run(|| {
                    let end = busy.clone();
                    let spawner = Builder::new().worker(1).spawn(move || {
                        GUARDED.with(|cell| {
                            let guarded = cell.get_or_init(|| Guarded(Arc::new(AtomicBool::new(true))));
                            scope(|s| {
                                while end.load(Ordering::SeqCst) {
                                    let reads = Reads(&guarded.0);
                                    let _ = Builder::new().spread().spawn_scoped(s, move || drop(reads));
                                    std::hint::spin_loop();
                                }
                            });
                        });
                    });
                    drop(spawner);
                    sleep(Duration::from_micros(300));
                    let busy = busy.clone();
                    std::thread::spawn(move || {
                        std::thread::sleep(Duration::from_millis(1));
                        busy.store(false, Ordering::SeqCst);
                    });
                });
                runtime
            });
            let runtime = thread.join().unwrap();
            runtime.run(|| (0..100).for_each(|_| yield_now()));
            drop(runtime);
        }
    });
}
