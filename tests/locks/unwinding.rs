//! Holders and waiters that do not come to their ordinary end: panics, shutdowns, branches that are committed and never finished.

use fibers::op::{base, biased, choice, never};
use fibers::sync::{Mutex, MutexGuard, RwLock};
use fibers::{Op, Runtime, Shutdown, channel};
use fibers_tests::{Counter, HANG, On, Task, everywhere, panics_with, quiet_panic, watchdog};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::{on_workers, waits};

#[test]
fn f08_a_holder_that_panics_frees_the_lock_and_poisons_nothing() {
    everywhere(|on| {
        let (mutex, lock) = (Arc::new(Mutex::new(0)), Arc::new(RwLock::new(0)));
        type End = fn(&Arc<Mutex<i32>>, &Arc<RwLock<i32>>);
        let ends: [End; 5] = [
            |mutex, _| {
                let mut guard = mutex.lock();
                *guard += 1;
                quiet_panic("holder");
            },
            |mutex, _| {
                let mut guard = MutexGuard::map(mutex.lock(), |value| value);
                *guard += 1;
                quiet_panic("holder");
            },
            |mutex, _| {
                let mut guard = mutex.lock_owned();
                *guard += 1;
                quiet_panic("holder");
            },
            |_, lock| {
                *lock.write() += 1;
                let _guard = lock.read();
                quiet_panic("holder");
            },
            |_, lock| {
                let mut guard = lock.write();
                *guard += 1;
                quiet_panic("holder");
            },
        ];
        for end in ends {
            let (m, l) = (mutex.clone(), lock.clone());
            let holder = on.spawn(move || end(&m, &l));
            let (m, l) = (mutex.clone(), lock.clone());
            let waiter = on.spawn(move || (*m.lock(), *l.read()));
            assert!(holder.outcome().is_err());
            waiter.join();
        }
        assert_eq!((*mutex.try_lock().expect("free"), *lock.try_write().expect("free")), (3, 2));
    });
}

#[test]
fn f10_a_wrap_that_panics_has_the_guard_and_loses_it() {
    everywhere(|_| {
        let (mutex, lock) = (Mutex::new(0), RwLock::new(0));
        panics_with("wrap", || mutex.lock_op().wrap(|_guard| quiet_panic("wrap")).perform());
        panics_with("wrap", || {
            choice((never(), lock.write_op().wrap(|_guard| quiet_panic("wrap")))).perform()
        });
        panics_with("wrap", || {
            let _: Result<(), _> = lock.read_op().wrap(|_| quiet_panic("wrap")).timeout(HANG).perform();
        });
        assert!(mutex.try_lock().is_some() && lock.try_write().is_some());
    });
}

/// The branch is committed, and an abort action of another branch panics before the guard is made.
#[test]
fn f10_a_lock_that_is_never_finished_is_given_back() {
    everywhere(|on| {
        let (mutex, lock) = (Mutex::new(0), RwLock::new(0));
        let loser = || never::<()>().on_abort(|| quiet_panic("abort"));
        panics_with("abort", || choice((mutex.lock_op().wrap(drop), loser())).perform());
        panics_with("abort", || choice((loser(), lock.read_op().wrap(drop))).perform());
        panics_with("abort", || choice((lock.write_op().wrap(drop), loser())).perform());
        assert!(mutex.try_lock().is_some() && lock.try_write().is_some());
        // The lock is handed to one that waits.
        let lock = Arc::new(lock);
        for write in [false, true] {
            let held = lock.write();
            let theirs = lock.clone();
            let waiter = waits(on, move || {
                let loser = never::<()>().on_abort(|| quiet_panic("abort"));
                match write {
                    true => choice((theirs.write_op().wrap(drop), loser)).perform(),
                    false => choice((theirs.read_op().wrap(drop), loser)).perform(),
                }
            });
            on.pause();
            drop(held);
            assert!(waiter.outcome().is_err());
            assert!(lock.try_write().is_some());
        }
    });
}

#[test]
fn f10_a_mutex_that_was_handed_over_and_is_never_finished_is_free() {
    on_workers(&[1], |on| {
        let mutex = Arc::new(Mutex::new(0));
        let mut held = mutex.lock();
        let theirs = mutex.clone();
        let waiter = waits(on, move || {
            let loser = never::<()>().on_abort(|| quiet_panic("abort"));
            choice((theirs.lock_op().wrap(drop), loser)).perform();
        });
        // It is told, and finds the lock taken again; until its patience is at an end.
        let mut losses = 0;
        loop {
            drop(held);
            let Some(again) = mutex.try_lock() else { break };
            held = again;
            losses += 1;
            on.pause();
        }
        assert_eq!(losses, 4);
        assert!(waiter.outcome().is_err());
        assert!(mutex.try_lock().is_some());
    });
}

/// Two wait; the first is told, and goes another way. Nobody unlocks after that.
fn second_of_two(on: On, first: impl FnOnce(&Mutex<i32>) + Send + 'static, meanwhile: impl FnOnce()) -> Task<()> {
    let mutex = Arc::new(Mutex::new(0));
    let held = mutex.lock();
    let (a, b) = (mutex.clone(), mutex.clone());
    let first = waits(on, move || first(&a));
    let second = waits(on, move || *b.lock() += 1);
    drop(held);
    meanwhile();
    second.join();
    assert_eq!(*mutex.lock(), 1);
    first
}

