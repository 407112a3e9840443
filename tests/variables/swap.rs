//! Swap channels: everybody goes on with the value of exactly one other.

use crate::{join_all, mixed};
use fibers::op::choice;
use fibers::sync::Swap;
use fibers::{Op, channel, select};
use fibers_tests::{Drops, Task, everywhere, rounds, under_stress};
use std::time::Duration;

#[test]
fn nobody_is_there() {
    let swap = Swap::new();
    assert_eq!(swap.try_swap(1).unwrap_err().into_inner(), 1);
    assert_eq!(swap.swap_op(1).try_perform(), None);
    assert!(swap.swap_op(1).timeout(Duration::from_millis(1)).perform().is_err());
    assert_eq!(swap.waiting(), 0);
    assert!(swap.same(&swap.clone()) && !swap.same(&Swap::default()));
    assert_eq!(format!("{swap:?}"), "Swap { waiting: 0 }");
}

/// The own value never comes back: a choice does not meet itself, not even with four arms.
#[test]
fn a_choice_never_meets_itself() {
    everywhere(|on| {
        let swap = Swap::new();
        let arms = |v| choice((swap.swap_op(v), swap.swap_op(v), swap.swap_op(v), swap.swap_op(v)));
        assert!(arms(1).timeout(Duration::from_millis(2)).perform().is_err());
        assert_eq!(swap.waiting(), 0);
        let theirs = swap.clone();
        let other = on.spawn(move || choice((theirs.swap_op(2), theirs.swap_op(2))).perform());
        assert_eq!(arms(1).perform(), 2);
        assert_eq!((other.join(), swap.waiting()), (1, 0));
    });
}

#[test]
fn a_try_meets_who_waits() {
    everywhere(|on| {
        let swap = Swap::new();
        let theirs = swap.clone();
        let other = on.spawn(move || theirs.swap("waits"));
        on.eventually(|| swap.waiting() == 1);
        assert_eq!(swap.try_swap("comes"), Ok("waits"));
        assert_eq!(other.join(), "comes");
    });
}

/// Pairs off: who got whose value is a permutation in which each is the partner of their partner.
#[test]
fn exchanges_are_mutual() {
    under_stress(|on| {
        let drops = Drops::default();
        for _ in 0..rounds(20, 20_000) {
            let swap = Swap::new();
            let tasks: Vec<Task<usize>> = (0..8)
                .map(|i| {
                    let (swap, mine) = (swap.clone(), drops.make(i));
                    let spare = drops.make(i);
                    mixed(on, i as u64, move || match i % 2 {
                        0 => swap.swap(mine).value,
                        _ => choice((swap.swap_op(mine), swap.swap_op(spare))).perform().value,
                    })
                })
                .collect();
            let got = join_all(on, tasks);
            for (i, partner) in got.iter().enumerate() {
                assert!(*partner != i && got[*partner] == i, "{got:?}");
            }
            assert_eq!((swap.waiting(), drops.live()), (0, 0));
        }
    });
}

/// Tokens change hands for as long as it goes, with timeouts and attempts among them; in the end all are there.
#[test]
fn conserves_values() {
    under_stress(|on| {
        let drops = Drops::default();
        let swap = Swap::new();
        let n = rounds(100, 100_000);
        let tasks: Vec<Task<u64>> = (0..6)
            .map(|i| {
                let (swap, drops) = (swap.clone(), drops.clone());
                mixed(on, i, move || {
                    let mut token = i;
                    for round in 0..n {
                        match (i + round) % 3 {
                            0 => {
                                token = swap
                                    .try_swap(drops.make(token))
                                    .map_or_else(|e| e.into_inner().value, |v| v.value)
                            }
                            _ => {
                                let time = Duration::from_micros(20 * (round % 4));
                                let swapped = swap.swap_op(drops.make(token)).timeout(time).perform();
                                token = swapped.map_or(token, |v| v.value);
                            }
                        }
                    }
                    token
                })
            })
            .collect();
        let mut tokens = join_all(on, tasks);
        tokens.sort_unstable();
        assert_eq!(tokens, [0, 1, 2, 3, 4, 5]);
        assert_eq!((swap.waiting(), drops.live()), (0, 0));
    });
}

#[test]
fn in_select() {
    everywhere(|on| {
        let (swap, quiet) = (Swap::new(), Swap::new());
        let (tx, rx) = channel(0);
        let n = rounds(300, 1_000_000);
        let theirs = swap.clone();
        let partner = on.spawn(move || {
            for i in 0..n {
                tx.send(i).unwrap();
                assert_eq!(theirs.swap(2 * i), i);
            }
        });
        for i in 0..n {
            select! {
                v = <-rx => assert_eq!(v, Ok(i)),
                _ = quiet.swap_op(i) => unreachable!(),
            }
            select! {
                v = swap.swap_op(i) => assert_eq!(v, 2 * i),
                _ = quiet.swap_op(i) => unreachable!(),
            }
        }
        partner.join();
        assert_eq!((swap.waiting(), quiet.waiting()), (0, 0));
    });
}

#[test]
fn sizes() {
    everywhere(|on| {
        let (unit, large) = (Swap::new(), Swap::new());
        let theirs = (unit.clone(), large.clone());
        let other = on.spawn(move || (theirs.0.swap(()), theirs.1.swap([1_u8; 4096])).1);
        unit.swap(());
        assert_eq!(large.swap([2; 4096]), [1; 4096]);
        assert_eq!(other.join(), [2; 4096]);
    });
}
