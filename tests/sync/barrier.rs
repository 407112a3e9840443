//! Barriers: all parties of a round, or none of them.

use crate::{join_all, mixed};
use fibers::sync::Barrier;
use fibers::{Op, channel, op, select};
use fibers_tests::{Rng, everywhere, rounds, under_stress};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

const A_MOMENT: Duration = Duration::from_millis(1);

fn waiting(barrier: &Barrier) -> usize {
    let text = format!("{barrier:?}");
    text.split("waiting: ")
        .nth(1)
        .unwrap()
        .trim_end_matches([' ', '}'])
        .parse()
        .unwrap()
}

#[test]
fn of_nobody_and_of_one() {
    for parties in [0, 1] {
        let barrier = Barrier::new(parties);
        assert!(barrier.wait().is_leader());
        assert!(barrier.wait_op().try_perform().unwrap().is_leader());
        assert!(barrier.wait_op().or(barrier.wait_op()).perform().is_leader());
    }
    static BARRIER: Barrier = Barrier::new(2);
    assert!(BARRIER.wait_op().try_perform().is_none());
    assert_eq!(format!("{BARRIER:?}"), "Barrier { parties: 2, waiting: 0 }");
}

/// Rounds do not overlap, each has one leader, and there are more parties than a batch has room for.
#[test]
fn one_leader_in_each_round() {
    under_stress(|on| {
        for parties in [2, 3, 20] {
            let barrier = Arc::new(Barrier::new(parties));
            let counts = Arc::new((AtomicU64::new(0), AtomicU64::new(0)));
            let all_rounds = (rounds(400, 400_000) / parties as u64).max(2);
            let tasks: Vec<_> = mixed(on, parties)
                .map(|on| {
                    let (barrier, counts) = (barrier.clone(), counts.clone());
                    on.spawn(move || {
                        for round in 0..all_rounds {
                            let (arrived, leaders) = &*counts;
                            arrived.fetch_add(1, Ordering::SeqCst);
                            let leads = barrier.wait().is_leader();
                            assert!(arrived.load(Ordering::SeqCst) >= (round + 1) * parties as u64);
                            leaders.fetch_add(u64::from(leads), Ordering::SeqCst);
                            barrier.wait();
                            assert_eq!(leaders.load(Ordering::SeqCst), round + 1);
                            barrier.wait();
                        }
                    })
                })
                .collect();
            join_all(on, tasks);
            assert_eq!(counts.1.load(Ordering::SeqCst), all_rounds);
            assert_eq!(waiting(&barrier), 0);
        }
    });
}

#[test]
fn an_arm_that_wins_and_one_that_loses() {
    everywhere(|on| {
        let barrier = Arc::new(Barrier::new(2));
        let (tx, rx) = channel::<u32>(1);
        tx.send(1).unwrap();
        select! {
            _ = barrier.wait_op() => panic!("nobody else is there"),
            v = <-rx => assert_eq!(v, Ok(1)),
        }
        assert!(barrier.wait_op().timeout(A_MOMENT).perform().is_err());
        let theirs = barrier.clone();
        let other = on.spawn(move || theirs.wait().is_leader());
        on.eventually(|| waiting(&barrier) == 1);
        select! {
            result = barrier.wait_op() => assert!(result.is_leader()),
            <-rx => panic!("nothing was sent"),
        }
        assert!(!other.join());
    });
}

/// Who has withdrawn has not arrived, even if it was decided elsewhere a moment ago and has not run since.
#[test]
fn a_party_that_withdraws_has_not_arrived() {
    everywhere(|on| {
        let barrier = Arc::new(Barrier::new(3));
        let (tx, rx) = channel::<()>(0);
        let theirs = barrier.clone();
        let withdraws = on.spawn(move || {
            let arrives = theirs.wait_op().wrap(|_| true);
            arrives.or(rx.recv_op().wrap(|_| false)).perform()
        });
        on.eventually(|| waiting(&barrier) == 1);
        let theirs = barrier.clone();
        let stays = on.spawn(move || theirs.wait().is_leader());
        on.eventually(|| waiting(&barrier) == 2);
        tx.send(()).unwrap();
        // The third party is the second one by now.
        assert!(barrier.wait_op().try_perform().is_none());
        assert!(barrier.wait_op().timeout(A_MOMENT).perform().is_err());
        assert!(!withdraws.join());
        let theirs = barrier.clone();
        let second = on.spawn(move || theirs.wait().is_leader());
        on.eventually(|| waiting(&barrier) == 2);
        assert!(barrier.wait().is_leader());
        assert!(!stays.join() && !second.join());
    });
}

