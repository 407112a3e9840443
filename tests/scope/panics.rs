//! Panics of the closure, and of children that are joined or not.

use fibers::{Op, channel, scope, yield_now};
use fibers_tests::{Counter, Drops, on_workers, panic_message, panics_with, quiet_panic, rounds};
use std::panic::{AssertUnwindSafe, catch_unwind};

const WORKERS: [usize; 3] = [1, 2, 4];

#[test]
fn the_panic_of_a_child_that_nobody_joined_is_raised_again() {
    on_workers(&WORKERS, |_| {
        let ended = Counter::default();
        panics_with("detached", || {
            scope(|s| {
                s.spawn(|| quiet_panic("detached"));
                for _ in 0..10 {
                    s.spawn(|| {
                        yield_now();
                        ended.add();
                    });
                }
            });
        });
        assert_eq!(ended.get(), 10);
        panics_with("kept", || {
            scope(|s| {
                let child = s.spawn(|| quiet_panic("kept"));
                while !child.is_finished() {
                    yield_now();
                }
                assert!(!s.is_cancelled(), "its handle may still be joined");
            });
        });
    });
}

#[test]
fn a_joined_panic_is_the_joiners() {
    on_workers(&WORKERS, |_| {
        let value = scope(|s| {
            let error = s.spawn(|| quiet_panic("joined")).join().unwrap_err();
            assert!(!s.is_cancelled());
            panic_message(&*error.into_panic()) == "joined"
        });
        assert!(value);
        panics_with("passed on", || {
            scope(|s| {
                let error = s.spawn(|| quiet_panic("passed on")).join().unwrap_err();
                std::panic::resume_unwind(error.into_panic())
            })
        });
    });
}

#[test]
fn an_unjoined_panic_cancels_the_others() {
    on_workers(&WORKERS, |_| {
        panics_with("fails", || {
            scope(|s| {
                let waiting = s.spawn(|| s.cancelled_op().perform());
                s.spawn(|| quiet_panic("fails"));
                waiting.join().unwrap();
                assert!(s.is_cancelled());
            });
        });
    });
}

#[test]
fn the_first_of_several_panics_wins() {
    on_workers(&WORKERS, |_| {
        panics_with("first", || {
            scope(|s| {
                // The first one to panic is the last one to be dropped.
                let (tx, rx) = channel::<()>(0);
                let first = s.spawn(move || {
                    rx.recv().unwrap();
                    quiet_panic("first")
                });
                let second = s.spawn(|| {
                    s.cancelled_op().perform();
                    quiet_panic("second")
                });
                tx.send(()).unwrap();
                while !first.is_finished() {
                    yield_now();
                }
                s.cancel();
                while !second.is_finished() {
                    yield_now();
                }
                drop((second, first));
            });
        });
    });
}

#[test]
fn the_panic_of_the_closure_waits_for_the_children() {
    on_workers(&WORKERS, |_| {
        let (drops, ended) = (Drops::default(), Counter::default());
        let message = String::from("a child may read this");
        panics_with("closure", || {
            let borrowed = drops.make(message.as_str());
            scope(|s| {
                for _ in 0..20 {
                    s.spawn(|| {
                        s.cancelled_op().perform();
                        for _ in 0..5 {
                            yield_now();
                        }
                        assert_eq!(borrowed.value, message);
                        ended.add();
                    });
                }
                s.spawn(|| quiet_panic("a child's panic comes second"));
                quiet_panic("closure")
            })
        });
        assert_eq!((ended.get(), drops.live()), (20, 0));
    });
}

#[test]
fn two_frames_unwind_through_each_other() {
    on_workers(&[1, 2], |_| {
        let ended = Counter::default();
        panics_with("inner", || {
            scope(|outer| {
                outer.spawn(|| {
                    outer.cancelled_op().perform();
                    ended.add();
                });
                scope(|inner| {
                    inner.spawn(|| {
                        inner.cancelled_op().perform();
                        ended.add();
                    });
                    quiet_panic("inner")
                })
            })
        });
        assert_eq!(ended.get(), 2);
    });
}

/// While one fiber is suspended in the middle of its panic, others of its worker open scopes, end them, and panic as well.
#[test]
fn siblings_that_unwind_at_the_same_time_do_not_mix() {
    on_workers(&[1, 2], |_| {
        let ended = Counter::default();
        let count = rounds(50, 5000);
        scope(|s| {
            for i in 0..count {
                let ended = &ended;
                s.spawn(move || {
                    let result = catch_unwind(AssertUnwindSafe(|| {
                        scope(|s| {
                            s.spawn(|| (0..i % 5).for_each(|_| yield_now()));
                            s.spawn(|| {
                                s.cancelled_op()
                                    .timeout(std::time::Duration::from_micros(i % 7))
                                    .perform()
                                    .is_ok()
                            });
                            if i % 2 == 0 {
                                quiet_panic("even");
                            }
                        });
                    }));
                    assert_eq!(result.is_err(), i % 2 == 0);
                    ended.add();
                });
            }
        });
        assert_eq!(ended.get(), count);
    });
}

#[test]
fn a_result_whose_destructor_panics_is_counted_all_the_same() {
    struct Bad<'a>(&'a Counter);
    impl Drop for Bad<'_> {
        fn drop(&mut self) {
            self.0.add();
            quiet_panic("in a destructor");
        }
    }
    on_workers(&[1, 2], |_| {
        let dropped = Counter::default();
        // Nobody joins it: the panic ends at the root of the fiber, as that of any destructor there.
        scope(|s| {
            s.spawn(|| Bad(&dropped));
        });
        // The handle drops it: the panic is the closure's.
        panics_with("in a destructor", || {
            scope(|s| {
                let child = s.spawn(|| Bad(&dropped));
                while !child.is_finished() {
                    yield_now();
                }
                drop(child);
            });
        });
        assert_eq!(dropped.get(), 2);
    });
}

/// The destructor of what a child has captured spawns once more.
#[test]
fn destructors_may_spawn() {
    struct Spawns<'scope, 'env>(&'scope fibers::Scope<'scope, 'env>, &'scope Counter);
    impl Drop for Spawns<'_, '_> {
        fn drop(&mut self) {
            let count = self.1;
            self.0.spawn(move || count.add());
        }
    }
    on_workers(&[1, 2], |_| {
        let ran = Counter::default();
        scope(|s| {
            let in_closure = Spawns(s, &ran);
            s.spawn(move || drop(in_closure));
            s.spawn(|| Spawns(s, &ran));
        });
        assert_eq!(ran.get(), 2);
        panics_with("child", || {
            scope(|s| {
                let captured = Spawns(s, &ran);
                s.spawn(move || {
                    let _captured = captured;
                    quiet_panic("child")
                });
            });
        });
        assert_eq!(ran.get(), 3);
    });
}

/// The panic of a child that gives way to that of the closure is dropped in the middle of it.
#[test]
fn a_payload_whose_destructor_panics_ends_nothing_else() {
    struct Fails;
    impl Drop for Fails {
        fn drop(&mut self) {
            quiet_panic("the payload");
        }
    }
    on_workers(&[1, 2], |_| {
        panics_with("the closure", || {
            scope(|s| {
                s.spawn(|| std::panic::resume_unwind(Box::new(Fails)));
                quiet_panic("the closure");
            });
        });
    });
}
