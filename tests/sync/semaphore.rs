//! Permits: how many, in which order, and none is lost.

use crate::{Inside, join_all, mixed, panics_with};
use fibers::sync::{AcquireError, AcquireTimeoutError, Semaphore, TryAcquireError};
use fibers::{Op, channel, op, select};
use fibers_tests::{On, Rng, assert_share, everywhere, rounds, under_stress};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const FOR_EVER: Duration = Duration::from_secs(3600);
const A_MOMENT: Duration = Duration::from_millis(1);

/// How many wait, as the semaphore itself says.
fn waiting(semaphore: &Semaphore) -> usize {
    let text = format!("{semaphore:?}");
    let number = text.split("waiting: ").nth(1).unwrap().trim_end_matches([' ', '}']);
    number.parse().unwrap()
}

#[test]
fn permits_are_counted() {
    let semaphore = Semaphore::new(3);
    let one = semaphore.acquire().unwrap();
    let two = semaphore.acquire_many(2).unwrap();
    assert_eq!((one.permits(), two.permits(), semaphore.available()), (1, 2, 0));
    assert_eq!(semaphore.try_acquire().unwrap_err(), TryAcquireError::NoPermits);
    assert_eq!(semaphore.acquire_timeout(A_MOMENT).unwrap_err(), AcquireTimeoutError::Timeout);
    drop(one);
    assert_eq!(semaphore.available(), 1);
    assert!(semaphore.try_acquire_many(2).is_err());
    assert!(semaphore.try_acquire_many(1).is_ok());
    assert_eq!(semaphore.available(), 1);
    drop(two);
    assert_eq!(semaphore.available(), 3);
    assert_eq!(semaphore.acquire_many_timeout(3, FOR_EVER).unwrap().permits(), 3);
    assert_eq!(
        format!("{semaphore:?}"),
        "Semaphore { available: 3, closed: false, waiting: 0 }"
    );
}

#[test]
fn as_a_static() {
    static SEMAPHORE: Semaphore = Semaphore::new(2);
    let permit = SEMAPHORE.acquire_many(2).unwrap();
    assert_eq!(SEMAPHORE.available(), 0);
    drop(permit);
    static NONE: Semaphore = Semaphore::new(0);
    assert!(NONE.try_acquire().is_err());
    NONE.add_permits(1);
    assert!(NONE.try_acquire().is_ok());
}

#[test]
fn permits_are_forgotten_split_and_merged() {
    let semaphore = Arc::new(Semaphore::new(5));
    semaphore.acquire().unwrap().forget();
    assert_eq!(semaphore.available(), 4);
    let mut all = semaphore.acquire_many(4).unwrap();
    assert!(all.split(5).is_none());
    let mut part = all.split(3).unwrap();
    assert_eq!((all.permits(), part.permits(), semaphore.available()), (1, 3, 0));
    drop(all);
    assert_eq!(semaphore.available(), 1);
    part.merge(semaphore.acquire().unwrap());
    assert_eq!((part.permits(), semaphore.available()), (4, 0));
    drop(part);
    assert_eq!(semaphore.available(), 4);
    let mut owned = semaphore.clone().acquire_many_owned(3).unwrap();
    let one = owned.split(1).unwrap();
    assert!(Arc::ptr_eq(one.semaphore(), &semaphore));
    assert!(std::ptr::eq(semaphore.acquire().unwrap().semaphore(), &*semaphore));
    owned.merge(one);
    drop(owned);
    assert_eq!(semaphore.available(), 4);
    assert_eq!(semaphore.forget_permits(1), 1);
    assert_eq!(semaphore.forget_permits(9), 3);
    assert_eq!(semaphore.available(), 0);
    let other = Semaphore::new(1);
    semaphore.add_permits(1);
    panics_with("only permits of the same semaphore can be merged", || {
        let mut permit = semaphore.acquire().unwrap();
        permit.merge(other.acquire().unwrap());
    });
    // Both were given back while that unwound.
    assert_eq!((semaphore.available(), other.available()), (1, 1));
}

#[test]
fn owned_permits_keep_it_alive() {
    everywhere(|on| {
        let semaphore = Arc::new(Semaphore::new(1));
        let permit = semaphore.clone().acquire_owned().unwrap();
        assert!(semaphore.clone().try_acquire_owned().is_err());
        let weak = Arc::downgrade(&semaphore);
        drop(semaphore);
        let still = on.spawn(move || {
            let semaphore = permit.semaphore().clone();
            drop(permit);
            semaphore.available()
        });
        assert_eq!(still.join(), 1);
        assert!(weak.upgrade().is_none());
    });
}

