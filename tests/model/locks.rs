//! Locks: one holder at a time, and whoever waits gets the lock, whatever the others do who wait.

use crate::world::*;
use fibers::sync::{Condvar, Mutex, RwLock, RwLockWriteGuard};
use fibers::{Op, op, time};
use loom::thread;
use std::sync::Arc;
use std::time::Duration;

/// Runs every party on a thread of its own, as a fiber or not, over one shared value, and returns that.
fn parties<T: Send + Sync + 'static>(shared: T, parties: &[(Who, fn(&T))]) -> Arc<T> {
    let shared = Arc::new(shared);
    let threads: Vec<_> = parties
        .iter()
        .map(|&(who, party)| {
            let shared = shared.clone();
            thread::spawn(move || match who {
                Thread => party(&shared),
                Fiber => fibers::run(|| party(&shared)),
                Ending => drop(fibers::shut_down(|| party(&shared))),
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    shared
}

fn add(mutex: &Mutex<u32>) {
    *mutex.lock() += 1;
}

fn add_twice(mutex: &Mutex<u32>) {
    add(mutex);
    add(mutex);
}

/// The lock, or a time that is over.
fn add_in_time(mutex: &Mutex<u32>) {
    if let Ok(mut guard) = mutex.lock_op().timeout(Duration::from_millis(1)).perform() {
        *guard += 10;
    }
}

/// Two branches for one lock, and a time.
fn add_by_choice(mutex: &Mutex<u32>) {
    let late = time::sleep_op(Duration::from_millis(1));
    let lock = || mutex.lock_op().wrap(|mut guard| *guard += 10);
    op::choice((lock(), late, lock())).perform();
}

fn try_to_add(mutex: &Mutex<u32>) {
    if let Some(mut guard) = mutex.try_lock() {
        *guard += 10;
    }
}

fn lock(name: &'static str, preemptions: Option<usize>, of: &'static [(Who, fn(&Mutex<u32>))], sums: &'static [u32]) {
    explore(name, preemptions, move || {
        let mutex = parties(Mutex::new(0), of);
        let sum = *mutex.try_lock().expect("free when all are through");
        assert!(sums.contains(&sum), "{sum}");
    });
}

#[test]
fn locks_exclude_each_other() {
    lock("two", ALL, &[(Thread, add), (Fiber, add)], &[2]);
    lock("twice", AT_MOST_3, &[(Fiber, add_twice), (Fiber, add_twice)], &[4]);
    lock("three", AT_MOST_2, &[(Thread, add), (Fiber, add), (Fiber, add)], &[3]);
    lock("tried", AT_MOST_3, &[(Thread, add_twice), (Fiber, try_to_add)], &[2, 12]);
}

/// A waiter that is told that the lock is free, and leaves, tells the next one, who would wait for ever otherwise.
#[test]
fn locks_against_choices_that_lose() {
    lock("late", AT_MOST_3, &[(Thread, add), (Fiber, add_in_time)], &[1, 11]);
    lock(
        "both late",
        AT_MOST_3,
        &[(Thread, add_in_time), (Fiber, add_in_time)],
        &[10, 20],
    );
    lock(
        "one behind",
        AT_MOST_2,
        &[(Thread, add), (Fiber, add_in_time), (Fiber, add)],
        &[2, 12],
    );
    lock("two branches", AT_MOST_2, &[(Thread, add), (Fiber, add_by_choice)], &[1, 11]);
    lock(
        "two and behind",
        AT_MOST_1,
        &[(Thread, add), (Thread, add_by_choice), (Fiber, add)],
        &[2, 12],
    );
}

/// Delivered, and then unlocked, or withdrawn; the lock is free in the end.
#[test]
fn locks_against_shutdowns() {
    lock("lone", AT_MOST_3, &[(Thread, add), (Ending, add)], &[1, 2]);
    lock("choice", AT_MOST_3, &[(Thread, add), (Ending, add_by_choice)], &[1, 11]);
    lock(
        "one behind",
        AT_MOST_2,
        &[(Thread, add), (Ending, add), (Fiber, add)],
        &[2, 3],
    );
}

/// A greedy holder hands the lock over to one that has lost too often, who may be about to leave.
#[test]
fn hand_overs() {
    fn greedy(mutex: &Mutex<u32>) {
        (0..6).for_each(|_| add(mutex));
    }
    lock("lone", AT_MOST_2, &[(Thread, greedy), (Fiber, add)], &[7]);
    lock("shutdown", AT_MOST_2, &[(Thread, greedy), (Ending, add)], &[6, 7]);
    lock("late", AT_MOST_1, &[(Thread, greedy), (Fiber, add_in_time)], &[6, 16]);
}

fn read(lock: &RwLock<u32>) {
    assert!(*lock.read() < 100);
}

fn read_in_time(lock: &RwLock<u32>) {
    drop(lock.read_timeout(Duration::from_millis(1)));
}

fn write(lock: &RwLock<u32>) {
    *lock.write() += 1;
}

fn write_in_time(lock: &RwLock<u32>) {
    if let Ok(mut guard) = lock.write_timeout(Duration::from_millis(1)) {
        *guard += 10;
    }
}

fn write_and_read(lock: &RwLock<u32>) {
    let mut guard = lock.write();
    *guard += 1;
    assert!(*RwLockWriteGuard::downgrade(guard) > 0);
}

fn read_or_write(lock: &RwLock<u32>) {
    let read = lock.read_op().wrap(|guard| assert!(*guard < 100));
    op::choice((lock.write_op().wrap(|mut guard| *guard += 10), read)).perform();
}

fn rwlock(name: &'static str, preemptions: Option<usize>, of: &'static [(Who, fn(&RwLock<u32>))], sums: &'static [u32]) {
    explore(name, preemptions, move || {
        let lock = parties(RwLock::new(0), of);
        let sum = *lock.try_write().expect("free when all are through");
        assert!(sums.contains(&sum), "{sum}");
    });
}

#[test]
fn readers_and_writers() {
    rwlock("one each", ALL, &[(Thread, write), (Fiber, read)], &[1]);
    rwlock("writers", AT_MOST_3, &[(Thread, write), (Fiber, write)], &[2]);
    rwlock(
        "two readers",
        AT_MOST_2,
        &[(Fiber, write), (Fiber, read), (Thread, read)],
        &[1],
    );
    rwlock(
        "two writers",
        AT_MOST_2,
        &[(Fiber, write), (Fiber, read), (Thread, write)],
        &[2],
    );
    rwlock(
        "downgrade",
        AT_MOST_2,
        &[(Fiber, write_and_read), (Fiber, read), (Thread, write)],
        &[2],
    );
}

/// What a waiter keeps out comes in when the waiter leaves.
#[test]
fn readers_and_writers_that_leave() {
    rwlock(
        "late writer",
        AT_MOST_2,
        &[(Thread, read), (Fiber, write_in_time), (Fiber, read)],
        &[0, 10],
    );
    rwlock(
        "late reader",
        AT_MOST_2,
        &[(Thread, write), (Fiber, read_in_time), (Fiber, write)],
        &[2],
    );
    rwlock("either", AT_MOST_2, &[(Thread, write), (Fiber, read_or_write)], &[1, 11]);
    rwlock(
        "either and behind",
        AT_MOST_1,
        &[(Thread, write), (Fiber, read_or_write), (Fiber, read)],
        &[1, 11],
    );
    rwlock(
        "shutdown",
        AT_MOST_2,
        &[(Thread, read), (Ending, write), (Fiber, read)],
        &[0, 1],
    );
}

/// A notification after a change that was made under the mutex reaches whoever has not seen the change.
#[test]
fn condvars() {
    type Shared = (Mutex<u32>, Condvar);
    fn change(shared: &Shared) {
        *shared.0.lock() += 1;
        shared.1.notify_one();
    }
    fn change_for_all(shared: &Shared) {
        *shared.0.lock() += 2;
        shared.1.notify_all();
    }
    fn take(shared: &Shared) {
        *shared.1.wait_while(shared.0.lock(), |n| *n == 0) -= 1;
    }
    fn take_in_time(shared: &Shared) {
        let (mut guard, waited) = shared
            .1
            .wait_timeout_while(shared.0.lock(), Duration::from_millis(1), |n| *n == 0);
        assert_eq!(*guard == 0, waited.timed_out());
        *guard = guard.saturating_sub(1);
    }
    fn waits(name: &'static str, preemptions: Option<usize>, of: &'static [(Who, fn(&Shared))], left: &'static [u32]) {
        explore(name, preemptions, move || {
            let shared = parties((Mutex::new(0), Condvar::new()), of);
            let n = *shared.0.try_lock().expect("free when all are through");
            assert!(left.contains(&n), "{n}");
        });
    }
    waits("one", AT_MOST_3, &[(Thread, change), (Fiber, take)], &[0]);
    waits(
        "all",
        AT_MOST_2,
        &[(Thread, change_for_all), (Fiber, take), (Fiber, take)],
        &[0],
    );
    waits("late", AT_MOST_2, &[(Thread, change), (Fiber, take_in_time)], &[0, 1]);
    waits(
        "late and another",
        AT_MOST_1,
        &[(Thread, change_for_all), (Fiber, take_in_time), (Fiber, take)],
        &[0, 1],
    );
    waits("shutdown", AT_MOST_2, &[(Thread, change), (Ending, take)], &[0, 1]);
}
