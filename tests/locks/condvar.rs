//! The condition variable: no notification is lost, and who is notified has the mutex.

use fibers::op::{always, biased, choice};
use fibers::sync::{Condvar, Mutex, MutexGuard};
use fibers::{Op, channel, time};
use fibers_tests::{Counter, Rng, Task, everywhere, quiet_panic, rounds, under_stress};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::on_workers;

const MOMENT: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);

fn pair<T>(value: T) -> Arc<(Mutex<T>, Condvar)> {
    Arc::new((Mutex::new(value), Condvar::new()))
}

#[test]
fn a_wait_gives_the_mutex_up_and_has_it_afterwards() {
    everywhere(|on| {
        let shared = pair(0);
        let guard = shared.0.lock();
        let theirs = shared.clone();
        let other = on.spawn(move || {
            // Only possible while the first one waits.
            let mut guard = theirs.0.lock();
            *guard = 1;
            theirs.1.notify_one();
            *guard = 2;
        });
        let guard = shared.1.wait(guard);
        assert_eq!(*guard, 2);
        assert!(shared.0.try_lock().is_none());
        drop(guard);
        other.join();
        assert!(shared.0.try_lock().is_some());
        assert_eq!(
            format!("{:?} {:?}", shared.1, Condvar::default()),
            "Condvar { waiting: 0 } Condvar { waiting: 0 }"
        );
    });
}

#[test]
fn notifications_are_not_kept() {
    everywhere(|_| {
        let (mutex, changed) = (Mutex::new(1), Condvar::new());
        changed.notify_one();
        changed.notify_all();
        assert!(changed.wait_op(mutex.lock()).try_perform().is_none());
        assert!(mutex.try_lock().is_some());
        let (guard, waited) = changed.wait_timeout(mutex.lock(), MOMENT);
        assert!(waited.timed_out());
        assert!(mutex.try_lock().is_none());
        let (guard, waited) = changed.wait_timeout(guard, Duration::ZERO);
        assert!(waited.timed_out());
        let (guard, waited) = changed.wait_timeout_while(guard, MOMENT, |value| *value == 1);
        assert!(waited.timed_out());
        let (guard, waited) = changed.wait_timeout_while(guard, Duration::MAX, |value| *value != 1);
        assert!(!waited.timed_out());
        let guard = changed.wait_while(guard, |value| *value != 1);
        assert_eq!(*guard, 1);
    });
}

#[test]
fn timed_waits_end_when_notified() {
    everywhere(|on| {
        let shared = pair(false);
        let theirs = shared.clone();
        let other = on.spawn(move || {
            *theirs.0.lock() = true;
            theirs.1.notify_all();
        });
        let start = Instant::now();
        let (guard, waited) = shared.1.wait_timeout_while(shared.0.lock(), HOUR, |done| !*done);
        assert!(*guard && !waited.timed_out() && start.elapsed() < HOUR);
        drop(guard);
        other.join();
    });
}

/// Waits until that many are waiting, which is certain once the mutex is free again after each of them has had it.
fn all_wait(waiting: &Mutex<u64>, n: u64, pause: impl Fn()) {
    while *waiting.lock() < n {
        pause();
    }
}

#[test]
fn one_or_all() {
    everywhere(|on| {
        // How many have come to wait; how many have been notified.
        let shared = pair(0_u64);
        let through = Counter::default();
        let waiters: Vec<_> = (0..40)
            .map(|_| {
                let (shared, through) = (shared.clone(), through.clone());
                on.spawn(move || {
                    let mut guard = shared.0.lock();
                    *guard += 1;
                    let _guard = shared.1.wait(guard);
                    through.add();
                })
            })
            .collect();
        all_wait(&shared.0, 40, || on.pause());
        for i in 0..5 {
            on.eventually(|| through.get() == i);
            assert_eq!(format!("{:?}", shared.1), format!("Condvar {{ waiting: {} }}", 40 - i));
            shared.1.notify_one();
        }
        shared.1.notify_all();
        waiters.into_iter().for_each(Task::join);
        assert_eq!(through.get(), 40);
    });
}

#[test]
fn the_longest_waiter_is_first() {
    on_workers(&[1], |on| {
        let shared = pair(Vec::new());
        let came = Arc::new(Mutex::new(Vec::new()));
        let waiters: Vec<_> = (0..10)
            .map(|i| {
                let (shared, came) = (shared.clone(), came.clone());
                on.spawn(move || {
                    let guard = shared.0.lock();
                    came.lock().push(i);
                    shared.1.wait(guard).push(i);
                })
            })
            .collect();
        on.eventually(|| came.lock().len() == 10);
        (0..10).for_each(|_| shared.1.notify_one());
        waiters.into_iter().for_each(Task::join);
        assert_eq!(*shared.0.lock(), *came.lock());
    });
}

