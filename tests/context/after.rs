//! Functions that run at the end of a context.

use fibers::context::{self, Context, ContextError, Key};
use fibers::{Runtime, Shutdown, WaitGroup, channel, run};
use fibers_tests::{Counter, Drops, everywhere, on_workers, rounds, runtime, under_stress};
use std::sync::Arc;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn a_deadline_starts_it_though_nobody_looks() {
    everywhere(|_| {
        let (ctx, _cancel) = Context::background().with_timeout(Duration::from_millis(5));
        let (child, _child) = ctx.with_cancel();
        let (tell, told) = channel(2);
        for ctx in [&ctx, &child] {
            let (tell, theirs) = (tell.clone(), ctx.clone());
            ctx.after_func(move || tell.send(theirs.err()).unwrap());
        }
        for _ in 0..2 {
            assert_eq!(told.recv(), Ok(Some(ContextError::DeadlineExceeded)));
        }
    });
}

#[test]
fn a_stopped_one_is_dropped_at_once_and_a_forgotten_handle_stops_nothing() {
    everywhere(|_| {
        for timeout in [None, Some(HOUR)] {
            let (ctx, cancel) = match timeout {
                Some(timeout) => Context::background().with_timeout(timeout),
                None => Context::background().with_cancel(),
            };
            let drops = Drops::default();
            let value = drops.make(1);
            let stopped = ctx.after_func(move || panic!("it was stopped: {value:?}"));
            assert_eq!(drops.live(), 1);
            assert!(stopped.stop());
            assert_eq!(drops.live(), 0);
            let (tell, told) = channel(1);
            drop(ctx.after_func(move || tell.send(()).unwrap()));
            cancel.cancel();
            told.recv().unwrap();
        }
    });
}

#[test]
fn on_a_context_that_never_ends_it_never_runs() {
    let drops = Drops::default();
    let value = drops.make(());
    let handle = Context::background().after_func(move || drop(value));
    assert!(handle.stop() && !handle.stop());
    assert_eq!(drops.live(), 0);
}

#[test]
fn it_has_the_values_but_not_the_end_of_its_context() {
    static USER: Key<u32> = Key::new("user");
    everywhere(|_| {
        let (ctx, cancel) = Context::background().with_value(&USER, 7).with_cancel();
        let (tell, told) = channel(1);
        ctx.after_func(move || {
            let current = context::current();
            tell.send((current.value(&USER).copied(), current.err())).unwrap();
        });
        // Not those of whoever cancels.
        Context::background().with_value(&USER, 8).enter(|| cancel.cancel());
        assert_eq!(told.recv(), Ok((Some(7), None)));
    });
}

/// A plain thread cancels: the function runs as a fiber of the runtime in which it was registered.
#[test]
fn it_runs_in_the_runtime_of_whoever_registered_it() {
    on_workers(&[1, 2], |_| {
        let (ctx, cancel) = Context::background().with_cancel();
        let (tell, told) = channel(1);
        ctx.after_func(move || tell.send(fibers::Handle::try_current().is_some()).unwrap());
        std::thread::spawn(move || cancel.cancel()).join().unwrap();
        assert_eq!(told.recv(), Ok(true));
    });
}

#[test]
fn a_panic_in_it_reaches_nobody() {
    on_workers(&[1], |_| {
        let (ctx, cancel) = Context::background().with_cancel();
        let wg = WaitGroup::new();
        wg.add(2);
        for fails in [true, false] {
            let wg = wg.clone();
            ctx.after_func(move || {
                wg.done();
                if fails {
                    fibers_tests::quiet_panic("at the end");
                }
            });
        }
        cancel.cancel();
        wg.wait();
    });
}

/// Of several functions each is started, or dropped if its runtime is gone, whatever the destructor of another one does.
#[test]
fn a_panic_while_one_is_dropped_keeps_no_other_from_running() {
    struct Fails;
    impl Drop for Fails {
        fn drop(&mut self) {
            fibers_tests::quiet_panic("dropped");
        }
    }
    let (ctx, cancel) = Context::background().with_cancel();
    let fails = Fails;
    runtime(1).run(|| drop(ctx.after_func(move || drop(fails))));
    let (tell, told) = channel(1);
    ctx.after_func(move || tell.send(()).unwrap());
    cancel.cancel();
    assert_eq!(told.recv(), Ok(()));
}

#[test]
fn a_runtime_that_ends_first_drops_it() {
    let drops = Drops::default();
    for workers in [1, 2] {
        for timeout in [HOUR, Duration::MAX] {
            let (ctx, cancel) = Context::background().with_timeout(timeout);
            let value = drops.make(());
            runtime(workers).run(|| drop(ctx.after_func(move || panic!("too late for {value:?}"))));
            cancel.cancel();
            drop(ctx);
            assert_eq!(drops.live(), 0);
        }
    }
}

/// A function that waits for a cancellation alone is no fiber, so nobody has to wait for it.
#[test]
fn it_does_not_keep_a_drain_waiting() {
    let runtime = Runtime::builder().workers(1).shutdown(Shutdown::Drain).build().unwrap();
    let (ctx, _cancel) = Context::background().with_cancel();
    runtime.run(|| drop(ctx.after_func(|| unreachable!("nobody cancels it"))));
}

#[test]
fn children_hear_of_it_before_it_runs() {
    run(|| {
        let (ctx, cancel) = Context::background().with_cancel();
        let (child, _child) = ctx.with_cancel();
        let (tell, told) = channel(1);
        let theirs = child.clone();
        ctx.after_func(move || tell.send(theirs.err()).unwrap());
        cancel.cancel();
        assert_eq!(child.err(), Some(ContextError::Cancelled));
        assert_eq!(told.recv(), Ok(Some(ContextError::Cancelled)));
    });
}

/// `stop` races the cancellation: whoever is told that it has stopped the function has.
#[test]
fn stop_is_truthful_under_stress() {
    under_stress(|on| {
        let (mut stopped, mut ran) = (0, 0);
        for round in 0..rounds(200, 20_000) {
            let (ctx, cancel) = match round % 2 {
                0 => Context::background().with_cancel(),
                _ => Context::background().with_timeout(HOUR),
            };
            let (drops, calls) = (Drops::default(), Counter::default());
            let (value, count) = (drops.make(()), calls.clone());
            let handle = Arc::new(ctx.after_func(move || {
                let _value = value;
                count.add();
            }));
            let stopper = on.spawn({
                let handle = handle.clone();
                move || handle.stop()
            });
            cancel.cancel();
            let did_stop = stopper.join();
            assert!(!handle.stop());
            on.eventually(|| drops.live() == 0);
            assert_eq!(calls.get(), u64::from(!did_stop));
            match did_stop {
                true => stopped += 1,
                false => ran += 1,
            }
        }
        println!("{stopped} stopped, {ran} ran");
    });
}
