//! Who wins when several branches are ready (cases 47 to 50). Bounds are six standard deviations wide.

use crate::everywhere;
use fibers::op::{always, biased, choice, never};
use fibers::{Op, channel, time};
use fibers_tests::{assert_share, rounds};
use std::time::Duration;

#[test]
fn c47_two_ready_of_four() {
    everywhere(|_| {
        let n = rounds(4_000, 1_000_000);
        let ends: [_; 4] = std::array::from_fn(|_| channel::<()>(1));
        ends[0].0.send(()).unwrap();
        ends[3].0.send(()).unwrap();
        let mut counts = [0; 4];
        for _ in 0..n {
            let branch = |i: usize| ends[i].1.recv_op().wrap(move |v| (v.unwrap(), i).1);
            let i = choice((branch(0), branch(1), branch(2), branch(3))).perform();
            counts[i] += 1;
            ends[i].0.send(()).unwrap();
        }
        assert_eq!((counts[1], counts[2]), (0, 0));
        assert_share(counts[0], n, 0.5);
    });
}

#[test]
fn c47_an_array_of_branches_is_fair() {
    everywhere(|_| {
        let n = rounds(8_000, 1_000_000);
        let mut counts = [0; 10];
        for _ in 0..n {
            // Every third is ready: 0, 3, 6, 9.
            let branches = (0..10).map(|i| (i % 3 == 0).then(|| always(i)));
            counts[choice(branches).try_perform().unwrap()] += 1;
        }
        for i in [0, 3, 6, 9] {
            assert_share(counts[i], n, 0.25);
        }
    });
}

#[test]
fn c48_one_against_a_choice_of_two() {
    everywhere(|_| {
        let n = rounds(6_000, 1_000_000);
        let mut counts = [[0; 3]; 2];
        for _ in 0..n {
            counts[0][choice((always(0), choice((always(1), always(2))))).perform()] += 1;
            counts[1][always(0).or(always(1)).or(always(2)).perform()] += 1;
        }
        for count in counts.into_iter().flatten() {
            assert_share(count, n, 1.0 / 3.0);
        }
    });
}

#[test]
fn c48_kinds_of_sources_are_equal() {
    everywhere(|_| {
        let n = rounds(6_000, 400_000);
        let (tx, rx) = channel::<()>(1);
        let (closed_tx, closed) = channel::<()>(0);
        drop(closed_tx);
        let mut counts = [0; 4];
        for _ in 0..n {
            let op = choice((
                time::sleep_op(Duration::ZERO).wrap(|()| 0),
                closed.recv_op().wrap(|_| 1),
                tx.send_op(()).wrap(|_| 2),
                rx.recv_op().wrap(|_| 3),
                always(3).wrap(|i| i),
                never(),
            ));
            // The buffer is empty here, so the send is ready and the receive is not.
            let i = op.perform();
            counts[i] += 1;
            if i == 2 {
                rx.recv().unwrap();
            }
        }
        for count in counts {
            assert_share(count, n, 0.25);
        }
    });
}

#[test]
fn c49_biased_takes_the_earliest() {
    everywhere(|_| {
        for _ in 0..rounds(200, 20_000) {
            assert_eq!(biased((always(1), always(2), always(3))).perform(), 1);
            assert_eq!(biased([None, None, Some(always(2)), Some(always(3))]).try_perform(), Some(2));
            assert_eq!(
                biased(vec![biased(vec![always(1), always(2)]), biased(vec![always(3)])]).perform(),
                1
            );
            assert_eq!(biased((choice((never(), always(1))), always(2))).perform(), 1);
        }
    });
}

#[test]
fn c49_biased_inside_a_fair_choice() {
    everywhere(|_| {
        let n = rounds(4_000, 400_000);
        let mut counts = [0; 4];
        for _ in 0..n {
            counts[choice((always(0), biased((always(1), always(2))))).perform()] += 1;
            // After a biased group that skipped leaves, later ones are still counted right.
            assert_eq!(
                biased((never(), choice((biased((always(5), always(6))), never())), always(7))).perform(),
                5
            );
        }
        assert_eq!(counts[2] + counts[3], 0);
        assert_share(counts[0], n, 0.5);
    });
}

#[test]
fn c49_a_timeout_does_not_beat_its_op() {
    everywhere(|_| {
        for _ in 0..rounds(300, 20_000) {
            assert_eq!(always(1).timeout(Duration::ZERO).perform(), Ok(1));
            assert_eq!(
                choice((never(), always(1))).timeout(Duration::ZERO).try_perform(),
                Some(Ok(1))
            );
        }
    });
}

#[test]
fn c50_an_always_ready_branch_starves_nobody() {
    everywhere(|on| {
        let (tx, rx) = channel::<u64>(0);
        let n = rounds(300, 20_000);
        let sender = on.spawn(move || (0..n).for_each(|i| tx.send(i).unwrap()));
        let (mut got, mut looks) = (0, 0u64);
        while got < n {
            match choice((always(None), rx.recv_op().wrap(|v| Some(v.unwrap())))).perform() {
                Some(v) => got = (assert_eq!(v, got), v + 1).1,
                None => {
                    looks += 1;
                    on.pause();
                }
            }
        }
        sender.join();
        assert!(looks > 0 || cfg!(miri));
    });
}
