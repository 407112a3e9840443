//! What the documentation of Go's package `context` says, sentence by sentence. Each test quotes what it checks.

use fibers::context::{Context, ContextError, Key};
use fibers::{Op, channel, time};
use fibers_tests::everywhere;
use std::time::Duration;
#[cfg(not(miri))]
use {
    fibers::WaitGroup,
    fibers_tests::{Counter, On},
};

const HOUR: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(2);

/// "When a Context is canceled, all Contexts derived from it are also canceled."
#[test]
fn all_contexts_derived_from_it_are_also_canceled() {
    static KEY: Key<u32> = Key::new("key");
    let (root, cancel) = Context::background().with_cancel();
    let (child, _child) = root.with_cancel();
    let valued = child.with_value(&KEY, 1);
    let (grandchild, _grandchild) = valued.with_timeout(HOUR);
    let derived = [&child, &valued, &grandchild];
    assert!(derived.iter().all(|ctx| ctx.err().is_none()));
    cancel.cancel();
    assert!(derived.iter().all(|ctx| ctx.err() == Some(ContextError::Cancelled)));
}

/// "Failing to call the CancelFunc leaks the child and its children until the parent is canceled." Here the handle calls it.
#[test]
fn the_cancel_func_is_called_by_the_end_of_the_handle() {
    let (ctx, cancel) = Context::background().with_cancel();
    drop(cancel);
    assert_eq!(ctx.err(), Some(ContextError::Cancelled));
}

/// "Background returns a non-nil, empty Context. It is never canceled, has no values, and has no deadline."
#[test]
fn background_is_never_canceled_has_no_values_and_no_deadline() {
    static KEY: Key<u32> = Key::new("key");
    let ctx = Context::background();
    assert_eq!((ctx.err(), ctx.deadline(), ctx.value(&KEY)), (None, None, None));
    assert!(ctx.cause().is_none());
    assert_eq!(ctx.done_op().try_perform(), None);
}

/// "Deadline returns the time when work done on behalf of this context should be canceled. Deadline returns ok==false when no
/// deadline is set. Successive calls to Deadline return the same results."
#[test]
fn deadline_returns_the_time_when_work_should_be_canceled() {
    let at = time::now() + HOUR;
    let (ctx, _cancel) = Context::background().with_deadline(at);
    assert_eq!((ctx.deadline(), ctx.deadline()), (Some(at), Some(at)));
    assert_eq!(Context::background().with_cancel().0.deadline(), None);
}

/// "Done returns a channel that's closed when work done on behalf of this context should be canceled." "Successive calls to Done
/// return the same value." "Done is provided for use in select statements".
#[test]
fn done_is_closed_when_work_should_be_canceled() {
    everywhere(|on| {
        let (ctx, cancel) = Context::background().with_cancel();
        let (ready, all) = channel::<()>(4);
        let waiters: Vec<_> = (0..4)
            .map(|_| {
                let (ctx, ready) = (ctx.clone(), ready.clone());
                on.spawn(move || {
                    let (_tx, rx) = channel::<()>(0);
                    ready.send(()).unwrap();
                    fibers::select! {
                        e = <-ctx => e,
                        _ = <-rx => unreachable!("nobody sends"),
                    }
                })
            })
            .collect();
        (0..4).for_each(|_| all.recv().unwrap());
        assert_eq!(ctx.done_op().try_perform(), None);
        cancel.cancel();
        for waiter in waiters {
            assert_eq!(waiter.join(), ContextError::Cancelled);
        }
        assert_eq!((ctx.done(), ctx.done()), (ContextError::Cancelled, ContextError::Cancelled));
    });
}

