//! The mutex: what it does alone, in a choice that it wins and that it loses, under contention, and when its holder unwinds.

use fibers::op::{always, biased, choice, never};
use fibers::sync::{LockOp, MappedMutexGuard, Mutex, MutexGuard, OwnedMutexGuard};
use fibers::{Cond, Elapsed, Op, channel};
use fibers_tests::{Counter, Drops, On, Rng, everywhere, panics_with, quiet_panic, rounds, under_stress};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::on_workers;

const HOUR: Duration = Duration::from_secs(3600);
const MOMENT: Duration = Duration::from_millis(1);

#[test]
fn locks_and_unlocks() {
    everywhere(|_| {
        let mutex = Mutex::new(1);
        *mutex.lock() += 1;
        {
            let mut guard = mutex.lock();
            assert!(mutex.try_lock().is_none());
            assert!(mutex.lock_op().try_perform().is_none());
            *guard += 1;
        }
        assert_eq!(*mutex.try_lock().unwrap(), 3);
        assert_eq!(*mutex.lock_op().perform(), 3);
        assert_eq!(*mutex.lock_op().try_perform().unwrap(), 3);
        assert_eq!(mutex.lock_timeout(HOUR).map(|guard| *guard), Ok(3));
        let guard = mutex.lock();
        assert_eq!(mutex.lock_timeout(MOMENT).map(|guard| *guard), Err(Elapsed));
        assert_eq!(mutex.lock_timeout(Duration::ZERO).map(|guard| *guard), Err(Elapsed));
        drop(guard);
        assert_eq!(mutex.lock_timeout(Duration::MAX).map(|guard| *guard), Ok(3));
        assert_eq!(mutex.into_inner(), 3);
    });
}

#[test]
fn conversions() {
    static STATIC: Mutex<u32> = Mutex::new(7);
    assert_eq!(*STATIC.lock(), 7);
    let mut mutex = Mutex::from(String::from("a"));
    mutex.get_mut().push('b');
    assert_eq!(format!("{} {:?}", mutex.lock(), mutex.lock_op()), "ab LockOp");
    assert_eq!(Mutex::<u8>::default().into_inner(), 0);
    let slice: &Mutex<[u8]> = &Mutex::new([1, 2, 3]);
    slice.lock()[1] = 7;
    assert_eq!(format!("{:?}", slice.lock()), "[1, 7, 3]");
    assert_eq!(format!("{slice:?}"), "Mutex { value: [1, 7, 3] }");
    let guard = slice.lock();
    assert_eq!(format!("{slice:?}"), "Mutex { value: <locked> }");
    drop(guard);
    let text: Box<Mutex<dyn ToString + Send>> = Box::new(Mutex::new(5));
    assert_eq!(text.lock().to_string(), "5");
    assert_eq!(mutex.lock_op().graph().to_string(), "lock a mutex");
}

/// What may be sent and shared; what may not is in `compile_fail`.
#[test]
fn guards_can_be_shared_and_owned_ones_sent() {
    fn sync<T: Sync>() {}
    fn send<T: Send>() {}
    sync::<MutexGuard<'_, u8>>();
    sync::<MappedMutexGuard<'_, u8>>();
    sync::<OwnedMutexGuard<u8>>();
    send::<OwnedMutexGuard<std::cell::Cell<u8>>>();
    sync::<Mutex<std::cell::Cell<u8>>>();
    send::<LockOp<&Mutex<u8>>>();
}

#[test]
fn maps_guards() {
    let mutex = Mutex::new((1, [2, 3]));
    let part = MutexGuard::map(mutex.lock(), |pair| &mut pair.1);
    assert!(mutex.try_lock().is_none());
    let mut first = MappedMutexGuard::map(part, |array| &mut array[0]);
    assert!(mutex.try_lock().is_none());
    *first += 5;
    assert_eq!(format!("{first} {first:?}"), "7 7");
    drop(first);
    assert_eq!(*mutex.lock(), (1, [7, 3]));
    panics_with("no part", || {
        drop(MutexGuard::map(mutex.lock(), |_| -> &mut u8 { quiet_panic("no part") }))
    });
    assert!(mutex.try_lock().is_some());
}