#[test]
fn who_is_told_and_takes_another_branch_tells_the_next() {
    on_workers(&[1], |on| {
        let (tx, rx) = channel::<()>(1);
        let first = move |mutex: &Mutex<i32>| {
            let lock = mutex.lock_op().wrap(|_| panic!("the other one is ready, and stands first"));
            biased((rx.recv_op().wrap(|v| v.unwrap()), lock)).perform();
        };
        second_of_two(on, first, || tx.send(()).unwrap()).join();
        // With two branches for the lock: the one that is told is not the one that takes it, or neither does.
        let first = |mutex: &Mutex<i32>| drop(choice((mutex.lock_op(), mutex.lock_op())).perform());
        second_of_two(on, first, || ()).join();
    });
}

/// Before the abort actions of the others, which may wait for whoever is next.
#[test]
fn who_is_told_and_takes_another_branch_tells_the_next_at_once() {
    on_workers(&[1], |on| {
        let ((tx, rx), (done, is_done)) = (channel::<()>(1), channel::<()>(1));
        let mutex = Arc::new(Mutex::new(0));
        let held = mutex.lock();
        let (a, b) = (mutex.clone(), mutex.clone());
        let first = waits(on, move || {
            let action = never().on_abort(move || is_done.recv().unwrap());
            biased((rx.recv_op().wrap(|v| v.unwrap()), action, a.lock_op().wrap(drop))).perform();
        });
        let second = waits(on, move || {
            *b.lock() += 1;
            done.send(()).unwrap();
        });
        drop(held);
        tx.send(()).unwrap();
        first.join();
        second.join();
        assert_eq!(*mutex.lock(), 1);
    });
}

#[test]
fn who_is_told_and_panics_tells_the_next() {
    on_workers(&[1], |on| {
        let first = |mutex: &Mutex<i32>| {
            let looks = Cell::new(0);
            let second_look = || {
                looks.set(looks.get() + 1);
                if looks.get() == 2 { quiet_panic("look") } else { None }
            };
            biased((base(second_look, |_| (), || ()), mutex.lock_op().wrap(drop))).perform();
        };
        assert!(second_of_two(on, first, || ()).outcome().is_err());
    });
}

/// A runtime that ends unwinds those who wait for a lock that somebody outside holds, and those who hold one.
#[test]
fn f06_the_end_of_a_runtime() {
    if cfg!(miri) {
        return;
    }
    for workers in [1, 2] {
        watchdog(HANG, || {
            let (mutex, own) = (Arc::new(Mutex::new(0)), Arc::new(Mutex::new(0)));
            let lock = Arc::new(RwLock::new(0));
            let (held, reading) = (mutex.lock(), lock.read());
            let waiting = Counter::default();
            let runtime = Runtime::builder()
                .workers(workers)
                .shutdown(Shutdown::Unwind)
                .build()
                .unwrap();
            runtime.run(|| {
                for i in 0..8 {
                    let (mutex, own, lock, waiting) = (mutex.clone(), own.clone(), lock.clone(), waiting.clone());
                    fibers::spawn(move || {
                        waiting.add();
                        let _own = (i == 0).then(|| own.lock());
                        match i % 4 {
                            0 => drop(mutex.lock()),
                            1 => drop(choice((mutex.lock_op(), mutex.lock_op())).perform()),
                            2 => drop(lock.write()),
                            _ => choice((lock.read_op().wrap(drop), lock.write_op().wrap(drop))).perform(),
                        }
                    });
                }
                On::Fibers(workers).eventually(|| waiting.get() == 8);
                fibers::yield_now();
            });
            // All that waited have left; in particular no writer keeps readers out.
            assert!(own.try_lock().is_some());
            assert!(lock.try_read().is_some());
            drop((held, reading));
            assert!(mutex.try_lock().is_some() && lock.try_write().is_some());
        });
    }
}

#[test]
fn f11_one_that_swallows_the_unwinding_gets_no_lock() {
    if cfg!(miri) {
        return;
    }
    watchdog(HANG, || {
        let (mutex, waiting) = (Arc::new(Mutex::new(0)), Counter::default());
        let held = mutex.lock();
        let (theirs, begun) = (mutex.clone(), waiting.clone());
        Runtime::builder().workers(1).build().unwrap().run(move || {
            fibers::spawn(move || {
                for _ in 0..2 {
                    begun.add();
                    let caught = catch_unwind(AssertUnwindSafe(|| drop(theirs.lock())));
                    assert!(caught.is_err(), "somebody else holds it");
                }
            });
            On::Fibers(1).eventually(|| waiting.get() == 1);
        });
        drop(held);
        assert!(mutex.try_lock().is_some());
    });
}

/// A destructor that locks while its fiber unwinds waits like any other.
#[test]
fn f09_a_destructor_that_locks() {
    on_workers(&[1, 2], |on| {
        struct Count(Arc<Mutex<i32>>);
        impl Drop for Count {
            fn drop(&mut self) {
                *self.0.lock() += 1;
            }
        }
        let mutex = Arc::new(Mutex::new(0));
        let held = mutex.lock();
        let unwinding: Vec<_> = (0..3)
            .map(|_| {
                let count = Count(mutex.clone());
                on.spawn(move || {
                    let _count = count;
                    quiet_panic("on the way");
                })
            })
            .collect();
        (0..20).for_each(|_| on.pause());
        drop(held);
        assert!(unwinding.into_iter().all(|task: Task<()>| task.outcome().is_err()));
        assert_eq!(*mutex.lock(), 3);
    });
}
