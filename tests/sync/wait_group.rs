//! Counting down to zero, as Go's `WaitGroup` does.

use crate::{join_all, mixed, panics_with};
use fibers::op::choice;
use fibers::sync::Mutex;
use fibers::{Op, WaitGroup, channel, select};
use fibers_tests::{Counter, On, everywhere, quiet_panic, rounds, under_stress};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const TOO_OFTEN: &str = "WaitGroup: `done` was called more often than `add` announced";

#[test]
fn adds_and_takes_away() {
    let wg = WaitGroup::new();
    wg.wait();
    wg.add(3);
    wg.add(-1);
    wg.add(0);
    assert_eq!(wg.count(), 2);
    assert!(wg.wait_op().try_perform().is_none());
    wg.done();
    assert!(wg.wait_op().timeout(Duration::from_millis(1)).perform().is_err());
    wg.add(-1);
    wg.wait();
    assert_eq!(wg.count(), 0);
    assert_eq!(format!("{wg:?}"), "WaitGroup { count: 0 }");
}

#[test]
fn never_below_zero() {
    let wg = WaitGroup::default();
    panics_with(TOO_OFTEN, || wg.done());
    wg.add(2);
    panics_with(TOO_OFTEN, || wg.add(-3));
    panics_with(TOO_OFTEN, || wg.add(isize::MIN));
    assert_eq!(wg.count(), 2);
    wg.add(isize::MAX - 2);
    panics_with("WaitGroup: `add` has overflowed its counter", || wg.add(1));
    wg.add(-isize::MAX);
    wg.wait();
}

/// `add(-n)` that comes to zero releases all, more than a batch of them.
#[test]
fn the_last_releases_all() {
    everywhere(|on| {
        let (wg, through) = (WaitGroup::new(), Counter::default());
        wg.add(5);
        let waiters: Vec<_> = (0..20)
            .map(|_| {
                let (wg, through) = (wg.clone(), through.clone());
                on.spawn(move || {
                    wg.wait();
                    through.add();
                })
            })
            .collect();
        wg.add(-2);
        assert_eq!(through.get(), 0);
        wg.add(-3);
        waiters.into_iter().for_each(|task| task.join());
        assert_eq!(through.get(), 20);
    });
}

#[test]
fn guards_count_down() {
    everywhere(|on| {
        let wg = WaitGroup::new();
        let (a, b) = (wg.guard(), wg.guard());
        assert_eq!(wg.count(), 2);
        drop(a);
        assert!(wg.wait_op().try_perform().is_none());
        // Also by a panic.
        let task = on.spawn(move || {
            let _done = b;
            quiet_panic("lost");
        });
        wg.wait();
        assert!(task.outcome().is_err());
        let done = wg.guard();
        wg.done();
        panics_with(TOO_OFTEN, || drop(done));
        // But not on top of another panic.
        let done = wg.guard();
        wg.done();
        let outcome = on.spawn(move || {
            let _done = done;
            quiet_panic("first");
        });
        assert!(outcome.outcome().is_err());
        assert_eq!(wg.count(), 0);
    });
}

#[test]
fn go_counts_a_fiber_that_panics() {
    if cfg!(miri) {
        return;
    }
    On::Fibers(2).run(|_| {
        let wg = WaitGroup::new();
        let fiber = wg.go(|| quiet_panic("lost"));
        wg.wait();
        assert!(fiber.join().is_err());
        assert_eq!(wg.go(|| 7).join().unwrap(), 7);
    });
}

#[test]
fn an_arm_that_wins_and_one_that_loses() {
    everywhere(|_| {
        let wg = WaitGroup::new();
        let (tx, rx) = channel::<u32>(1);
        select! {
            <-wg => {}
            <-rx => panic!("nothing was sent"),
        }
        wg.add(1);
        tx.send(1).unwrap();
        select! {
            <-wg => panic!("something is to be done"),
            v = <-rx => assert_eq!(v, Ok(1)),
        }
        select! {
            <-wg => panic!("something is to be done"),
            default => {}
        }
        wg.done();
        wg.wait();
    });
}

/// While a waiter is on its way to look again, because another branch was told to, it waits all the same.
#[test]
fn zero_reaches_who_looks_again() {
    if cfg!(miri) {
        return;
    }
    // On one worker nobody runs before the main fiber lets them.
    On::Fibers(1).run(|on| {
        let (wg, mutex, begun) = (WaitGroup::new(), Arc::new(Mutex::new(())), Counter::default());
        wg.add(1);
        let held = mutex.lock();
        let theirs = (wg.clone(), mutex.clone(), begun.clone());
        let waiter = on.spawn(move || {
            theirs.2.add();
            let done = theirs.0.wait_op().wrap(|()| "done");
            choice((theirs.1.lock_op().wrap(|_| "locked"), done)).perform()
        });
        on.eventually(|| begun.get() == 1);
        drop(held);
        let held = mutex.try_lock().expect("who was told has not looked yet");
        wg.done();
        wg.add(1);
        on.eventually(|| waiter.is_finished());
        assert_eq!(waiter.join(), "done");
        drop(held);
    });
}

/// A group used again and again: in each round, all work is done when the waiters go on.
#[test]
fn used_again_under_stress() {
    under_stress(|on| {
        let wg = WaitGroup::new();
        let finished = Arc::new(AtomicU64::new(0));
        for round in 1..=rounds(20, 20_000) {
            wg.add(3);
            let tasks: Vec<_> = mixed(on, 3)
                .map(|on| {
                    let (wg, finished) = (wg.clone(), finished.clone());
                    on.spawn(move || {
                        finished.fetch_add(1, Ordering::Relaxed);
                        wg.done();
                    })
                })
                .collect();
            let theirs = (wg.clone(), finished.clone());
            let other = on.spawn(move || {
                theirs.0.wait();
                theirs.1.load(Ordering::Relaxed)
            });
            wg.wait();
            assert_eq!(finished.load(Ordering::Relaxed), 3 * round);
            assert_eq!(other.join(), 3 * round);
            join_all(on, tasks);
        }
    });
}