#[test]
fn owned_guards_travel() {
    everywhere(|on| {
        let mutex = Arc::new(Mutex::new(1));
        let mut guard = mutex.lock_owned();
        assert!(mutex.try_lock_owned().is_none());
        let other = on.spawn(move || {
            *guard += 1;
            guard
        });
        let guard = other.join();
        assert!(mutex.try_lock().is_none());
        let waiter = {
            let mutex = mutex.clone();
            on.spawn(move || *mutex.lock())
        };
        thread::spawn(move || drop(guard)).join().unwrap();
        assert_eq!(waiter.join(), 2);
        assert_eq!(*mutex.try_lock_owned().unwrap(), 2);
        assert_eq!(*mutex.lock_owned_op().perform(), 2);
        // An owned guard keeps the mutex alive, and an owned operation too.
        let (guard, op) = (mutex.lock_owned(), mutex.lock_owned_op());
        drop(mutex);
        assert_eq!(*guard, 2);
        drop(guard);
        assert_eq!(*op.clone().perform(), 2);
        assert_eq!(*op.perform(), 2);
    });
}

#[test]
fn wins_and_loses_in_a_choice() {
    everywhere(|_| {
        let (mutex, (tx, rx)) = (Mutex::new(0_u64), channel::<u64>(1));
        let lock = || {
            mutex.lock_op().wrap(|mut guard| {
                *guard += 1;
                *guard
            })
        };
        let receive = || rx.recv_op().wrap(|v| v.unwrap());
        for i in 1..=rounds(5_000, 1_000_000) {
            // Ready, against one that is not; and the other way round.
            assert_eq!(choice((receive(), lock())).perform(), i);
            let held = mutex.lock();
            tx.send(0).unwrap();
            assert_eq!(choice((lock(), receive(), lock())).perform(), 0);
            assert_eq!(choice((lock(), receive())).try_perform(), None);
            drop(held);
            // Both are ready.
            assert_eq!(biased((always(7), lock())).perform(), 7);
            assert_eq!(biased((mutex.lock_op().wrap(|guard| *guard), always(7))).perform(), i);
        }
    });
}

/// Two choices over the same two mutexes, in different orders, and a third party that holds one of them now and then.
#[test]
fn no_lock_is_lost_between_choices() {
    under_stress(|on| {
        let n = rounds(2_000, 1_000_000);
        let both = Arc::new([Mutex::new(0_u64), Mutex::new(0)]);
        let tasks: Vec<_> = (0..4)
            .map(|i| {
                let both = both.clone();
                on.spawn(move || {
                    let mut random = Rng::new(i);
                    for _ in 0..n {
                        let (a, b) = (&both[(i % 2) as usize], &both[(1 - i % 2) as usize]);
                        let mut guard = match random.below(4) {
                            0 => a.lock(),
                            1 => choice((a.lock_op(), a.lock_op(), never())).perform(),
                            _ => choice((a.lock_op(), b.lock_op())).perform(),
                        };
                        *guard += 1;
                        if random.below(8) == 0 {
                            on.pause();
                        }
                    }
                })
            })
            .collect();
        tasks.into_iter().for_each(|task| task.join());
        let total = both.iter().map(|mutex| *mutex.try_lock().expect("free")).sum::<u64>();
        assert_eq!(total, 4 * n);
    });
}

