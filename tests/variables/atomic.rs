//! Atomics that can be waited for.

use crate::{join_all, mixed};
use fibers::op::choice;
use fibers::sync::atomic::{
    AtomicBool, AtomicI8, AtomicI64, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, Waitable,
};
use fibers::{Op, channel, select};
use fibers_tests::{everywhere, panics_with, quiet_panic, rounds, under_stress};
use std::sync::Arc;
use std::time::Duration;

#[test]
fn does_what_the_atomic_does() {
    let n = Waitable::<AtomicI8>::new(5);
    assert_eq!((n.load(), n.swap(6), n.fetch_add(127), n.fetch_sub(-1)), (5, 5, 6, -123));
    assert_eq!((n.fetch_max(1), n.fetch_min(-3), n.load()), (-122, 1, -3));
    assert_eq!(
        (n.fetch_and(0x0F), n.fetch_or(0x70), n.fetch_xor(0x11), n.load()),
        (-3, 13, 125, 108)
    );
    assert_eq!((n.compare_exchange(1, 2), n.compare_exchange(108, 2)), (Err(108), Ok(108)));
    assert_eq!(n.fetch_update(|v| (v < 10).then(|| v * 10)), Ok(2));
    assert_eq!(n.fetch_update(|v| (v < 10).then(|| v * 10)), Err(20));
    n.store(1);
    assert_eq!(n.into_inner(), 1);
    let flag = Waitable::<AtomicBool>::default();
    assert_eq!(
        (flag.fetch_or(true), flag.fetch_and(true), flag.fetch_xor(true), flag.load()),
        (false, true, true, false)
    );
    let mut target = 3;
    let pointer = Waitable::<AtomicPtr<i32>>::new(std::ptr::null_mut());
    pointer.store(&raw mut target);
    assert_eq!(pointer.wait_until(|p| !p.is_null()), &raw mut target);
    assert_eq!(format!("{:?}", Waitable::<AtomicU8>::new(3)), "Waitable(3)");
    // What is re-exported is the standard library's.
    let plain: std::sync::atomic::AtomicU32 = AtomicU32::new(1);
    assert_eq!(plain.load(Ordering::Relaxed), 1);
}

#[test]
fn waits_for_its_own_updates() {
    everywhere(|on| {
        let n = Arc::new(Waitable::<AtomicU64>::new(0));
        let waiters = (1..40)
            .map(|i| {
                let n = n.clone();
                on.spawn(move || match i % 2 {
                    0 => n.wait_until(|v| v >= i) >= i,
                    _ => choice((n.wait_until_op(|v| v >= i), n.wait_until_op(|v| v > i))).perform() >= i,
                })
            })
            .collect();
        for _ in 0..40 {
            n.fetch_add(1);
            on.pause();
        }
        assert!(join_all(on, waiters).into_iter().all(|holds| holds));
    });
}

/// Each kind of update wakes who waits for it. They take turns, so a wake-up that is lost hangs.
#[test]
fn no_wake_up_is_lost() {
    under_stress(|on| {
        let turn = Arc::new(Waitable::<AtomicUsize>::new(0));
        let n = rounds(200, 300_000) as usize;
        let players = (0..3)
            .map(|player| {
                let turn = turn.clone();
                mixed(on, player as u64, move || {
                    for round in 0..n {
                        let mine = 3 * round + player;
                        assert_eq!(turn.wait_until(|turn| turn == mine), mine);
                        match mine % 6 {
                            0 => turn.store(mine + 1),
                            1 => drop(turn.swap(mine + 1)),
                            2 => drop(turn.fetch_add(1)),
                            3 => drop(turn.compare_exchange(mine, mine + 1)),
                            4 => drop(turn.fetch_max(mine + 1)),
                            _ => drop(turn.fetch_update(|turn| Some(turn + 1))),
                        }
                    }
                })
            })
            .collect();
        join_all(on, players);
        assert_eq!(turn.load(), 3 * n);
    });
}

#[test]
fn in_select() {
    everywhere(|on| {
        let n = rounds(300, 1_000_000);
        let value = Arc::new(Waitable::<AtomicI64>::new(-1));
        let (tx, rx) = channel(0);
        let theirs = value.clone();
        let partner = on.spawn(move || {
            for i in 0..n as i64 {
                tx.send(i).unwrap();
                theirs.store(i);
            }
        });
        for i in 0..n as i64 {
            select! {
                v = <-rx => assert_eq!(v, Ok(i)),
                _ = value.wait_until_op(|v| v == i64::MAX) => unreachable!(),
            }
            select! {
                v = value.wait_until_op(|v| v >= i) => assert_eq!(v, i),
                v = value.wait_until_op(|v| v == i64::MAX) => unreachable!("{v}"),
            }
        }
        partner.join();
        assert!(
            value
                .wait_until_op(|v| v < 0)
                .timeout(Duration::from_millis(1))
                .perform()
                .is_err()
        );
        assert_eq!(
            value.wait_until_op(|v| v > 0).graph().to_string(),
            "an atomic's condition (0 wait)"
        );
    });
}

/// The condition is code of the user: it runs on the waiting performer, and its panic is that performer's.
#[test]
fn conditions_that_panic() {
    everywhere(|on| {
        let n = Arc::new(Waitable::<AtomicU64>::new(0));
        let waiters: Vec<_> = (0..2)
            .map(|lone| {
                let n = n.clone();
                on.spawn(move || {
                    let who = on.who();
                    panics_with("it is 2", || {
                        let condition = || {
                            |v| {
                                assert_eq!(who, on.who(), "on the performer");
                                v == 2 && quiet_panic("it is 2")
                            }
                        };
                        match lone {
                            0 => n.wait_until(condition()),
                            _ => choice((n.wait_until_op(condition()), n.wait_until_op(|v| v == 9))).perform(),
                        };
                    });
                })
            })
            .collect();
        n.store(1);
        on.pause();
        n.store(2);
        join_all(on, waiters);
        // Nobody is left, and the others go on.
        assert_eq!(
            n.wait_until_op(|_| true).graph().to_string(),
            "an atomic's condition (0 wait)"
        );
        n.store(3);
        assert_eq!(n.wait_until(|v| v == 3), 3);
    });
}
