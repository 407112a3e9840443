//! What Go documents of `errgroup`, `singleflight` and `sync.Pool` (golang.org/x/sync, and package sync), sentence by sentence, and what is
//! deliberately different here.

use fibers::scope::try_scope;
use fibers::sync::{Pool, SingleFlight};
use fibers::{Op, channel, yield_now};
use fibers_tests::{Counter, on_workers};
use std::sync::atomic::{AtomicUsize, Ordering};

const WORKERS: [usize; 2] = [1, 2];

/// errgroup.Group: "A zero Group is valid, has no limit on the number of active goroutines".
#[test]
fn no_limit_unless_one_is_set() {
    on_workers(&WORKERS, |_| {
        let (tx, rx) = channel::<()>(0);
        let result: Result<(), ()> = try_scope(|s| {
            // All must run at once for any of them to end.
            for _ in 0..500 {
                s.spawn(|| rx.recv().map_err(|_| ()));
            }
            (0..500).try_for_each(|_| tx.send(()).map_err(|_| ()))
        });
        assert_eq!(result, Ok(()));
    });
}

/// errgroup.WithContext: "The derived Context is canceled the first time a function passed to Go returns a non-nil error".
#[test]
fn an_error_cancels() {
    on_workers(&WORKERS, |_| {
        let result: Result<(), u32> = try_scope(|s| {
            s.spawn(|| Err::<(), _>(1));
            s.cancelled_op().perform();
            Ok(())
        });
        assert_eq!(result, Err(1));
    });
}

/// errgroup.Group.Wait: "blocks until all function calls from the Go method have returned, then returns the first non-nil error (if
/// any) from them."
#[test]
fn wait_returns_the_first_error_after_all_have_returned() {
    on_workers(&WORKERS, |_| {
        let returned = Counter::default();
        let result: Result<(), u32> = try_scope(|s| {
            for i in 0..10 {
                let returned = &returned;
                s.spawn(move || {
                    if i > 0 {
                        s.cancelled_op().perform();
                    }
                    yield_now();
                    returned.add();
                    Err::<(), _>(i)
                });
            }
            s.spawn(|| {
                while returned.get() == 0 {
                    yield_now();
                }
                Ok(())
            });
            Ok(())
        });
        assert_eq!((result, returned.get()), (Err(0), 10));
    });
}

/// errgroup.Group.Go: "The first goroutine in the group that returns a non-nil error will cancel the associated Context, if any. The
/// error will be returned by Wait."
#[test]
fn without_errors_nothing_is_cancelled() {
    on_workers(&WORKERS, |_| {
        let result: Result<bool, ()> = try_scope(|s| {
            let children: Vec<_> = (0..10).map(|_| s.spawn(|| Ok(()))).collect();
            children.into_iter().for_each(|child| drop(child.join()));
            Ok(s.is_cancelled())
        });
        assert_eq!(result, Ok(false));
    });
}

/// errgroup.Group.Go: "It blocks until the new goroutine can be added without the number of goroutines in the group exceeding the
/// configured limit."
#[test]
fn spawn_blocks_at_the_limit() {
    on_workers(&WORKERS, |_| {
        let (running, ended) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let result: Result<(), ()> = try_scope(|s| {
            s.limit(4);
            for i in 0..50 {
                s.spawn(|| {
                    assert!(running.fetch_add(1, Ordering::SeqCst) < 4);
                    yield_now();
                    running.fetch_sub(1, Ordering::SeqCst);
                    ended.fetch_add(1, Ordering::SeqCst);
                    Ok(())
                });
                // This one has its place, so all but three of those before it have ended.
                assert!(ended.load(Ordering::SeqCst) + 4 > i);
            }
            Ok(())
        });
        assert_eq!(result, Ok(()));
    });
}

/// errgroup.Group.SetLimit: "A limit of zero will prevent any new goroutines from being added."
#[test]
fn a_limit_of_zero() {
    on_workers(&WORKERS, |_| {
        let result: Result<(), ()> = try_scope(|s| {
            s.limit(0);
            assert!(s.try_spawn(|| Ok(())).is_err());
            assert!(s.spawn_op(|| Ok(())).try_perform().is_none());
            Ok(())
        });
        assert_eq!(result, Ok(()));
    });
}

/// errgroup.Group.TryGo: "calls the given function in a new goroutine only if the number of active goroutines in the group is
/// currently below the configured limit. The return value reports whether the goroutine was started."
#[test]
fn try_spawn_reports() {
    on_workers(&WORKERS, |_| {
        let (tx, rx) = channel::<()>(0);
        let result: Result<(), ()> = try_scope(|s| {
            s.limit(1);
            let first = s.try_spawn(|| rx.recv().map_err(|_| ()));
            let Err(f) = s.try_spawn(|| Ok(5)) else {
                panic!("above the limit")
            };
            tx.send(()).unwrap();
            first.unwrap_or_else(|_| panic!("below the limit")).join().unwrap();
            assert_eq!(s.spawn(f).join().unwrap(), Some(5));
            Ok(())
        });
        assert_eq!(result, Ok(()));
    });
}

/// singleflight.Group.Do: "making sure that only one execution is in-flight for a given key at a time. If a duplicate comes in, the
/// duplicate caller waits for the original to complete and receives the same results."
#[test]
fn only_one_execution_at_a_time() {
    on_workers(&WORKERS, |_| {
        let (group, in_flight) = (SingleFlight::new(), Counter::default());
        fibers::scope(|s| {
            for _ in 0..50 {
                let (group, in_flight) = (&group, &in_flight);
                s.spawn(move || {
                    let value = group.run("key", || {
                        let number = in_flight.next();
                        assert_eq!(number % 2, 0);
                        yield_now();
                        in_flight.add();
                        number
                    });
                    assert!(value < in_flight.get());
                });
            }
        });
        assert!(in_flight.get() >= 2);
    });
}

/// singleflight.Group.DoChan: "is like Do but returns a channel that will receive the results when they are ready."
#[test]
fn do_chan() {
    on_workers(&WORKERS, |_| {
        let group = SingleFlight::new();
        assert_eq!(fibers::select! { v = <-group.start(1, || "ready") => v }, "ready");
    });
}

/// singleflight.Group.Forget: "Future calls to Do for this key will call the function rather than waiting for an earlier call to
/// complete."
#[test]
fn forget() {
    on_workers(&WORKERS, |_| {
        let (tx, rx) = channel::<()>(0);
        let group = SingleFlight::new();
        let earlier = group.start(1, move || rx.recv().map_or(0, |()| 1));
        group.forget(&1);
        assert_eq!(group.run(1, || 2), 2);
        tx.send(()).unwrap();
        assert_eq!(earlier.wait(), 1);
    });
}

/// sync.Pool.Get: "selects an arbitrary item from the Pool, removes it from the Pool, and returns it to the caller." "If Get would
/// otherwise return nil and p.New is non-nil, Get returns the result of calling p.New." Here: unless `max` of them are in use.
#[test]
fn pool_get() {
    on_workers(&WORKERS, |_| {
        let pool = Pool::new(2, || String::from("new"));
        let mut item = pool.get();
        item.push_str(", used");
        let other = pool.get();
        assert_eq!((item.as_str(), other.as_str()), ("new, used", "new"));
        assert!(pool.get_op().try_perform().is_none());
        drop(item);
        assert_eq!(pool.get().as_str(), "new, used");
    });
}