/// Where another branch is chosen, there is no guard, and the mutex is free.
#[test]
fn loses_in_a_choice() {
    everywhere(|_| {
        let (mutex, changed, (tx, rx)) = (Mutex::new(7_u64), Condvar::new(), channel::<u64>(1));
        for i in 0..rounds(5_000, 1_000_000) {
            let wait = || changed.wait_op(mutex.lock()).wrap(|guard| *guard);
            tx.send(i).unwrap();
            let receive = rx.recv_op().wrap(|v| {
                assert!(mutex.try_lock().is_some());
                v.unwrap()
            });
            assert_eq!(choice((wait(), receive)).perform(), i);
            assert!(mutex.try_lock().is_some());
            assert_eq!(biased((wait(), always(1))).perform(), 1);
            if i % 64 == 0 {
                let late = time::sleep_op(Duration::from_micros(10)).wrap(|()| 2);
                assert_eq!(choice((late, wait())).perform(), 2);
            }
            assert!(mutex.try_lock().is_some());
        }
        assert_eq!(format!("{changed:?}"), "Condvar { waiting: 0 }");
    });
}

/// Items and tokens: each notification of one reaches a waiter that takes the item, although others leave all the time.
#[test]
fn no_notification_is_lost() {
    under_stress(|on| {
        let n = rounds(1_000, 1_000_000);
        let shared = pair((0_u64, false));
        let (tx, rx) = channel::<()>(0);
        // Leave and come again; what they are notified of they pass on, since they want nothing.
        let leaving: Vec<_> = (0..2)
            .map(|i| {
                let (shared, rx) = (shared.clone(), rx.clone());
                on.spawn(move || {
                    let mut random = Rng::new(i);
                    loop {
                        let guard = shared.0.lock();
                        if guard.1 {
                            return;
                        }
                        let wait = shared.1.wait_op(guard).wrap(|guard| {
                            if guard.0 > 0 {
                                shared.1.notify_one();
                            }
                        });
                        match random.below(2) {
                            0 => drop(
                                choice((wait, rx.recv_op().wrap(|_| ())))
                                    .timeout(Duration::from_micros(30))
                                    .perform(),
                            ),
                            _ => drop(wait.timeout(Duration::from_micros(10)).perform()),
                        }
                        on.pause();
                    }
                })
            })
            .collect();
        let takers: Vec<_> = (0..2)
            .map(|_| {
                let shared = shared.clone();
                on.spawn(move || {
                    for _ in 0..n {
                        shared.1.wait_while(shared.0.lock(), |state| state.0 == 0).0 -= 1;
                    }
                })
            })
            .collect();
        let theirs = shared.clone();
        let thread = thread::spawn(move || {
            for _ in 0..n {
                theirs.0.lock().0 += 1;
                theirs.1.notify_one();
            }
        });
        for i in 0..n {
            shared.0.lock().0 += 1;
            shared.1.notify_one();
            if i % 4 == 0 {
                tx.try_send(()).ok();
            }
            if i % 16 == 0 {
                on.pause();
            }
        }
        takers.into_iter().for_each(Task::join);
        thread.join().unwrap();
        shared.0.lock().1 = true;
        shared.1.notify_all();
        leaving.into_iter().for_each(Task::join);
        assert_eq!(shared.0.try_lock().expect("free").0, 0);
        assert_eq!(format!("{:?}", shared.1), "Condvar { waiting: 0 }");
    });
}

/// The mutex of its guard, whichever that is.
#[test]
fn a_condvar_serves_several_mutexes() {
    on_workers(&[1], |on| {
        let shared = Arc::new(([Mutex::new(0), Mutex::new(0)], Condvar::new()));
        let waiters: Vec<_> = (0..2)
            .map(|i| {
                let shared = shared.clone();
                on.spawn(move || *shared.1.wait_while(shared.0[i].lock(), |value| *value == 0))
            })
            .collect();
        on.eventually(|| format!("{:?}", shared.1).contains('2'));
        *shared.0[0].lock() = 1;
        *shared.0[1].lock() = 2;
        shared.1.notify_all();
        assert_eq!(waiters.into_iter().map(Task::join).collect::<Vec<_>>(), [1, 2]);
    });
}

/// A notification that was for one alone goes on to the next, if the one unwinds before it has the mutex.
#[test]
fn a_waiter_that_unwinds_passes_its_notification_on() {
    on_workers(&[1], |on| {
        let shared = pair(());
        let unwinding = {
            let shared = shared.clone();
            on.spawn(move || {
                let wait = shared.1.wait_op(shared.0.lock()).wrap(drop);
                let loser = fibers::op::never().on_abort(|| quiet_panic("aborted"));
                choice((wait, loser)).perform();
            })
        };
        on.eventually(|| format!("{:?}", shared.1).contains('1'));
        let other = {
            let shared = shared.clone();
            on.spawn(move || drop::<MutexGuard<'_, ()>>(shared.1.wait(shared.0.lock())))
        };
        on.eventually(|| format!("{:?}", shared.1).contains('2'));
        shared.1.notify_one();
        other.join();
        assert!(unwinding.outcome().is_err());
        assert!(shared.0.try_lock().is_some());
    });
}