#[test]
fn zero_permits_are_there_at_once() {
    let semaphore = Semaphore::new(0);
    assert_eq!(semaphore.acquire_many(0).unwrap().permits(), 0);
    assert_eq!(semaphore.try_acquire_many(0).unwrap().permits(), 0);
    assert_eq!(semaphore.available(), 0);
}

#[test]
fn too_many_permits() {
    panics_with("a semaphore cannot have so many permits", || {
        let _ = Semaphore::new(Semaphore::MAX_PERMITS + 1);
    });
    let semaphore = Semaphore::new(Semaphore::MAX_PERMITS);
    panics_with("a semaphore cannot have so many permits", || semaphore.add_permits(1));
    assert_eq!(semaphore.available(), Semaphore::MAX_PERMITS);
    let all = semaphore.acquire_many(Semaphore::MAX_PERMITS).unwrap();
    semaphore.add_permits(1);
    assert_eq!((all.permits(), semaphore.available()), (Semaphore::MAX_PERMITS, 1));
}

#[test]
fn closing() {
    everywhere(|on| {
        let semaphore = Arc::new(Semaphore::new(2));
        let held = semaphore.clone().acquire_owned().unwrap();
        // More than a batch of them.
        let waiters: Vec<_> = (0..20)
            .map(|_| {
                let semaphore = semaphore.clone();
                on.spawn(move || semaphore.acquire_many(2).map(drop))
            })
            .collect();
        on.eventually(|| waiting(&semaphore) == 20);
        assert!(!semaphore.is_closed());
        semaphore.close();
        assert!(semaphore.is_closed());
        for waiter in waiters {
            assert_eq!(waiter.join(), Err(AcquireError));
        }
        assert_eq!(semaphore.acquire().unwrap_err(), AcquireError);
        assert_eq!(semaphore.try_acquire().unwrap_err(), TryAcquireError::Closed);
        assert_eq!(semaphore.try_acquire_many(7).unwrap_err(), TryAcquireError::Closed);
        assert_eq!(semaphore.acquire_timeout(FOR_EVER).unwrap_err(), AcquireTimeoutError::Closed);
        assert_eq!(held.permits(), 1);
        drop(held);
        assert_eq!(semaphore.available(), 2);
        semaphore.close();
    });
}

#[test]
fn errors_speak() {
    assert_eq!(AcquireError.to_string(), "the semaphore is closed");
    assert_eq!(TryAcquireError::NoPermits.to_string(), "there are not enough permits");
    assert_eq!(TryAcquireError::Closed.to_string(), "the semaphore is closed");
    let late = AcquireTimeoutError::Timeout;
    assert_eq!(late.to_string(), "the time was over before there were enough permits");
}

/// Demands are met in the order in which they came, large or small.
#[test]
fn first_come_first_served() {
    everywhere(|on| {
        let semaphore = Arc::new(Semaphore::new(0));
        let order = Arc::new(Mutex::new(Vec::new()));
        let demands = [3, 1, 2, 5, 1];
        let tasks: Vec<_> = demands
            .into_iter()
            .enumerate()
            .map(|(i, permits)| {
                let (semaphore, order) = (semaphore.clone(), order.clone());
                let task = on.spawn({
                    let semaphore = semaphore.clone();
                    move || {
                        semaphore.acquire_many(permits).unwrap().forget();
                        order.lock().unwrap().push(i);
                    }
                });
                on.eventually(|| waiting(&semaphore) == i + 1);
                task
            })
            .collect();
        let mut given = 0;
        for (i, permits) in demands.into_iter().enumerate() {
            for _ in 0..permits {
                assert_eq!(waiting(&semaphore), demands.len() - i, "after {given} permits");
                semaphore.add_permits(1);
                given += 1;
            }
            on.eventually(|| order.lock().unwrap().len() == i + 1);
        }
        tasks.into_iter().for_each(|task| task.join());
        assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3, 4]);
    });
}

/// Whoever comes later does not overtake a large demand, though there would be enough for them.
#[test]
fn small_demands_do_not_starve_a_large_one() {
    everywhere(|on| {
        let semaphore = Arc::new(Semaphore::new(3));
        let held = semaphore.acquire().unwrap();
        let theirs = semaphore.clone();
        let large = on.spawn(move || drop(theirs.acquire_many(3).unwrap()));
        on.eventually(|| waiting(&semaphore) == 1);
        assert_eq!(semaphore.available(), 2);
        assert_eq!(semaphore.try_acquire().unwrap_err(), TryAcquireError::NoPermits);
        assert!(semaphore.acquire_timeout(A_MOMENT).is_err());
        assert_eq!(waiting(&semaphore), 1);
        drop(held);
        large.join();
        assert_eq!(semaphore.available(), 3);
    });
}

