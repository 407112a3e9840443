//! What the documentation of Go says of `sync.WaitGroup`, `sync.Once`, `sync.OnceFunc`, `sync.OnceValue` and
//! `golang.org/x/sync/semaphore`, sentence by sentence, and that it holds here. Where it does not, the test says what does.

use crate::panics_with;
use fibers::sync::{Lazy, Once, Semaphore};
use fibers::{Op, WaitGroup, channel};
use fibers_tests::{Counter, everywhere, quiet_panic};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

mod wait_group {
    use super::*;

    /// "Add adds delta, which may be negative, to the WaitGroup counter."
    #[test]
    fn delta_may_be_negative() {
        let wg = WaitGroup::new();
        wg.add(5);
        wg.add(-2);
        assert_eq!(wg.count(), 3);
    }

    /// "If the counter becomes zero, all goroutines blocked on Wait are released."
    #[test]
    fn zero_releases_all() {
        everywhere(|on| {
            let wg = WaitGroup::new();
            wg.add(1);
            let blocked: Vec<_> = (0..3)
                .map(|_| {
                    let wg = wg.clone();
                    on.spawn(move || wg.wait())
                })
                .collect();
            on.pause();
            assert!(blocked.iter().all(|task| !task.is_finished()));
            wg.add(-1);
            blocked.into_iter().for_each(|task| task.join());
        });
    }

    /// "If the counter goes negative, Add panics."
    #[test]
    fn negative_panics() {
        let wg = WaitGroup::new();
        wg.add(1);
        let message = "WaitGroup: `done` was called more often than `add` announced";
        panics_with(message, || wg.add(-2));
        wg.done();
        panics_with(message, || wg.done());
    }

    /// "Calls with a negative delta, or calls with a positive delta that start when the counter is greater than zero, may happen at
    /// any time."
    #[test]
    fn adding_while_others_wait() {
        everywhere(|on| {
            let wg = WaitGroup::new();
            wg.add(1);
            let theirs = wg.clone();
            let waiter = on.spawn(move || theirs.wait());
            let (added, more) = (Counter::default(), wg.clone());
            let counted = added.clone();
            let nested = on.spawn(move || {
                more.add(1); // the counter is 1 here
                more.done();
                counted.add();
                more.done();
            });
            waiter.join();
            assert_eq!(added.get(), 1);
            nested.join();
        });
    }

    /// "If a WaitGroup is reused to wait for several independent sets of events, new Add calls must happen after all previous Wait
    /// calls have returned." Here they need not: whoever waited when the counter came to zero is released.
    #[test]
    fn reused_before_the_wait_has_returned() {
        everywhere(|on| {
            let wg = WaitGroup::new();
            for _ in 0..10 {
                wg.add(1);
                let theirs = wg.clone();
                let waiter = on.spawn(move || theirs.wait());
                wg.done();
                wg.add(1);
                wg.done();
                waiter.join();
            }
        });
    }

    /// "Done decrements the WaitGroup counter." "Wait blocks until the WaitGroup counter is zero."
    #[test]
    fn done_and_wait() {
        let wg = WaitGroup::new();
        wg.wait();
        wg.add(1);
        assert!(wg.wait_op().timeout(Duration::from_millis(1)).perform().is_err());
        wg.done();
        wg.wait();
    }

    /// "Go calls f in a new goroutine and adds that task to the WaitGroup. When f returns, the task is removed from the WaitGroup."
    #[test]
    #[cfg_attr(miri, expect(unused, reason = "no fibers under Miri"))]
    fn go() {
        #[cfg(not(miri))]
        fibers_tests::On::Fibers(2).run(|_| {
            let (wg, done) = (WaitGroup::new(), Arc::new(AtomicU64::new(0)));
            for _ in 0..10 {
                let done = done.clone();
                wg.go(move || done.fetch_add(1, Ordering::Relaxed));
            }
            wg.wait();
            assert_eq!(done.load(Ordering::Relaxed), 10);
        });
    }

    /// "A WaitGroup must not be copied after first use." A clone is the same group, so there is nothing to get wrong.
    #[test]
    fn a_clone_is_the_same() {
        let wg = WaitGroup::new();
        let copy = wg.clone();
        wg.add(1);
        copy.done();
        wg.wait();
    }
}

mod once {
    use super::*;

    /// "Do calls the function f if and only if Do is being called for the first time for this instance of Once."
    #[test]
    fn the_first_time_only() {
        let (once, other, runs) = (Once::new(), Once::new(), Counter::default());
        (0..3).for_each(|_| once.call_once(|| runs.add()));
        assert_eq!(runs.get(), 1);
        other.call_once(|| runs.add());
        assert_eq!(runs.get(), 2);
    }

    /// "only the first call will invoke f, even if f has a different value in each invocation."
    #[test]
    fn even_if_f_differs() {
        let (once, first) = (Once::new(), Counter::default());
        once.call_once(|| first.add());
        once.call_once(|| panic!("another f"));
        assert_eq!(first.get(), 1);
    }

    /// "no call to Do returns until the one call to f returns"
    #[test]
    fn nobody_returns_before_f() {
        everywhere(|on| {
            let once = Arc::new(Once::new());
            let (began, begun) = channel::<()>(0);
            let (go_on, told) = channel::<()>(0);
            let first = once.clone();
            let first = on.spawn(move || {
                first.call_once(|| {
                    began.send(()).unwrap();
                    told.recv().unwrap();
                });
            });
            begun.recv().unwrap();
            let second = once.call_once_op(|| unreachable!());
            assert!(second.timeout(Duration::from_millis(1)).perform().is_err());
            go_on.send(()).unwrap();
            once.call_once(|| unreachable!());
            assert!(once.is_completed());
            first.join();
        });
    }