/// Whoever is told that the lock is free, and goes another way, tells the next one.
#[test]
fn no_word_is_lost_by_waiters_that_leave() {
    under_stress(|on| {
        let n = rounds(1_000, 1_000_000);
        let mutex = Arc::new(Mutex::new(0_u64));
        let (tx, rx) = channel::<()>(0);
        let leaving: Vec<_> = (0..2)
            .map(|_| {
                let (mutex, rx) = (mutex.clone(), rx.clone());
                on.spawn(move || {
                    // Until the channel is closed: the lock, or a message, or a time that is over, whatever is first.
                    loop {
                        let lock = mutex.lock_op().wrap(|mut guard| {
                            *guard += 0;
                            true
                        });
                        let leave = rx.recv_op().wrap(|v| v.is_ok());
                        if choice((lock, leave)).timeout(Duration::from_micros(50)).perform() == Ok(false) {
                            return;
                        }
                        on.pause();
                    }
                })
            })
            .collect();
        let locking: Vec<_> = (0..2)
            .map(|_| {
                let mutex = mutex.clone();
                on.spawn(move || {
                    for i in 0..n {
                        let mut guard = mutex.lock();
                        *guard += 1;
                        if i % 3 == 0 {
                            on.pause();
                        }
                    }
                })
            })
            .collect();
        for _ in 0..n / 4 {
            tx.try_send(()).ok();
            on.pause();
        }
        locking.into_iter().for_each(|task| task.join());
        tx.close();
        leaving.into_iter().for_each(|task| task.join());
        assert_eq!(*mutex.try_lock().expect("free"), 2 * n);
    });
}