/// Two branches of one choice are one party.
#[test]
fn two_branches_are_one_party() {
    everywhere(|on| {
        let barrier = Arc::new(Barrier::new(3));
        let twice = || {
            let barrier = barrier.clone();
            on.spawn(move || barrier.wait_op().or(barrier.wait_op()).perform().is_leader())
        };
        let first = twice();
        on.eventually(|| waiting(&barrier) == 2);
        assert!(barrier.wait_op().try_perform().is_none());
        assert!(barrier.wait_op().or(barrier.wait_op()).timeout(A_MOMENT).perform().is_err());
        let second = twice();
        on.eventually(|| waiting(&barrier) == 4);
        assert!(barrier.wait().is_leader());
        assert!(!first.join() && !second.join());
        assert_eq!(waiting(&barrier), 0);
    });
}

/// Parties that wait at two barriers at once pass exactly one of them, together with all of its parties.
#[test]
fn crossed_barriers() {
    under_stress(|on| {
        let barriers = Arc::new([Barrier::new(3), Barrier::new(2)]);
        let passed = Arc::new([const { AtomicUsize::new(0) }; 2]);
        let left = Arc::new(AtomicUsize::new(rounds(300, 200_000) as usize));
        let tasks: Vec<_> = mixed(on, 5)
            .enumerate()
            .map(|(i, on)| {
                let (barriers, passed, left) = (barriers.clone(), passed.clone(), left.clone());
                let mut rng = Rng::new(i as u64);
                on.spawn(move || {
                    while left
                        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1))
                        .is_ok()
                    {
                        let [a, b] = &*barriers;
                        let (a, b) = (a.wait_op().wrap(|_| 0), b.wait_op().wrap(|_| 1));
                        let limit = Duration::from_micros(rng.below(200));
                        let both = if rng.below(2) == 0 {
                            op::choice((a.boxed(), b.boxed()))
                        } else {
                            op::choice((b.boxed(), a.boxed()))
                        };
                        if let Ok(which) = both.timeout(limit).perform() {
                            passed[which].fetch_add(1, Ordering::SeqCst);
                        }
                    }
                })
            })
            .collect();
        join_all(on, tasks);
        let [a, b] = [0, 1].map(|i| passed[i].load(Ordering::SeqCst));
        assert_eq!((a % 3, b % 2), (0, 0), "{a} and {b}");
        assert_eq!((waiting(&barriers[0]), waiting(&barriers[1])), (0, 0));
    });
}

/// Many choices in one round: they are claimed in the order of their cells, whatever the order in which they came.
#[test]
fn a_round_of_choices() {
    under_stress(|on| {
        const PARTIES: usize = 40;
        let barrier = Arc::new(Barrier::new(PARTIES));
        for _ in 0..rounds(5, 1000) {
            let tasks: Vec<_> = (0..PARTIES)
                .map(|i| {
                    let barrier = barrier.clone();
                    on.spawn(move || match i % 3 {
                        0 => barrier.wait().is_leader(),
                        1 => barrier.wait_op().or(op::never()).perform().is_leader(),
                        _ => barrier
                            .wait_op()
                            .timeout(Duration::from_secs(3600))
                            .perform()
                            .unwrap()
                            .is_leader(),
                    })
                })
                .collect();
            let leaders = tasks.into_iter().map(|task| task.join()).filter(|leads| *leads);
            assert_eq!(leaders.count(), 1);
        }
        assert_eq!(waiting(&barrier), 0);
    });
}