    /// "if f causes Do to be called, it will deadlock." Here it panics.
    #[test]
    fn f_that_calls_do() {
        let once = Once::new();
        panics_with(crate::once::ITSELF, || once.call_once(|| once.call_once(|| {})));
    }

    /// "If f panics, Do considers it to have returned; future calls of Do return without calling f." Here f has not been run, and
    /// the next call runs its own: nobody who returns from `call_once` finds things half done.
    #[test]
    fn f_that_panics() {
        let (once, runs) = (Once::new(), Counter::default());
        panics_with("half done", || once.call_once(|| quiet_panic("half done")));
        assert!(!once.is_completed());
        once.call_once(|| runs.add());
        assert_eq!(runs.get(), 1);
    }
}

mod once_func {
    use super::*;

    /// "OnceFunc returns a function that invokes f only once. The returned function may be called concurrently."
    #[test]
    fn only_once_concurrently() {
        everywhere(|on| {
            let (once, runs) = (Arc::new(Once::new()), Counter::default());
            let counted = runs.clone();
            let f = move || once.call_once(|| counted.add());
            let calls: Vec<_> = (0..4).map(|_| on.spawn(f.clone())).collect();
            calls.into_iter().for_each(|call| call.join());
            assert_eq!(runs.get(), 1);
        });
    }

    /// "OnceValue returns a function that invokes f only once and returns the value returned by f. The returned function may be
    /// called concurrently."
    #[test]
    fn value() {
        everywhere(|on| {
            let runs = Counter::default();
            let counted = runs.clone();
            let value = Arc::new(Lazy::new(move || counted.next() + 7));
            let calls: Vec<_> = (0..4)
                .map(|_| {
                    let value = value.clone();
                    on.spawn(move || **value)
                })
                .collect();
            assert!(calls.into_iter().all(|call| call.join() == 7));
            assert_eq!(runs.get(), 1);
        });
    }

    /// "If f panics, the returned function will panic with the same value on every call." Here every call runs f anew until one
    /// succeeds.
    #[test]
    fn f_that_panics() {
        let runs = Counter::default();
        let value = Lazy::new(|| if runs.next() < 2 { quiet_panic("not yet") } else { 7 });
        for _ in 0..2 {
            panics_with("not yet", || {
                Lazy::force(&value);
            });
        }
        assert_eq!((*value, runs.get()), (7, 3));
    }
}

mod semaphore {
    use super::*;

    /// "Weighted provides a way to bound concurrent access to a resource. The callers can request access with a given weight."
    #[test]
    fn weights_are_bounded() {
        let semaphore = Semaphore::new(10);
        let permits = [1, 2, 3].map(|weight| semaphore.acquire_many(weight).unwrap());
        assert_eq!(semaphore.available(), 4);
        assert!(semaphore.try_acquire_many(5).is_err());
        drop(permits);
    }

    /// "Acquire acquires the semaphore with a weight of n, blocking until resources are available or ctx is done. On success,
    /// returns nil. On failure, returns ctx.Err() and leaves the semaphore unchanged."
    #[test]
    fn acquire_or_give_up() {
        everywhere(|on| {
            let semaphore = Arc::new(Semaphore::new(3));
            let held = semaphore.clone().acquire_many_owned(2).unwrap();
            let (cancel, done) = channel::<()>(0);
            let theirs = semaphore.clone();
            let gives_up = on.spawn(move || {
                theirs
                    .acquire_many_op(2)
                    .wrap(|_| true)
                    .or(done.recv_op().wrap(|_| false))
                    .perform()
            });
            cancel.send(()).unwrap();
            assert!(!gives_up.join());
            assert_eq!(semaphore.available(), 1);
            let theirs = semaphore.clone();
            let acquires = on.spawn(move || theirs.acquire_many(2).unwrap().permits());
            drop(held);
            assert_eq!(acquires.join(), 2);
            assert_eq!(semaphore.available(), 3);
        });
    }

    /// "If ctx is already done, Acquire may still succeed without blocking." Here the choice is fair if both are ready, and
    /// `timeout` prefers the operation.
    #[test]
    fn both_ready() {
        let semaphore = Semaphore::new(1);
        assert!(semaphore.acquire_timeout(Duration::ZERO).is_ok());
    }

    /// "TryAcquire acquires the semaphore with a weight of n without blocking. On success, returns true. On failure, returns false
    /// and leaves the semaphore unchanged."
    #[test]
    fn try_acquire() {
        let semaphore = Semaphore::new(2);
        assert!(semaphore.try_acquire_many(3).is_err());
        assert_eq!(semaphore.available(), 2);
        let held = semaphore.try_acquire_many(2).unwrap();
        assert!(semaphore.try_acquire().is_err());
        drop(held);
    }

    /// "Release releases the semaphore with a weight of n." A permit knows its weight, and nobody can release more than is held.
    #[test]
    fn release() {
        let semaphore = Semaphore::new(4);
        let held = semaphore.acquire_many(3).unwrap();
        drop(held);
        assert_eq!(semaphore.available(), 4);
        let unwound = catch_unwind(AssertUnwindSafe(|| {
            let _held = semaphore.acquire_many(4).unwrap();
            quiet_panic("released while unwinding");
        }));
        assert!(unwound.is_err());
        assert_eq!(semaphore.available(), 4);
    }
}
