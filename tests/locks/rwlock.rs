//! The lock for readers and writers: who gets along with whom, who waits for whom, and what a choice that loses leaves behind.

use fibers::op::{always, biased, choice, never};
use fibers::sync::{
    MappedRwLockReadGuard, MappedRwLockWriteGuard, OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock, RwLockReadGuard,
    RwLockWriteGuard,
};
use fibers::{Elapsed, Op, channel};
use fibers_tests::{Counter, Drops, Rng, Task, everywhere, panics_with, quiet_panic, rounds, under_stress};
use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::{on_workers, waits};

const HOUR: Duration = Duration::from_secs(3600);
const MOMENT: Duration = Duration::from_millis(1);

#[test]
fn readers_share_and_writers_do_not() {
    everywhere(|_| {
        let lock = RwLock::new(1);
        {
            let (one, other) = (lock.read(), lock.read_op().perform());
            assert_eq!(*one + *other, 2);
            assert!(lock.try_write().is_none() && lock.write_op().try_perform().is_none());
            assert_eq!(lock.write_timeout(MOMENT).map(|guard| *guard), Err(Elapsed));
            assert_eq!(*lock.try_read().expect("the writer has left"), 1);
            drop(one);
            assert!(lock.try_write().is_none());
        }
        {
            let mut guard = lock.write();
            *guard += 1;
            assert!(lock.try_read().is_none() && lock.try_write().is_none());
            assert!(lock.read_op().try_perform().is_none());
            assert_eq!(lock.read_timeout(Duration::ZERO).map(|guard| *guard), Err(Elapsed));
        }
        assert_eq!(*lock.write_op().perform(), 2);
        assert_eq!(lock.read_timeout(HOUR).map(|guard| *guard), Ok(2));
        assert_eq!(lock.write_timeout(Duration::MAX).map(|guard| *guard), Ok(2));
        assert_eq!(lock.into_inner(), 2);
    });
}

#[test]
fn conversions() {
    static STATIC: RwLock<u32> = RwLock::new(7);
    assert_eq!(*STATIC.read(), 7);
    let mut lock = RwLock::from(String::from("a"));
    lock.get_mut().push('b');
    assert_eq!(
        format!("{} {:?} {:?}", lock.read(), lock.read_op(), lock.write_op()),
        "ab ReadOp WriteOp"
    );
    assert_eq!(RwLock::<u8>::default().into_inner(), 0);
    let slice: &RwLock<[u8]> = &RwLock::new([1, 2, 3]);
    slice.write()[1] = 7;
    assert_eq!(
        format!("{slice:?} {:?}", slice.read()),
        "RwLock { value: [1, 7, 3] } [1, 7, 3]"
    );
    let guard = slice.write();
    assert_eq!(format!("{slice:?}"), "RwLock { value: <locked> }");
    drop(guard);
    let graphs = (lock.read_op().graph().to_string(), lock.write_op().graph().to_string());
    assert_eq!(graphs, ("read-lock an rwlock".into(), "write-lock an rwlock".into()));
}

#[test]
fn guards_can_be_shared_and_owned_ones_sent() {
    fn sync<T: Sync>() {}
    fn send<T: Send>() {}
    sync::<(RwLockReadGuard<'_, u8>, RwLockWriteGuard<'_, u8>, OwnedRwLockReadGuard<u8>)>();
    sync::<(
        MappedRwLockReadGuard<'_, u8>,
        MappedRwLockWriteGuard<'_, u8>,
        OwnedRwLockWriteGuard<u8>,
    )>();
    send::<OwnedRwLockReadGuard<u8>>();
    send::<OwnedRwLockWriteGuard<std::cell::Cell<u8>>>();
    send::<RwLock<std::cell::Cell<u8>>>();
}

/// A choice does not wait for itself: what it wants to write does not keep it from reading.
#[test]
fn a_choice_of_both_does_not_wait_behind_itself() {
    on_workers(&[1], |on| {
        let lock = Arc::new(RwLock::new(7));
        for swapped in [false, true] {
            let writer = lock.write();
            let theirs = lock.clone();
            let waiter = waits(on, move || {
                let (write, read) = (theirs.write_op().wrap(|guard| -*guard), theirs.read_op().wrap(|guard| *guard));
                match swapped {
                    true => choice((read, write)).perform(),
                    false => choice((write, read)).perform(),
                }
            });
            let theirs = lock.clone();
            let behind = waits(on, move || *theirs.read());
            let reader = RwLockWriteGuard::downgrade(writer);
            assert_eq!((waiter.join(), behind.join()), (7, 7));
            drop(reader);
            assert!(lock.try_write().is_some());
        }
    });
}

