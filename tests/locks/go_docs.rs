//! What the documentation of Go's package `sync` says of its locks, sentence by sentence (go1.24). Where a Rust type rules a mistake
//! out that Go reports when it happens, there is nothing to test.

use fibers::op::choice;
use fibers::sync::{Condvar, Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};
use fibers::{Op, channel, time};
use fibers_tests::{Counter, Task, everywhere, rounds};
use std::sync::Arc;
use std::time::Duration;

use crate::{on_workers, waits};

/// Mutex: "The zero value for a Mutex is an unlocked mutex."
#[test]
fn mutex_zero_value() {
    assert_eq!(Mutex::<i32>::default().try_lock().map(|guard| *guard), Some(0));
}

/// Mutex.Lock: "If the lock is already in use, the calling goroutine blocks until the mutex is available."
#[test]
fn mutex_lock_blocks_until_available() {
    on_workers(&[1], |on| {
        let (mutex, through) = (Arc::new(Mutex::new(())), Counter::default());
        let held = mutex.lock();
        let (theirs, passed) = (mutex.clone(), through.clone());
        let waiter = waits(on, move || {
            let _guard = theirs.lock();
            passed.add();
        });
        (0..20).for_each(|_| on.pause());
        assert_eq!(through.get(), 0);
        drop(held);
        waiter.join();
        assert_eq!(through.get(), 1);
    });
}

/// Mutex.TryLock: "TryLock tries to lock m and reports whether it succeeded."
#[test]
fn mutex_try_lock() {
    let mutex = Mutex::new(());
    let guard = mutex.try_lock();
    assert!(guard.is_some() && mutex.try_lock().is_none());
}

/// Mutex.Unlock: "A locked Mutex is not associated with a particular goroutine. It is allowed for one goroutine to lock a Mutex and
/// then arrange for another goroutine to unlock it."
#[test]
fn mutex_is_unlocked_by_another() {
    everywhere(|on| {
        let mutex = Arc::new(Mutex::new(()));
        let guard = mutex.lock_owned();
        on.spawn(move || drop(guard)).join();
        assert!(mutex.try_lock().is_some());
    });
}

/// Mutex: "the n'th call to Unlock 'synchronizes before' the m'th call to Lock for any n < m."
#[test]
fn mutex_orders_what_others_did() {
    everywhere(|on| {
        // Plain memory; under Miri, a race would be found.
        let log = Arc::new(Mutex::new(Vec::new()));
        let n = rounds(500, 100_000);
        let tasks: Vec<_> = (0..3)
            .map(|_| {
                let log = log.clone();
                on.spawn(move || {
                    for _ in 0..n {
                        let mut log = log.lock();
                        let next = log.len() as u64;
                        log.push(next);
                    }
                })
            })
            .collect();
        tasks.into_iter().for_each(Task::join);
        assert!(log.lock().iter().copied().eq(0..3 * n));
    });
}

/// RWMutex: "The lock can be held by an arbitrary number of readers or a single writer. The zero value for a RWMutex is an unlocked
/// mutex."
#[test]
fn rwmutex_many_readers_or_one_writer() {
    let lock = RwLock::<()>::default();
    let readers: Vec<_> = (0..1000).map(|_| lock.try_read().expect("readers get along")).collect();
    assert!(lock.try_write().is_none());
    drop(readers);
    let _writer = lock.try_write().expect("nobody is there");
    assert!(lock.try_write().is_none() && lock.try_read().is_none());
}

/// RWMutex: "If any goroutine calls RWMutex.Lock while the lock is already held by one or more readers, concurrent calls to
/// RWMutex.RLock will block until the writer has acquired (and released) the lock, to ensure that the lock eventually becomes
/// available to the writer." And: "Note that this prohibits recursive read-locking."
#[test]
fn rwmutex_a_waiting_writer_blocks_new_readers() {
    on_workers(&[1], |on| {
        let lock = Arc::new(RwLock::new(0));
        let reader = lock.read();
        let (a, b) = (lock.clone(), lock.clone());
        let writer = waits(on, move || *a.write() = 1);
        let later = waits(on, move || *b.read());
        assert!(lock.try_read().is_none(), "not even by one that reads already");
        drop(reader);
        assert_eq!(later.join(), 1);
        writer.join();
    });
}

/// RWMutex: "A RWMutex cannot be upgraded from RLock to Lock", "nor can a Lock be downgraded": the former holds here as well; the
/// latter is possible.
#[test]
fn rwmutex_downgrade() {
    let lock = RwLock::new(0);
    let reader = RwLockWriteGuard::downgrade(lock.write());
    assert!(lock.try_read().is_some() && lock.try_write().is_none());
    drop(reader);
}

/// RWMutex.RUnlock: "RUnlock undoes a single RLock call; it does not affect other simultaneous readers."
#[test]
fn rwmutex_runlock_is_for_one() {
    let lock = RwLock::new(7);
    let (one, other) = (lock.read(), lock.read());
    drop(one);
    assert!(lock.try_write().is_none());
    assert_eq!(*RwLockReadGuard::map(other, |value| value), 7);
    assert!(lock.try_write().is_some());
}

