//! The context that goes along by itself.

use fibers::context::{self, Context, ContextError, Key};
use fibers::fiber::Builder;
use fibers::{Runtime, go, run, spawn, spawn_blocking, spawn_local, yield_now};
use fibers_tests::{Drops, everywhere, on_workers, quiet_panic, rounds};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

static USER: Key<u32> = Key::new("user");

fn user() -> Option<u32> {
    context::current().value(&USER).copied()
}

fn of(user: u32) -> Context {
    Context::background().with_value(&USER, user)
}

#[test]
fn regions_nest_and_are_restored_also_by_a_panic() {
    everywhere(|_| {
        assert_eq!(user(), None);
        of(1).enter(|| {
            assert_eq!(user(), Some(1));
            let panicked = catch_unwind(AssertUnwindSafe(|| {
                context::with(&of(2), || {
                    assert_eq!(user(), Some(2));
                    quiet_panic("inside");
                })
            }));
            assert!(panicked.is_err());
            assert_eq!(user(), Some(1));
        });
        assert_eq!(user(), None);
    });
}

#[test]
fn every_way_to_spawn_inherits() {
    on_workers(&[1, 2], |_| {
        of(7).enter(|| {
            let names = Builder::new().name("named").stack_size(64 << 10);
            let all = [
                spawn(user).join().unwrap(),
                spawn_local(user).join().unwrap(),
                Builder::new().spread().spawn(user).unwrap().join().unwrap(),
                names.spawn(user).unwrap().join().unwrap(),
                go!(user()).join().unwrap(),
                spawn_blocking(user).join().unwrap(),
                fibers::Handle::current().spawn(user).join().unwrap(),
                spawn(|| spawn(|| spawn(user).join().unwrap()).join().unwrap())
                    .join()
                    .unwrap(),
            ];
            assert_eq!(all, [Some(7); 8]);
        });
        assert_eq!(
            (spawn(user).join().unwrap(), spawn_blocking(user).join().unwrap()),
            (None, None)
        );
    });
}

#[test]
fn a_thread_outside_gives_its_own_to_what_it_spawns() {
    let runtime = Runtime::builder().workers(1).build().unwrap();
    let fiber = of(3).enter(|| runtime.handle().spawn(|| (user(), fibers::current().name().is_none())));
    let (inside, outside) = runtime.run(|| (fiber.join().unwrap(), user()));
    assert_eq!(
        (inside, outside),
        ((Some(3), true), None),
        "the main fiber begins without one"
    );
}

#[test]
fn siblings_on_one_worker_do_not_see_each_others() {
    on_workers(&[1, 2], |_| {
        let fibers: Vec<_> = (0..20)
            .map(|i| {
                spawn(move || {
                    for round in 0..rounds(20, 1000) as u32 {
                        of(i * 1000 + round).enter(|| {
                            yield_now();
                            assert_eq!(user(), Some(i * 1000 + round));
                            let inherited = spawn(user);
                            yield_now();
                            assert_eq!(inherited.join().unwrap(), Some(i * 1000 + round));
                        });
                        assert_eq!(user(), None);
                    }
                })
            })
            .collect();
        fibers.into_iter().for_each(|fiber| fiber.join().unwrap());
    });
}

#[test]
fn a_fiber_may_change_its_own_without_changing_its_spawners() {
    run(|| {
        of(1).enter(|| {
            let seen = spawn(|| (user(), of(2).enter(|| spawn(user).join().unwrap()), user()))
                .join()
                .unwrap();
            assert_eq!((seen, user()), ((Some(1), Some(2), Some(1)), Some(1)));
        });
    });
}

#[test]
fn cancelling_it_reaches_who_listens() {
    on_workers(&[1, 2], |_| {
        let (ctx, cancel) = Context::background().with_cancel();
        let deep = ctx.enter(|| spawn(|| spawn(|| context::current().done()).join().unwrap()));
        cancel.cancel();
        assert_eq!(deep.join().unwrap(), ContextError::Cancelled);
    });
}

/// What is inherited is dropped at the end of the fiber, however that comes about.
#[test]
fn what_is_inherited_is_dropped_with_the_fiber() {
    static VALUE: Key<fibers_tests::Counted<()>> = Key::new("value");
    let drops = Drops::default();
    let with_value = || Context::background().with_value(&VALUE, drops.make(()));
    for workers in [1, 2] {
        fibers_tests::runtime(workers).run(|| {
            let handle = with_value().enter(|| spawn(|| assert!(context::current().value(&VALUE).is_some())));
            while !handle.is_finished() || drops.live() != 0 {
                yield_now(); // though the handle is still there
            }
            handle.join().unwrap();
            drop(with_value().enter(|| spawn(|| quiet_panic("inside"))));
            drop(with_value().enter(|| spawn(|| fibers::select! {}))); // unwound at the end of the run
            drop(with_value().enter(|| spawn(yield_now))); // perhaps never started
            drop(with_value().enter(|| spawn_blocking(|| ())));
        });
        while drops.live() != 0 {
            std::thread::yield_now(); // the blocking thread may be about to
        }
    }
}

/// A destructor of a value that panics or suspends does so as a part of its fiber.
#[test]
fn destructors_of_what_is_inherited_may_suspend_and_panic() {
    struct Rude(Arc<AtomicU32>);
    impl Drop for Rude {
        fn drop(&mut self) {
            yield_now();
            self.0.fetch_add(1, Ordering::Relaxed);
            quiet_panic("rude");
        }
    }
    static RUDE: Key<Rude> = Key::new("rude");
    on_workers(&[1, 2], |_| {
        let dropped = Arc::new(AtomicU32::new(0));
        let ctx = Context::background().with_value(&RUDE, Rude(dropped.clone()));
        let fiber = ctx.enter(|| spawn(yield_now));
        drop(ctx);
        fiber.join().unwrap();
        while dropped.load(Ordering::Relaxed) == 0 {
            yield_now();
        }
    });
}