#[test]
fn maps_and_downgrades_guards() {
    everywhere(|on| {
        let lock = Arc::new(RwLock::new((1, [2, 3])));
        {
            let part = RwLockReadGuard::map(lock.read(), |pair| &pair.1[0]);
            assert!(lock.try_read().is_some() && lock.try_write().is_none());
            assert_eq!(format!("{part} {part:?}"), "2 2");
        }
        {
            let mut part = RwLockWriteGuard::map(lock.write(), |pair| &mut pair.1);
            assert!(lock.try_read().is_none());
            part[1] = 7;
        }
        panics_with("no part", || {
            drop(RwLockWriteGuard::map(lock.write(), |_| -> &mut u8 { quiet_panic("no part") }))
        });
        panics_with("no part", || {
            drop(RwLockReadGuard::map(lock.read(), |_| -> &u8 { quiet_panic("no part") }))
        });
        let mut writer = lock.write();
        let readers: Vec<_> = (0..3)
            .map(|_| {
                let lock = lock.clone();
                on.spawn(move || lock.read().0)
            })
            .collect();
        writer.0 = 5;
        let reader = RwLockWriteGuard::downgrade(writer);
        assert!(lock.try_write().is_none());
        assert_eq!(readers.into_iter().map(Task::join).collect::<Vec<_>>(), [5, 5, 5]);
        assert_eq!(*reader, (5, [2, 7]));
        drop(reader);
        let reader = OwnedRwLockWriteGuard::downgrade(lock.write_owned());
        let other = lock.try_read_owned().expect("only readers");
        assert!(lock.try_write_owned().is_none());
        // On whatever thread they end.
        on.spawn(move || drop((reader, other))).join();
        assert_eq!(lock.try_write_owned().expect("free").1, [2, 7]);
        assert_eq!(lock.read_owned_op().perform().0 + lock.read_owned().0, 10);
        lock.write_owned_op().perform().0 = 1;
        assert_eq!(lock.try_read().expect("free").0, 1);
    });
}

#[test]
fn readers_do_not_pass_a_waiting_writer() {
    on_workers(&[1], |on| {
        let lock = Arc::new(RwLock::new(Vec::new()));
        let first = lock.read();
        let (a, b, c) = (lock.clone(), lock.clone(), lock.clone());
        let writer = waits(on, move || a.write().push(1));
        assert!(lock.try_read().is_none());
        let reader = waits(on, move || b.read().len());
        let last = waits(on, move || c.write().push(2));
        drop(first);
        writer.join();
        assert_eq!(reader.join(), 1);
        last.join();
        assert_eq!(*lock.read(), [1, 2]);
    });
}

/// A writer that gives up was all that kept the readers behind it out: they come in at once, though nobody gives the lock back.
#[test]
fn readers_behind_a_writer_that_leaves_come_in() {
    everywhere(|on| {
        let lock = Arc::new(RwLock::new(7));
        let first = lock.read();
        let (tx, rx) = channel::<()>(1);
        let writer = {
            let lock = lock.clone();
            on.spawn(move || {
                let write = lock.write_op().wrap(|mut guard| *guard += 1).wrap(|()| true);
                choice((write, rx.recv_op().wrap(|_| false), lock.write_op().wrap(|_| true))).perform()
            })
        };
        on.eventually(|| lock.try_read().is_none());
        let readers: Vec<_> = (0..40)
            .map(|_| {
                let lock = lock.clone();
                on.spawn(move || *lock.read())
            })
            .collect();
        tx.send(()).unwrap();
        assert!(!writer.join());
        assert_eq!(readers.into_iter().map(Task::join).sum::<i32>(), 40 * 7);
        drop(first);
        assert_eq!(*lock.try_write().expect("free"), 7);
        // And when its time is over.
        let first = lock.read();
        let writer = {
            let lock = lock.clone();
            on.spawn(move || lock.write_timeout(MOMENT).map(|_| ()))
        };
        assert_eq!(writer.join(), Err(Elapsed));
        assert_eq!(*lock.read(), *first);
    });
}

#[test]
fn wins_and_loses_in_a_choice() {
    everywhere(|_| {
        let (lock, (tx, rx)) = (RwLock::new(0_u64), channel::<u64>(1));
        let write = || {
            lock.write_op().wrap(|mut guard| {
                *guard += 1;
                *guard
            })
        };
        let read = || lock.read_op().wrap(|guard| *guard);
        let receive = || rx.recv_op().wrap(|v| v.unwrap());
        for i in 1..=rounds(5_000, 1_000_000) {
            assert_eq!(choice((receive(), write())).perform(), i);
            assert_eq!(choice((receive(), read(), read())).perform(), i);
            let held = lock.write();
            tx.send(0).unwrap();
            assert_eq!(choice((read(), write(), receive(), read())).perform(), 0);
            assert_eq!(choice((read(), write())).try_perform(), None);
            drop(held);
            assert_eq!(biased((always(0), write())).perform(), 0);
            assert_eq!(biased((read(), always(0))).perform(), i);
        }
        assert!(lock.try_write().is_some());
    });
}