/// Fibers and threads, guards by reference and owned ones, values that are counted.
#[test]
fn contended_by_fibers_and_threads() {
    under_stress(|on| {
        let n = rounds(3_000, 1_000_000);
        let drops = Drops::default();
        let shared = Arc::new(Mutex::new((0_u64, drops.make(0_u64))));
        let inside = Counter::default();
        let (theirs, counted) = (shared.clone(), drops.clone());
        let work = move |stream: u64| {
            let (shared, drops, inside) = (theirs.clone(), counted.clone(), inside.clone());
            move |pause: &dyn Fn()| {
                let mut random = Rng::new(stream);
                let critical = |value: &mut (u64, fibers_tests::Counted<u64>), random: &mut Rng| {
                    let before = inside.get();
                    value.0 += 1;
                    value.1 = drops.make(value.0);
                    if random.below(16) == 0 {
                        pause();
                    }
                    assert_eq!(value.0, value.1.value);
                    assert_eq!(inside.next(), before, "two are inside");
                };
                for _ in 0..n {
                    match random.below(5) {
                        0 => critical(&mut shared.lock_owned(), &mut random),
                        1 => critical(&mut shared.lock_op().timeout(HOUR).perform().unwrap(), &mut random),
                        2 => {
                            let mut guard = loop {
                                match shared.try_lock() {
                                    Some(guard) => break guard,
                                    None => pause(),
                                }
                            };
                            critical(&mut guard, &mut random);
                        }
                        _ => critical(&mut shared.lock(), &mut random),
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
        tasks.into_iter().for_each(|task| task.join());
        // A fiber that joins a thread would keep its worker from the fibers.
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(shared.try_lock().expect("free").0, 6 * n);
        assert_eq!(drops.live(), 1);
        drop((shared, work));
        assert_eq!(drops.live(), 0);
    });
}

/// On one worker, where it is known who runs when: a waiter is told in vain a few times at most, then it is its turn, however greedy
/// the others are.
#[test]
fn a_waiter_loses_a_bounded_number_of_times() {
    on_workers(&[1], |on| {
        let (mutex, taken, stop) = (Arc::new(Mutex::new(())), Counter::default(), Cond::new());
        let greedy = {
            let (mutex, taken, stop) = (mutex.clone(), taken.clone(), stop.clone());
            on.spawn(move || {
                while !stop.is_signalled() {
                    let guard = mutex.lock();
                    taken.add();
                    on.pause();
                    drop(guard);
                }
            })
        };
        on.eventually(|| mutex.try_lock().is_none());
        const WAITERS: u64 = 5;
        let waiters: Vec<_> = (0..WAITERS)
            .map(|i| {
                let (mutex, taken) = (mutex.clone(), taken.clone());
                on.spawn(move || {
                    let mut most = 0;
                    for _ in 0..100 {
                        let before = taken.get();
                        let guard = match i % 2 {
                            0 => mutex.lock(),
                            _ => choice((mutex.lock_op(), never())).perform(),
                        };
                        most = most.max(taken.get() - before);
                        drop(guard);
                        on.pause();
                    }
                    most
                })
            })
            .collect();
        for waiter in waiters {
            let most = waiter.join();
            // Four losses for each of those in front, for itself, and a hand-over each.
            assert!(most <= (WAITERS + 1) * 5, "{most} times others had the lock");
        }
        stop.signal();
        greedy.join();
    });
}

/// With others on other processors nobody can say who is faster; but nobody waits for ever.
#[test]
fn nobody_starves_beside_greedy_ones() {
    under_stress(|on| {
        let (mutex, stop) = (Arc::new(Mutex::new(0_u64)), Cond::new());
        let greedy: Vec<_> = (0..3)
            .map(|_| {
                let (mutex, stop) = (mutex.clone(), stop.clone());
                on.spawn(move || {
                    while !stop.is_signalled() {
                        let mut guard = mutex.lock();
                        *guard += 1;
                        on.pause();
                        drop(guard);
                    }
                })
            })
            .collect();
        for _ in 0..rounds(50, 10_000) {
            *mutex.lock() += 1;
        }
        stop.signal();
        greedy.into_iter().for_each(|task| task.join());
    });
}

/// Those who wait are told in the order in which they came.
#[test]
fn waiters_come_in_order() {
    on_workers(&[1], |on| {
        let mutex = Arc::new(Mutex::new(Vec::new()));
        let (held, coming) = (mutex.lock(), Counter::default());
        let waiters: Vec<_> = (0..20)
            .map(|i| {
                let (mutex, at_the_lock) = (mutex.clone(), coming.clone());
                let waiter = on.spawn(move || {
                    at_the_lock.add();
                    mutex.lock().push(i);
                });
                // The others run only when it waits.
                on.eventually(|| coming.get() > i);
                waiter
            })
            .collect();
        drop(held);
        waiters.into_iter().for_each(|waiter| waiter.join());
        assert_eq!(*mutex.lock(), (0..20).collect::<Vec<_>>());
    });
}

/// A guard may be held across anything that suspends: others wait for the lock, and not for the worker.
#[test]
fn held_while_its_fiber_is_suspended() {
    on_workers(&[1, 2], |on| {
        let mutex = Arc::new(Mutex::new(0));
        let (tx, rx) = channel::<()>(0);
        let holder = {
            let mutex = mutex.clone();
            on.spawn(move || {
                let mut guard = mutex.lock();
                rx.recv().unwrap();
                *guard += 1;
            })
        };
        on.eventually(|| mutex.try_lock().is_none());
        let waiter = {
            let mutex = mutex.clone();
            on.spawn(move || *mutex.lock())
        };
        on.pause();
        tx.send(()).unwrap();
        assert_eq!(waiter.join(), 1);
        holder.join();
    });
}

/// Fibers of two runtimes and a thread.
#[test]
fn shared_by_runtimes() {
    if cfg!(miri) {
        return;
    }
    let n = rounds(2_000, 1_000_000);
    let mutex = Arc::new(Mutex::new(0_u64));
    let work = |on: On| {
        let mutex = mutex.clone();
        move || {
            for i in 0..n {
                let mut guard = mutex.lock();
                *guard += 1;
                if i % 8 == 0 {
                    on.pause();
                }
            }
        }
    };
    fibers_tests::watchdog(fibers_tests::HANG, || {
        let runtimes: Vec<_> = [1, 2]
            .map(|workers| {
                let work = work(On::Fibers(workers));
                thread::spawn(move || {
                    fibers_tests::runtime(workers).run(move || {
                        (0..2)
                            .map(|_| fibers::spawn(work.clone()))
                            .collect::<Vec<_>>()
                            .into_iter()
                            .for_each(|fiber| fiber.join().unwrap())
                    })
                })
            })
            .into();
        work(On::Threads)();
        runtimes.into_iter().for_each(|thread| thread.join().unwrap());
    });
    assert_eq!(*mutex.try_lock().expect("free"), 5 * n);
}