/// When a large demand at the head withdraws, those behind it are looked at again.
#[test]
fn withdrawing_lets_others_through() {
    everywhere(|on| {
        let semaphore = Arc::new(Semaphore::new(20));
        let (quit, told) = channel::<()>(0);
        let theirs = semaphore.clone();
        let large = on.spawn(move || {
            let many = theirs.acquire_many_op(50).wrap(|_| "acquired");
            many.or(told.recv_op().wrap(|_| "told")).perform()
        });
        on.eventually(|| waiting(&semaphore) == 1);
        let small: Vec<_> = (0..20)
            .map(|_| {
                let semaphore = semaphore.clone();
                on.spawn(move || semaphore.acquire().unwrap().forget())
            })
            .collect();
        on.eventually(|| waiting(&semaphore) == 21);
        quit.send(()).unwrap();
        assert_eq!(large.join(), "told");
        small.into_iter().for_each(|task| task.join());
        assert_eq!((waiting(&semaphore), semaphore.available()), (0, 0));
    });
}

#[test]
fn an_arm_that_wins_and_one_that_loses() {
    everywhere(|_| {
        let semaphore = Semaphore::new(1);
        let (tx, rx) = channel::<u32>(1);
        let held = select! {
            permit = semaphore.acquire_op() => permit.unwrap(),
            <-rx => panic!("nothing was sent"),
        };
        tx.send(5).unwrap();
        select! {
            _ = semaphore.acquire_op() => panic!("it is held"),
            v = <-rx => assert_eq!(v, Ok(5)),
        }
        select! {
            _ = semaphore.acquire_op() => panic!("it is held"),
            default => {}
        }
        assert_eq!(waiting(&semaphore), 0);
        drop(held);
        assert_eq!(semaphore.available(), 1);
    });
}

/// Both arms of a choice may be ready; the permit of the loser stays where it is.
#[test]
fn losers_take_no_permit() {
    everywhere(|_| {
        let (a, b) = (Semaphore::new(1), Semaphore::new(1));
        let (mut wins, total) = ([0; 2], rounds(1000, 1_000_000));
        for _ in 0..total {
            let first = a.acquire_op().wrap(|permit| (0, permit));
            let (winner, permit) = first.or(b.acquire_op().wrap(|permit| (1, permit))).perform();
            wins[winner] += 1;
            assert_eq!(a.available() + b.available(), 1);
            drop(permit);
            assert_eq!((a.available(), b.available()), (1, 1));
        }
        assert_share(wins[0], total, 0.5);
    });
}

/// A choice of two demands to the same semaphore does not wait for itself, in whatever order they stand.
#[test]
fn two_branches_on_one_semaphore() {
    everywhere(|on| {
        for demands in [[5, 1], [1, 5]] {
            let semaphore = Arc::new(Semaphore::new(0));
            let theirs = semaphore.clone();
            let task = on.spawn(move || {
                let [a, b] = demands.map(|permits| theirs.acquire_many_op(permits));
                let permit = a.or(b).perform().unwrap();
                permit.permits()
            });
            on.eventually(|| waiting(&semaphore) == 2);
            // Enough for the small one alone, which in one case stands behind its own large sibling.
            semaphore.add_permits(1);
            assert_eq!(task.join(), 1);
            assert_eq!((semaphore.available(), waiting(&semaphore)), (1, 0));
            // And when there is enough for the small one at once.
            semaphore.add_permits(2);
            let [a, b] = demands.map(|permits| semaphore.acquire_many_op(permits));
            assert_eq!(a.or(b).perform().unwrap().permits(), 1);
            assert_eq!((semaphore.available(), waiting(&semaphore)), (3, 0));
        }
    });
}

/// Somebody who stands behind both branches of a choice is served after it.
#[test]
fn behind_two_branches() {
    everywhere(|on| {
        let semaphore = Arc::new(Semaphore::new(0));
        let theirs = semaphore.clone();
        let choice = on.spawn(move || {
            let [a, b] = [5, 2].map(|permits| theirs.acquire_many_op(permits));
            let permit = a.or(b).perform().unwrap();
            let permits = permit.permits();
            permit.forget();
            permits
        });
        on.eventually(|| waiting(&semaphore) == 2);
        let theirs = semaphore.clone();
        let behind = on.spawn(move || theirs.acquire().unwrap().forget());
        on.eventually(|| waiting(&semaphore) == 3);
        semaphore.add_permits(1);
        assert_eq!(waiting(&semaphore), 3);
        semaphore.add_permits(1);
        assert_eq!(choice.join(), 2);
        semaphore.add_permits(1);
        behind.join();
        assert_eq!((semaphore.available(), waiting(&semaphore)), (0, 0));
    });
}