/// RWMutex.Lock: "If the lock is already locked for reading or writing, Lock blocks until the lock is available."
#[test]
fn rwmutex_lock_blocks_until_available() {
    on_workers(&[1], |on| {
        for write in [false, true] {
            let (lock, through) = (Arc::new(RwLock::new(())), Counter::default());
            let held = match write {
                true => (Some(lock.write()), None),
                false => (None, Some(lock.read())),
            };
            let (theirs, passed) = (lock.clone(), through.clone());
            let waiter = waits(on, move || {
                let _guard = theirs.write();
                passed.add();
            });
            (0..20).for_each(|_| on.pause());
            assert_eq!(through.get(), 0);
            drop(held);
            waiter.join();
        }
    });
}

/// RWMutex.Unlock: "As with Mutexes, a locked RWMutex is not associated with a particular goroutine. One goroutine may RLock (Lock) a
/// RWMutex and then arrange for another goroutine to RUnlock (Unlock) it."
#[test]
fn rwmutex_is_unlocked_by_another() {
    everywhere(|on| {
        let lock = Arc::new(RwLock::new(()));
        let reader = lock.read_owned();
        on.spawn(move || drop(reader)).join();
        let writer = lock.try_write_owned().expect("free");
        on.spawn(move || drop(writer)).join();
        assert!(lock.try_write().is_some());
    });
}

/// Cond.Wait: "Wait atomically unlocks c.L and suspends execution of the calling goroutine. After later resuming execution, Wait
/// locks c.L before returning."
#[test]
fn cond_wait_unlocks_and_locks_again() {
    everywhere(|on| {
        let shared = Arc::new((Mutex::new(false), Condvar::new()));
        let theirs = shared.clone();
        let guard = shared.0.lock();
        let signaller = on.spawn(move || {
            *theirs.0.lock() = true; // possible because the other one has given it up
            theirs.1.notify_one(); // and waits already
        });
        let guard = shared.1.wait(guard);
        assert!(*guard && shared.0.try_lock().is_none());
        drop(guard);
        signaller.join();
    });
}

/// Cond.Wait: "Unlike in other systems, Wait cannot return unless awoken by Broadcast or Signal."
#[test]
fn cond_wait_is_not_spurious() {
    on_workers(&[1], |on| {
        let (shared, through) = (Arc::new((Mutex::new(()), Condvar::new())), Counter::default());
        let (theirs, passed) = (shared.clone(), through.clone());
        let waiter = waits(on, move || {
            drop(theirs.1.wait(theirs.0.lock()));
            passed.add();
        });
        // Others contend for the mutex, and leave choices.
        for _ in 0..rounds(100, 10_000) {
            let theirs = shared.clone();
            let other = on.spawn(move || drop(theirs.0.lock()));
            let guard = shared.0.lock();
            on.pause();
            let wait = shared.1.wait_op(guard).wrap(drop);
            choice((wait, time::sleep_op(Duration::from_micros(1)))).perform();
            other.join();
        }
        assert_eq!(through.get(), 0);
        shared.1.notify_one();
        waiter.join();
    });
}

/// Cond.Signal: "Signal wakes one goroutine waiting on c, if there is any. It is allowed but not required for the caller to hold c.L
/// during the call."
#[test]
fn cond_signal_wakes_one() {
    on_workers(&[1], |on| {
        let (shared, through) = (Arc::new((Mutex::new(()), Condvar::new())), Counter::default());
        shared.1.notify_one(); // for nobody
        let waiters: Vec<_> = (0..3)
            .map(|_| {
                let (shared, through) = (shared.clone(), through.clone());
                waits(on, move || {
                    drop(shared.1.wait(shared.0.lock()));
                    through.add();
                })
            })
            .collect();
        for i in 0..3 {
            assert_eq!(through.get(), i);
            let guard = (i % 2 == 0).then(|| shared.0.lock());
            shared.1.notify_one();
            drop(guard);
            (0..20).for_each(|_| on.pause());
        }
        waiters.into_iter().for_each(Task::join);
    });
}

/// Cond.Broadcast: "Broadcast wakes all goroutines waiting on c."
#[test]
fn cond_broadcast_wakes_all() {
    everywhere(|on| {
        let shared = Arc::new((Mutex::new(0), Condvar::new()));
        let (tx, rx) = channel(100);
        let waiters: Vec<_> = (0..50)
            .map(|_| {
                let (shared, tx) = (shared.clone(), tx.clone());
                on.spawn(move || {
                    let guard = shared.0.lock();
                    tx.send(()).expect("there is room");
                    assert_eq!(*shared.1.wait(guard), 1);
                })
            })
            .collect();
        (0..50).for_each(|_| rx.recv().unwrap());
        // Each of them has the mutex until it waits.
        *shared.0.lock() = 1;
        shared.1.notify_all();
        waiters.into_iter().for_each(Task::join);
    });
}