/// "If Done is not yet closed, Err returns nil. If Done is closed, Err returns a non-nil error explaining why: DeadlineExceeded if
/// the context's deadline passed, or Canceled if the context was canceled for some other reason."
#[test]
fn err_explains_why() {
    let (late, _late) = Context::background().with_timeout(SHORT);
    let (cancelled, cancel) = Context::background().with_timeout(HOUR);
    assert_eq!(cancelled.err(), None);
    cancel.cancel();
    assert_eq!(cancelled.err(), Some(ContextError::Cancelled));
    assert_eq!(late.done(), ContextError::DeadlineExceeded);
    assert_eq!(late.err(), Some(ContextError::DeadlineExceeded));
}

/// "After Err returns a non-nil error, successive calls to Err return the same error."
#[test]
fn successive_calls_to_err_return_the_same_error() {
    let (ctx, cancel) = Context::background().with_timeout(SHORT);
    cancel.cancel();
    let first = ctx.err();
    fibers::sleep(2 * SHORT);
    assert_eq!(ctx.err(), first, "the deadline comes too late");
    let (ctx, cancel) = Context::background().with_timeout(SHORT);
    fibers::sleep(2 * SHORT);
    cancel.cancel();
    assert_eq!(ctx.err(), Some(ContextError::DeadlineExceeded), "that was first");
}

/// "Value returns the value associated with this context for key, or nil if no value is associated with key. Successive calls to
/// Value with the same key returns the same result."
#[test]
fn value_returns_the_value_associated_with_the_key() {
    static USER: Key<String> = Key::new("user");
    static OTHER: Key<String> = Key::new("user");
    let outer = Context::background().with_value(&USER, "first".into());
    let inner = outer.with_value(&USER, "second".into());
    assert_eq!(outer.value(&USER).unwrap(), "first");
    assert_eq!(
        (inner.value(&USER).unwrap().as_str(), inner.value(&USER).unwrap().as_str()),
        ("second", "second")
    );
    assert_eq!(inner.value(&OTHER), None, "a key is what it is, not what it is called");
}

/// "WithCancel returns a derived context that points to the parent context but has a new Done channel. The returned context's Done channel is closed when the returned
/// cancel function is called or when the parent context's Done channel is closed, whichever happens first."
#[test]
fn with_cancel_is_closed_by_cancel_or_by_the_parent() {
    let (parent, cancel_parent) = Context::background().with_cancel();
    let (first, cancel_first) = parent.with_cancel();
    let (second, _second) = parent.with_cancel();
    cancel_first.cancel();
    assert_eq!(
        (first.err(), second.err(), parent.err()),
        (Some(ContextError::Cancelled), None, None)
    );
    cancel_parent.cancel();
    assert_eq!(second.err(), Some(ContextError::Cancelled));
}

/// "After the first call, subsequent calls to a CancelFunc do nothing." "A CancelFunc may be called by multiple goroutines
/// simultaneously."
#[test]
fn a_cancel_func_may_be_called_often_and_by_many() {
    everywhere(|on| {
        let (ctx, cancel) = Context::background().with_cancel_cause();
        cancel.cancel("first");
        let cancel = std::sync::Arc::new(cancel);
        let others: Vec<_> = (0..4)
            .map(|_| {
                let cancel = cancel.clone();
                on.spawn(move || cancel.cancel("later"))
            })
            .collect();
        others.into_iter().for_each(|other| other.join());
        assert_eq!(ctx.cause().unwrap().to_string(), "first");
    });
}

/// "A CancelFunc does not wait for the work to stop."
#[cfg(not(miri))]
#[test]
fn a_cancel_func_does_not_wait_for_the_work_to_stop() {
    fibers_tests::on_workers(&[1, 2], |_| {
        let (ctx, cancel) = Context::background().with_cancel();
        let (let_go, held) = channel::<()>(0);
        let (stopped, wait) = channel::<()>(0);
        ctx.after_func(move || {
            held.recv().unwrap();
            stopped.send(()).unwrap();
        });
        cancel.cancel();
        let_go.send(()).unwrap();
        wait.recv().unwrap();
    });
}