/// A demand that was decided elsewhere, and whose performer has not run since, holds up nobody.
#[test]
fn decided_elsewhere_is_out_of_the_way() {
    // On one worker: the performer cannot run before this fiber suspends.
    if cfg!(miri) {
        return;
    }
    On::Fibers(1).run(|on| {
        let semaphore = Arc::new(Semaphore::new(2));
        let (tx, rx) = channel::<()>(0);
        let theirs = semaphore.clone();
        let large = on.spawn(move || theirs.acquire_many_op(5).wrap(drop).or(rx.recv_op().wrap(drop)).perform());
        on.eventually(|| waiting(&semaphore) == 1);
        assert!(semaphore.try_acquire().is_err());
        tx.try_send(()).unwrap();
        assert_eq!(semaphore.try_acquire_many(2).unwrap().permits(), 2);
        large.join();
    });
}

#[test]
fn operations_can_be_repeated_and_printed() {
    let semaphore = Arc::new(Semaphore::new(2));
    let op = semaphore.acquire_op();
    assert_eq!(op.graph().to_string().trim(), "acquire 1 of a semaphore (2 available)");
    let (a, b) = (op.perform().unwrap(), op.perform().unwrap());
    assert_eq!(semaphore.available(), 0);
    drop((a, b));
    let owned = semaphore.clone().acquire_many_owned_op(2);
    assert_eq!(owned.clone().perform().unwrap().permits(), 2);
    assert_eq!(owned.perform().unwrap().permits(), 2);
    assert_eq!(format!("{:?}", semaphore.acquire().unwrap()), "Permit { permits: 1, .. }");
    assert_eq!(format!("{op:?}"), "AcquireOp { permits: 1, .. }");
}

/// Never more are inside than there are permits, and in the end all permits are back.
#[test]
fn contended() {
    under_stress(|on| {
        const PERMITS: usize = 5;
        let semaphore = Arc::new(Semaphore::new(PERMITS));
        let inside = Arc::new(Inside::default());
        let tasks: Vec<_> = mixed(on, 6)
            .enumerate()
            .map(|(i, on)| {
                let (semaphore, inside) = (semaphore.clone(), inside.clone());
                let mut rng = Rng::new(i as u64);
                on.spawn(move || {
                    for _ in 0..rounds(100, 100_000) {
                        let permits = 1 + rng.below(PERMITS as u64) as usize;
                        let acquire = semaphore.acquire_many_op(permits);
                        let acquired = match rng.below(4) {
                            0 => acquire.try_perform(),
                            1 => acquire.timeout(Duration::from_micros(rng.below(50))).perform().ok(),
                            2 => Some(acquire.or(semaphore.acquire_many_op(1)).perform()),
                            _ => Some(acquire.perform()),
                        };
                        if let Some(permit) = acquired {
                            let permit = permit.unwrap();
                            inside.enter(permit.permits());
                            if rng.below(4) == 0 {
                                on.pause();
                            }
                            inside.leave(permit.permits());
                        }
                    }
                })
            })
            .collect();
        join_all(on, tasks);
        assert_eq!((semaphore.available(), waiting(&semaphore)), (PERMITS, 0));
        assert!(inside.most() <= PERMITS, "{inside:?}");
    });
}

/// Choices over two semaphores from both sides, so that a hand-out meets performs that are just decided by the other one.
#[test]
fn crossed_choices() {
    under_stress(|on| {
        let semaphores = [Semaphore::new(1), Semaphore::new(2)];
        let shared = Arc::new((semaphores, AtomicUsize::new(0)));
        let tasks: Vec<_> = mixed(on, 4)
            .enumerate()
            .map(|(i, on)| {
                let shared = shared.clone();
                on.spawn(move || {
                    let ([a, b], acquired) = &*shared;
                    for round in 0..rounds(100, 100_000) {
                        let (one, two) = (a.acquire_op(), b.acquire_many_op(1 + (round as usize + i) % 2));
                        let permit = match i % 2 {
                            0 => op::choice((one, two)).perform(),
                            _ => op::choice((two, one)).perform(),
                        };
                        acquired.fetch_add(1, Ordering::Relaxed);
                        if round % 8 == 0 {
                            on.pause();
                        }
                        drop(permit.unwrap());
                    }
                })
            })
            .collect();
        join_all(on, tasks);
        let ([a, b], acquired) = &*shared;
        assert_eq!((a.available(), b.available(), waiting(a), waiting(b)), (1, 2, 0, 0));
        assert_eq!(acquired.load(Ordering::Relaxed) as u64, 4 * rounds(100, 100_000));
    });
}