/// Readers and writers, lone and in choices that hold several branches of one lock; some give up.
#[test]
fn contended_by_fibers_and_threads() {
    under_stress(|on| {
        let n = rounds(2_000, 1_000_000);
        let drops = Drops::default();
        let lock = Arc::new(RwLock::new(drops.make(0_u64)));
        // Readers that are inside; -1: a writer.
        let inside = Arc::new(AtomicIsize::new(0));
        let written = Counter::default();
        let (theirs, shared_drops, count) = (lock.clone(), drops.clone(), written.clone());
        let work = move |stream: u64| {
            let (lock, drops, inside, written) = (theirs.clone(), shared_drops.clone(), inside.clone(), count.clone());
            move |pause: &dyn Fn()| {
                let mut random = Rng::new(stream);
                let rest = |random: &mut Rng| {
                    if random.below(16) == 0 {
                        pause();
                    }
                };
                let write = |value: &mut fibers_tests::Counted<u64>, random: &mut Rng| {
                    assert_eq!(inside.swap(-1, Ordering::AcqRel), 0, "a writer beside others");
                    *value = drops.make(value.value + 1);
                    written.add();
                    rest(random);
                    assert_eq!(inside.swap(0, Ordering::AcqRel), -1);
                };
                let read = |value: &fibers_tests::Counted<u64>, random: &mut Rng| {
                    assert!(inside.fetch_add(1, Ordering::AcqRel) >= 0, "a reader beside a writer");
                    let before = value.value;
                    rest(random);
                    assert_eq!(value.value, before);
                    inside.fetch_sub(1, Ordering::AcqRel);
                };
                for _ in 0..n {
                    match random.below(8) {
                        0 => write(&mut lock.write(), &mut random),
                        1 => write(&mut lock.write_owned(), &mut random),
                        2 => {
                            if let Ok(mut guard) = lock.write_timeout(Duration::from_micros(20)) {
                                write(&mut guard, &mut random);
                            }
                        }
                        3 => {
                            let either = choice((lock.write_op().wrap(Ok), lock.read_op().wrap(Err), never()));
                            match either.perform() {
                                Ok(mut guard) => write(&mut guard, &mut random),
                                Err(guard) => read(&guard, &mut random),
                            }
                        }
                        4 => {
                            let mut guard = lock.write();
                            write(&mut guard, &mut random);
                            inside.fetch_add(1, Ordering::AcqRel);
                            let guard = RwLockWriteGuard::downgrade(guard);
                            read(&guard, &mut random);
                            inside.fetch_sub(1, Ordering::AcqRel);
                        }
                        5 => read(&lock.read_owned(), &mut random),
                        _ => read(&lock.read(), &mut random),
                    }
                }
            }
        };
        let threads: Vec<_> = (0..2)
            .map(|i| {
                let work = work(i);
                thread::spawn(move || work(&thread::yield_now))
            })
            .collect();
        let tasks: Vec<_> = (2..6)
            .map(|i| {
                let work = work(i);
                on.spawn(move || work(&|| on.pause()))
            })
            .collect();
        tasks.into_iter().for_each(Task::join);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(lock.try_write().expect("free").value, written.get());
        drop((lock, work));
        assert_eq!(drops.live(), 0);
    });
}

/// Readers that are never without the lock, all of them together, do not keep a writer out; nor do such writers keep a reader out.
#[test]
fn nobody_starves() {
    under_stress(|on| {
        for write in [false, true] {
            let (lock, stop) = (Arc::new(RwLock::new(())), fibers::Cond::new());
            let crowd: Vec<_> = (0..3)
                .map(|_| {
                    let (lock, stop) = (lock.clone(), stop.clone());
                    on.spawn(move || {
                        while !stop.is_signalled() {
                            let guards = match write {
                                true => (Some(lock.write()), None),
                                false => (None, Some(lock.read())),
                            };
                            on.pause();
                            drop(guards);
                        }
                    })
                })
                .collect();
            for _ in 0..rounds(50, 10_000) {
                match write {
                    true => drop(lock.read()),
                    false => drop(lock.write()),
                }
            }
            stop.signal();
            crowd.into_iter().for_each(Task::join);
        }
    });
}

/// On one worker, where it is known who comes when: nobody who comes later is served earlier, but readers who are let in together.
#[test]
fn served_in_order() {
    on_workers(&[1], |on| {
        let (lock, order) = (Arc::new(RwLock::new(())), Arc::new(RwLock::new(Vec::new())));
        let held = lock.write();
        let kinds = [false, false, true, true, false, false, false, true];
        let waiters: Vec<_> = kinds
            .iter()
            .enumerate()
            .map(|(i, &write)| {
                let (lock, order) = (lock.clone(), order.clone());
                waits(on, move || {
                    let guards = match write {
                        true => (Some(lock.write()), None),
                        false => (None, Some(lock.read())),
                    };
                    order.write().push(i);
                    on.pause();
                    drop(guards);
                })
            })
            .collect();
        drop(held);
        waiters.into_iter().for_each(Task::join);
        let mut order = order.write();
        for together in [0..2, 4..7] {
            order[together].sort_unstable();
        }
        assert_eq!(*order, (0..8).collect::<Vec<_>>());
    });
}
