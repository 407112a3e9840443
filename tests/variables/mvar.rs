//! MVar: empty or full, first come, first served, and no value is seen by two takes.

use crate::{join_all, mixed};
use fibers::op::choice;
use fibers::sync::{MVar, Swap};
use fibers::{Op, channel, op, select};
use fibers_tests::{Counted, Drops, On, Rng, Task, assert_share, everywhere, rounds, under_stress};
use std::time::Duration;

#[test]
fn empty_or_full() {
    let mvar = MVar::empty();
    assert!(mvar.is_empty());
    assert_eq!((mvar.try_take(), mvar.try_read()), (None, None));
    assert_eq!(mvar.try_swap(0).unwrap_err().into_inner(), 0);
    assert_eq!(mvar.try_put(1), Ok(()));
    assert_eq!(mvar.try_put(2).unwrap_err().into_inner(), 2);
    assert_eq!(
        (mvar.read(), mvar.try_read(), mvar.read_op().try_perform()),
        (1, Some(1), Some(1))
    );
    assert_eq!((mvar.swap(3), mvar.try_swap(4), mvar.is_empty()), (1, Ok(3), false));
    assert_eq!((mvar.take(), mvar.is_empty()), (4, true));
    mvar.put(5);
    assert_eq!(mvar.put_op(6).try_perform(), None);
    assert_eq!(mvar.try_take(), Some(5));
    assert!(MVar::<u8>::default().is_empty() && !MVar::from(1).is_empty());
    assert!(mvar.same(&mvar.clone()) && !mvar.same(&MVar::empty()));
    assert_eq!(format!("{mvar:?}"), "MVar { empty: true, .. }");
}

/// Starts performers one after the other, each once the one before waits.
fn queue_up<T: Send + 'static>(
    on: On,
    waiting: impl Fn() -> usize,
    performers: Vec<Box<dyn FnOnce() -> T + Send>>,
) -> Vec<Task<T>> {
    let mut tasks = Vec::new();
    for (i, performer) in performers.into_iter().enumerate() {
        tasks.push(on.spawn(performer));
        on.eventually(|| waiting() == i + 1);
    }
    tasks
}

/// Takes, reads and swaps stand in one queue: a read does not overtake, and is not overtaken.
#[test]
fn first_come_first_served() {
    everywhere(|on| {
        let mvar = MVar::empty();
        let get = |f: fn(&MVar<u32>) -> u32| {
            let mvar = mvar.clone();
            Box::new(move || f(&mvar)) as Box<dyn FnOnce() -> u32 + Send>
        };
        let tasks = queue_up(
            on,
            || mvar.waiting_takers(),
            vec![
                get(MVar::take),
                get(MVar::read),
                get(MVar::read),
                get(|mvar| mvar.swap(20)),
                get(MVar::read),
                get(MVar::take),
                get(MVar::read),
            ],
        );
        mvar.put(1);
        mvar.put(2);
        on.eventually(|| mvar.waiting_takers() == 1);
        mvar.put(3);
        assert_eq!(join_all(on, tasks), [1, 2, 2, 2, 20, 20, 3]);
        assert_eq!(mvar.take(), 3);
    });
}

#[test]
fn putters_are_served_in_order() {
    everywhere(|on| {
        let mvar = MVar::new(0);
        let tasks = queue_up(
            on,
            || mvar.waiting_putters(),
            (1..20)
                .map(|i| {
                    let mvar = mvar.clone();
                    Box::new(move || match i % 2 {
                        0 => mvar.put(i),
                        _ => choice((mvar.put_op(i), op::never())).perform(),
                    }) as Box<dyn FnOnce() + Send>
                })
                .collect(),
        );
        assert!((0..20).all(|i| mvar.take() == i));
        join_all(on, tasks);
        assert!(mvar.is_empty());
    });
}

/// As a lock around a number that is not atomic, under all that can be done with it.
#[test]
fn no_update_is_lost() {
    under_stress(|on| {
        let drops = Drops::default();
        let mvar = MVar::new(drops.make(0));
        let n = rounds(60, 100_000);
        let tasks = (0..6)
            .map(|i| {
                let (mvar, drops) = (mvar.clone(), drops.clone());
                mixed(on, i, move || {
                    let mut last = 0;
                    for _ in 0..n {
                        let read = mvar.read().value;
                        assert!(read >= last, "{read} after {last}");
                        let taken = choice((mvar.take_op(), mvar.take_op())).perform();
                        assert!(taken.value >= read);
                        last = taken.value + 1;
                        mvar.put(drops.make(last));
                    }
                })
            })
            .collect();
        join_all(on, tasks);
        assert_eq!(mvar.take().value, 6 * n);
        assert_eq!((mvar.waiting_takers(), mvar.waiting_putters(), drops.live()), (0, 0, 0));
    });
}