/// "Calling cancel with a non-nil error (the "cause") records that error in ctx; it can then be retrieved using Cause(ctx). Calling
/// cancel with nil sets the cause to Canceled."
#[test]
fn the_cause_is_recorded_and_can_be_retrieved() {
    let (ctx, cancel) = Context::background().with_cancel_cause();
    cancel.cancel(std::io::Error::other("the disk is full"));
    assert_eq!(ctx.err(), Some(ContextError::Cancelled));
    let cause = ctx.cause().unwrap();
    assert_eq!(
        cause.downcast_ref::<std::io::Error>().unwrap().to_string(),
        "the disk is full"
    );
    let (ctx, cancel) = Context::background().with_cancel_cause();
    drop(cancel);
    assert_eq!(ctx.cause().unwrap().downcast_ref(), Some(&ContextError::Cancelled));
}

/// "The first cancellation of c or one of its parents sets the cause." "If c has not been canceled yet, Cause returns nil."
#[test]
fn the_first_cancellation_of_it_or_its_parents_sets_the_cause() {
    let (parent, cancel_parent) = Context::background().with_cancel_cause();
    let (child, cancel_child) = parent.with_cancel_cause();
    let (other, cancel_other) = parent.with_cancel_cause();
    assert!(child.cause().is_none());
    cancel_child.cancel("the child");
    cancel_parent.cancel("the parent");
    cancel_other.cancel("too late");
    let causes = [&parent, &child, &other].map(|ctx| ctx.cause().unwrap().to_string());
    assert_eq!(causes, ["the parent", "the child", "the parent"]);
}

/// "WithDeadline returns a derived context that points to the parent context but has the deadline adjusted to be no later than d.
/// If the parent's deadline is already earlier than d, WithDeadline(parent, d) is semantically equivalent to parent."
#[test]
fn the_deadline_is_adjusted_to_be_no_later_than_the_parents() {
    let at = time::now() + HOUR;
    let (parent, _parent) = Context::background().with_deadline_cause(at, "the parent's");
    let (later, _later) = parent.with_deadline_cause(at + HOUR, "too late");
    let (earlier, _earlier) = parent.with_deadline(at - SHORT);
    assert_eq!((later.deadline(), earlier.deadline()), (Some(at), Some(at - SHORT)));
}

/// "The returned Context.Done channel is closed when the deadline expires, when the returned cancel function is called, or when the
/// parent context's Done channel is closed, whichever happens first."
#[test]
fn with_deadline_is_closed_by_whichever_happens_first() {
    everywhere(|_| {
        let (parent, cancel_parent) = Context::background().with_cancel();
        let (by_time, _by_time) = parent.with_deadline(time::now() + SHORT);
        let (by_cancel, cancel) = parent.with_deadline(time::now() + HOUR);
        let (by_parent, _by_parent) = parent.with_deadline(time::now() + HOUR);
        assert_eq!(by_time.done(), ContextError::DeadlineExceeded);
        cancel.cancel();
        assert_eq!(by_cancel.done(), ContextError::Cancelled);
        assert_eq!(by_parent.done_op().try_perform(), None);
        cancel_parent.cancel();
        assert_eq!(by_parent.done(), ContextError::Cancelled);
    });
}

/// "WithDeadlineCause behaves like WithDeadline but also sets the cause of the returned Context when the deadline is exceeded. The
/// returned CancelFunc does not set the cause."
#[test]
fn with_deadline_cause_sets_the_cause_when_the_deadline_is_exceeded() {
    let (ctx, _cancel) = Context::background().with_timeout_cause(SHORT, "too slow");
    let (child, _child) = ctx.with_timeout_cause(HOUR, "not that");
    assert_eq!(child.done(), ContextError::DeadlineExceeded);
    assert_eq!(
        [ctx.cause(), child.cause()].map(|cause| cause.unwrap().to_string()),
        ["too slow", "too slow"]
    );
    let (ctx, cancel) = Context::background().with_timeout_cause(HOUR, "too slow");
    cancel.cancel();
    assert_eq!(ctx.cause().unwrap().downcast_ref(), Some(&ContextError::Cancelled));
}

