//! Pools of objects.

use fibers::sync::{Pool, Pooled};
use fibers::{Op, op, select};
use fibers_tests::{Counter, Drops, On, everywhere, panics_with, quiet_panic, rounds, under_stress};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

#[test]
fn objects_are_made_when_needed_and_used_again() {
    everywhere(|_| {
        let made = Counter::default();
        let count = made.clone();
        let pool = Pool::new(3, move || count.next());
        assert_eq!((pool.idle(), pool.max(), made.get()), (0, 3, 0));
        for _ in 0..5 {
            assert_eq!(*pool.get(), 0);
        }
        let (a, mut b) = (pool.get(), pool.get());
        assert_eq!((*a, *b, made.get(), pool.idle()), (0, 1, 2, 0));
        *b = 10;
        drop(a);
        drop(b);
        assert_eq!(
            (pool.idle(), format!("{pool:?}").as_str()),
            (2, "Pool { idle: 2, max: 3, .. }")
        );
        assert_eq!((*pool.get(), *pool.clone().get()), (0, 10));
    });
}

#[test]
fn no_more_exist_than_may() {
    under_stress(|on| {
        let (drops, in_use, most) = (Drops::default(), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let maker = drops.clone();
        let pool = Pool::new(3, move || maker.make(AtomicBool::new(false)));
        let tasks: Vec<_> = (0..8)
            .map(|task| {
                let (pool, in_use, most) = (pool.clone(), in_use.clone(), most.clone());
                on.spawn(move || {
                    for i in 0..rounds(200, 50_000) {
                        let object = pool.get();
                        most.fetch_max(in_use.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        assert!(!object.value.swap(true, Ordering::SeqCst), "lent out twice");
                        if i % 3 == 0 {
                            on.pause();
                        }
                        object.value.store(false, Ordering::SeqCst);
                        in_use.fetch_sub(1, Ordering::SeqCst);
                        if (i + task) % 7 == 0 {
                            Pooled::discard(object);
                        }
                    }
                })
            })
            .collect();
        tasks.into_iter().for_each(|task| task.join());
        assert!(most.load(Ordering::SeqCst) <= 3);
        assert!(drops.live() <= 3);
        drop(pool);
        assert_eq!(drops.live(), 0);
    });
}

#[test]
fn a_get_that_loses_takes_nothing() {
    everywhere(|_| {
        let made = Counter::default();
        let count = made.clone();
        let pool = Pool::new(1, move || count.next());
        let held = pool.get();
        for _ in 0..rounds(500, 1_000_000) {
            select! {
                _ = pool.get_op() => panic!("there is none"),
                _ = op::always(()) => {}
            }
            assert!(pool.try_get().is_none());
        }
        assert!(pool.get_op().timeout(Duration::from_micros(20)).perform().is_err());
        drop(held);
        // It may win, or lose with the object there.
        for _ in 0..rounds(500, 1_000_000) {
            select! {
                object = pool.get_op() => assert_eq!(*object, 0),
                _ = op::always(()) => assert_eq!(pool.idle(), 1),
            }
        }
        assert_eq!((made.get(), pool.idle()), (1, 1));
    });
}

/// One choice waits for two objects of the same pool, and gets one.
#[test]
fn two_branches_on_one_pool() {
    everywhere(|on| {
        let pool = Pool::new(1, || 5);
        let held = pool.get();
        let theirs = pool.clone();
        let waiter = on.spawn(move || *op::choice((theirs.get_op(), theirs.get_op())).perform());
        on.pause();
        drop(held);
        assert_eq!(waiter.join(), 5);
        assert_eq!((pool.idle(), pool.try_get().is_some()), (1, true));
    });
}

/// What was committed and never arrives: the place, or the object, is not lost.
#[test]
fn an_abort_action_that_panics_loses_no_object() {
    everywhere(|_| {
        let pool = Pool::new(1, || 5);
        for object in [false, true] {
            let get = pool.get_op().wrap(drop).or(op::never().on_abort(|| quiet_panic("abort")));
            panics_with("abort", || get.perform());
            assert_eq!(pool.idle(), usize::from(object));
            assert_eq!(*pool.get(), 5);
        }
    });
}

#[test]
fn a_maker_that_fails_leaves_its_place() {
    everywhere(|_| {
        let fails = Arc::new(AtomicBool::new(true));
        let flag = fails.clone();
        let pool = Pool::new(1, move || {
            if flag.load(Ordering::SeqCst) {
                quiet_panic("maker")
            } else {
                3
            }
        });
        panics_with("maker", || drop(pool.get()));
        assert_eq!(pool.get_or_try(|| Err::<u32, _>("refused")).unwrap_err(), "refused");
        fails.store(false, Ordering::SeqCst);
        assert_eq!(*pool.get(), 3);
        assert_eq!(*pool.get_or_try(|| Err("not asked")).unwrap(), 3);
        assert_eq!(*pool.get_or_try_op(|| Err("not asked")).perform().unwrap(), 3);
    });
}

#[test]
fn a_holder_that_panics_gives_it_back() {
    everywhere(|_| {
        let pool = Pool::new(1, Vec::new);
        panics_with("holder", || {
            let mut held = pool.get();
            held.push(1);
            quiet_panic("holder")
        });
        assert_eq!(*pool.get(), [1]);
    });
}

#[test]
fn discarding_and_taking_out() {
    everywhere(|_| {
        let (drops, made) = (Drops::default(), Counter::default());
        let (maker, count) = (drops.clone(), made.clone());
        let pool = Pool::new(1, move || maker.make(count.next()));
        Pooled::discard(pool.get());
        assert_eq!((drops.live(), pool.idle()), (0, 0));
        let taken = Pooled::into_inner(pool.get());
        assert_eq!((taken.value, pool.get().value, drops.live()), (1, 2, 2));
        let late = pool.get();
        drop(pool);
        assert_eq!((late.value, drops.live()), (2, 2));
        drop((late, taken));
        assert_eq!(drops.live(), 0);
    });
}

#[test]
fn waiters_get_what_is_put_back() {
    under_stress(|on: On| {
        let pool = Pool::new(1, || ());
        let held = pool.get();
        let waiters: Vec<_> = (0..20)
            .map(|i| {
                let pool = pool.clone();
                on.spawn(move || match i % 2 {
                    0 => drop(pool.get()),
                    _ => Pooled::discard(pool.get()),
                })
            })
            .collect();
        on.pause();
        drop(held);
        waiters.into_iter().for_each(|waiter| waiter.join());
    });
}