/// Random puts, takes, reads, swaps and attempts, in choices over two variables: what went in comes out, once.
#[test]
fn conserves_values() {
    under_stress(|on| {
        let drops = Drops::default();
        let vars: [MVar<Counted<u64>>; 2] = [MVar::empty(), MVar::empty()];
        let n = rounds(200, 100_000);
        let tasks: Vec<Task<(u64, u64)>> = (0..6)
            .map(|i| {
                let (vars, drops) = (vars.clone(), drops.clone());
                mixed(on, i, move || {
                    let mut rng = Rng::new(i);
                    let (mut put, mut taken) = (0_u64, 0_u64);
                    for _ in 0..n {
                        let [a, b] = [0, 1].map(|side| &vars[(side ^ rng.below(2)) as usize]);
                        let name = rng.below(1 << 32);
                        let new = || drops.make(name);
                        let in_time = Duration::from_micros(rng.below(50));
                        match rng.below(6) {
                            0 => {
                                if let Ok(got) = a.take_op().or(b.take_op()).timeout(in_time).perform() {
                                    taken = taken.wrapping_add(got.value);
                                }
                            }
                            1 => {
                                if a.put_op(new()).or(b.put_op(new())).timeout(in_time).perform().is_ok() {
                                    put = put.wrapping_add(name);
                                }
                            }
                            2 => {
                                if let Ok(got) = a.swap_op(new()).timeout(in_time).perform() {
                                    put = put.wrapping_add(name);
                                    taken = taken.wrapping_add(got.value);
                                }
                            }
                            3 => drop(a.read_op().or(b.read_op()).timeout(in_time).perform()),
                            4 => {
                                if a.try_put(new()).is_ok() {
                                    put = put.wrapping_add(name);
                                }
                            }
                            _ => {
                                let both = choice((a.take_op().wrap(Some), b.put_op(new()).wrap(|()| None)));
                                match both.timeout(in_time).perform() {
                                    Ok(Some(got)) => taken = taken.wrapping_add(got.value),
                                    Ok(None) => put = put.wrapping_add(name),
                                    Err(_) => {}
                                }
                            }
                        }
                    }
                    (put, taken)
                })
            })
            .collect();
        let (mut put, mut taken) = (0_u64, 0_u64);
        for (p, t) in join_all(on, tasks) {
            (put, taken) = (put.wrapping_add(p), taken.wrapping_add(t));
        }
        for var in &vars {
            assert_eq!((var.waiting_takers(), var.waiting_putters()), (0, 0));
            if let Some(left) = var.try_take() {
                taken = taken.wrapping_add(left.value);
            }
        }
        assert_eq!((put, drops.live()), (taken, 0));
    });
}

/// Arms with both arrows, that win and that lose.
#[test]
fn in_select() {
    everywhere(|on| {
        let (full, other) = (MVar::new(0), MVar::empty());
        let (tx, rx) = channel(0);
        let n = rounds(300, 1_000_000);
        let feeder = on.spawn(move || (0..n).for_each(|i| tx.send(i).unwrap()));
        for i in 0..n {
            select! {
                v = <-rx => assert_eq!(v, Ok(i)),
                full <- 7 => unreachable!(),
                v = <-other => unreachable!("{v}"),
                _ = other.read_op() => unreachable!(),
            }
        }
        feeder.join();
        assert_eq!((full.waiting_putters(), other.waiting_takers()), (0, 0));
        let echo = {
            let (full, other) = (full.clone(), other.clone());
            on.spawn(move || (0..n).for_each(|_| other.put(full.take() + 1)))
        };
        let (_quiet, quit) = channel::<()>(0);
        for i in 0..n {
            select! {
                v = <-other => assert_eq!(v, i + 1),
                <-quit => unreachable!(),
            }
            select! {
                full <- i + 1 => {}
                <-quit => unreachable!(),
            }
        }
        echo.join();
        assert_eq!((full.take(), other.is_empty()), (n, true));
    });
}

/// Two arms that are ready win equally often.
#[test]
fn fair_in_a_choice() {
    let n = rounds(2_000, 100_000);
    let (a, b) = (MVar::new(0), MVar::new(1));
    let mut firsts = 0;
    for _ in 0..n {
        let first = choice((a.take_op().wrap(|v| (v, &a)), b.take_op().wrap(|v| (v, &b)))).perform();
        firsts += u64::from(first.0 == 0);
        first.1.put(first.0);
    }
    assert_share(firsts, n, 0.5);
}

/// A variable is no rendezvous: a choice that puts and takes puts into the empty one, and takes from the full one.
#[test]
fn both_sides_in_one_choice() {
    everywhere(|_| {
        let mvar = MVar::empty();
        let both = || choice((mvar.put_op(1).wrap(|()| None), mvar.take_op().wrap(Some)));
        assert_eq!((both().perform(), both().perform()), (None, Some(1)));
        assert!(mvar.is_empty());
    });
}

#[test]
fn sizes() {
    everywhere(|on| {
        let unit = MVar::empty();
        let large = MVar::empty();
        let (their_unit, their_large) = (unit.clone(), large.clone());
        let other = on.spawn(move || (their_unit.put(()), their_large.put([7_u8; 4096])));
        unit.take();
        assert!(large.take().iter().all(|b| *b == 7));
        other.join();
    });
}

/// A copy may take its time, and perform operations itself: others wait meanwhile, and nothing is locked.
#[test]
fn a_copy_that_waits() {
    #[derive(Debug)]
    struct Slow(u32, Swap<()>);
    impl Clone for Slow {
        fn clone(&self) -> Self {
            self.1.swap(());
            Slow(self.0, self.1.clone())
        }
    }
    everywhere(|on| {
        let meeting = Swap::new();
        let mvar = MVar::new(Slow(1, meeting.clone()));
        let read = {
            let mvar = mvar.clone();
            on.spawn(move || mvar.read().0)
        };
        on.eventually(|| meeting.waiting() == 1);
        assert!(!mvar.is_empty());
        assert!(mvar.try_take().is_none());
        assert!(mvar.try_put(Slow(2, meeting.clone())).is_err());
        let theirs = mvar.clone();
        let take = on.spawn(move || theirs.take().0);
        on.eventually(|| mvar.waiting_takers() == 1);
        assert!(!take.is_finished());
        meeting.swap(());
        assert_eq!((read.join(), take.join()), (1, 1));
        assert!(mvar.is_empty());
    });
}