/// "WithTimeout returns WithDeadline(parent, time.Now().Add(timeout))." A timeout that is over, or none at all, is no special case.
#[test]
fn with_timeout_is_a_deadline_from_now_on() {
    let before = time::now();
    let (ctx, _cancel) = Context::background().with_timeout(HOUR);
    let at = ctx.deadline().unwrap();
    assert!(before + HOUR <= at && at <= time::now() + HOUR);
    let (over, _over) = Context::background().with_timeout(Duration::ZERO);
    assert_eq!(over.err(), Some(ContextError::DeadlineExceeded));
    let (past, _past) = Context::background().with_deadline(before - HOUR);
    assert_eq!(past.done(), ContextError::DeadlineExceeded);
    let (never, _never) = Context::background().with_timeout(Duration::MAX);
    assert_eq!((never.deadline(), never.err()), (None, None));
}

/// "WithoutCancel returns a derived context that points to the parent context and is not canceled when parent is canceled. The
/// returned context returns no Deadline or Err, and its Done channel is nil. Calling Cause on the returned context returns nil."
#[test]
fn without_cancel_is_not_canceled_when_the_parent_is() {
    static KEY: Key<u32> = Key::new("key");
    let (parent, cancel) = Context::background().with_value(&KEY, 7).with_timeout(HOUR);
    let kept = parent.without_cancel();
    cancel.cancel();
    assert_eq!((kept.err(), kept.deadline(), kept.value(&KEY)), (None, None, Some(&7)));
    assert!(kept.cause().is_none());
    assert_eq!(kept.done_op().try_perform(), None);
}

/// "AfterFunc arranges to call f in its own goroutine after ctx is canceled. If ctx is already canceled, AfterFunc calls f
/// immediately in its own goroutine."
#[cfg(not(miri))]
#[test]
fn after_func_calls_f_in_its_own_goroutine() {
    everywhere(|on| {
        let (ctx, cancel) = Context::background().with_cancel();
        let (tell, told) = channel(2);
        for already in [false, true] {
            let tell = tell.clone();
            ctx.after_func(move || tell.send(on.who()).unwrap());
            if !already {
                assert!(told.try_recv().is_err(), "not before it is cancelled");
                cancel.cancel();
            }
            assert_ne!(told.recv().unwrap(), on.who());
        }
    });
}

/// "Multiple calls to AfterFunc on a context operate independently; one does not replace another."
#[cfg(not(miri))]
#[test]
fn multiple_calls_to_after_func_operate_independently() {
    everywhere(|_| {
        let (ctx, cancel) = Context::background().with_cancel();
        let (calls, wg) = (Counter::default(), WaitGroup::new());
        wg.add(3);
        let handles: Vec<_> = (0..4)
            .map(|_| {
                let (calls, wg) = (calls.clone(), wg.clone());
                ctx.after_func(move || {
                    calls.add();
                    wg.done();
                })
            })
            .collect();
        assert!(handles[1].stop());
        cancel.cancel();
        wg.wait();
        assert_eq!(calls.get(), 3);
    });
}

/// "Calling the returned stop function stops the association of ctx with f. It returns true if the call stopped f from being run. If
/// stop returns false, either the context is canceled and f has been started in its own goroutine; or f was already stopped."
#[cfg(not(miri))]
#[test]
fn stop_returns_true_if_the_call_stopped_f_from_being_run() {
    everywhere(|on: On| {
        let (ctx, cancel) = Context::background().with_cancel();
        let calls = Counter::default();
        let (stopped, started) = (calls.clone(), calls.clone());
        let to_stop = ctx.after_func(move || stopped.add());
        let to_start = ctx.after_func(move || started.add());
        assert!(to_stop.stop());
        assert!(!to_stop.stop(), "it was already stopped");
        cancel.cancel();
        assert!(!to_start.stop(), "it has been started");
        on.eventually(|| calls.get() == 1);
    });
}
