//! The end of a context as an operation: in choices, in `select!`, on fibers and threads.

use fibers::context::{Context, ContextError};
use fibers::{Op, channel, op, select};
use fibers_tests::{Counter, Drops, Rng, everywhere, rounds, under_stress};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

/// How many children a context has, as its `Debug` output says.
fn children(ctx: &Context) -> usize {
    let text = format!("{ctx:?}");
    let (_, rest) = text.split_once("children: ").expect("a context that can end");
    rest.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
}

#[test]
fn an_arm_that_wins_and_an_arm_that_loses() {
    everywhere(|_| {
        let (ctx, cancel) = Context::background().with_timeout(HOUR);
        let (tx, rx) = channel::<u32>(1);
        for round in 0..100 {
            tx.send(round).unwrap();
            select! {
                _ = <-ctx => panic!("nobody has cancelled it"),
                v = <-rx => assert_eq!(v, Ok(round)),
            }
        }
        cancel.cancel();
        select! {
            e = <-ctx => assert_eq!(e, ContextError::Cancelled),
            _ = <-rx => panic!("nobody has sent"),
        }
        select! {
            e = ctx.done_op() => assert_eq!(e, ContextError::Cancelled),
            default => panic!("it has ended"),
        }
    });
}

#[test]
fn default_is_taken_until_the_deadline_and_never_after_it() {
    let (ctx, _cancel) = Context::background().with_timeout(Duration::from_millis(2));
    while ctx.done_op().try_perform().is_none() {
        std::thread::yield_now();
    }
    assert_eq!(ctx.done_op().try_perform(), Some(ContextError::DeadlineExceeded));
}

#[test]
fn absent_and_endless_contexts_are_never() {
    let none: Option<Context> = None;
    let endless = Context::background();
    select! {
        _ = <-none => unreachable!("absent"),
        _ = <-endless => unreachable!("endless"),
        v = op::always(1) => assert_eq!(v, 1),
    }
    assert_eq!(endless.run(op::always(2)), Ok(2));
    assert_eq!(endless.run_op(op::never::<()>()).try_perform(), None);
}

#[test]
fn the_deadline_wakes_whoever_waits_alone_or_in_a_choice() {
    everywhere(|on| {
        let (ctx, _cancel) = Context::background().with_timeout(Duration::from_millis(5));
        let waiters: Vec<_> = (0..6)
            .map(|i| {
                let ctx = ctx.clone();
                on.spawn(move || match i % 3 {
                    0 => ctx.done(),
                    1 => ctx.done_op().or(op::never()).perform(),
                    _ => ctx.run(op::never::<()>()).unwrap_err(),
                })
            })
            .collect();
        for waiter in waiters {
            assert_eq!(waiter.join(), ContextError::DeadlineExceeded);
        }
        assert!(fibers::time::now() >= ctx.deadline().unwrap());
    });
}

#[test]
fn an_ended_context_wins_over_a_ready_operation() {
    let (ctx, cancel) = Context::background().with_cancel();
    cancel.cancel();
    let drops = Drops::default();
    let (tx, rx) = channel(1);
    tx.send(drops.make(1)).unwrap();
    for _ in 0..100 {
        assert_eq!(ctx.run(rx.recv_op()).map(drop), Err(ContextError::Cancelled));
    }
    assert_eq!((rx.len(), drops.live()), (1, 1), "nothing was received and lost");
}

#[test]
fn nacks_and_abort_actions_hear_of_it() {
    everywhere(|_| {
        let (ctx, cancel) = Context::background().with_cancel();
        let aborted = Counter::default();
        let count = aborted.clone();
        let mut nack = None;
        let lost = op::with_nack(|n| {
            nack = Some(n);
            op::never::<()>()
        });
        cancel.cancel();
        assert!(ctx.run(lost.on_abort(move || count.add())).is_err());
        assert!(nack.unwrap().is_fired());
        assert_eq!(aborted.get(), 1);
    });
}

#[test]
fn two_branches_on_one_context_and_on_its_child() {
    everywhere(|on| {
        let (ctx, cancel) = Context::background().with_cancel();
        let (child, _child) = ctx.with_timeout(HOUR);
        let waiter = on.spawn({
            let (ctx, child) = (ctx.clone(), child.clone());
            move || op::choice((ctx.done_op(), ctx.done_op(), child.done_op())).perform()
        });
        cancel.cancel();
        assert_eq!(waiter.join(), ContextError::Cancelled);
    });
}

#[test]
fn a_suspended_waiter_is_named_in_the_graph() {
    let (ctx, _cancel) = Context::background().with_timeout(HOUR);
    let graph = ctx.done_op().graph().to_string();
    assert!(
        graph.starts_with("context, ") && graph.ends_with(" left\n") || graph.ends_with(" left"),
        "{graph}"
    );
}

/// A losing arm leaves nothing in the queue of the context and no timer: the count of what waits stays flat because nothing is
/// allocated for it; here it is the context's children that are counted, with values on the way.
#[test]
fn many_losing_arms_and_many_finished_children_leave_nothing_behind() {
    everywhere(|_| {
        let (root, cancel) = Context::background().with_timeout(HOUR);
        let (tx, rx) = channel::<u64>(1);
        for round in 0..rounds(4_000, 1_000_000) {
            let (ctx, _cancel) = root.with_timeout(HOUR);
            tx.send(round).unwrap();
            assert_eq!(ctx.run(rx.recv_op()), Ok(Ok(round)));
            assert_eq!(children(&root), 1);
        }
        assert_eq!(children(&root), 0);
        cancel.cancel();
        assert_eq!(children(&root), 0);
    });
}

/// Workers that receive until they are cancelled, over and over: each value is received once, and everybody hears of the end.
#[test]
fn conserved_under_stress() {
    under_stress(|on| {
        for round in 0..rounds(60, 3000) {
            let mut rng = Rng::new(round);
            let drops = Drops::default();
            let (ctx, cancel) = Context::background().with_cancel_cause();
            let (tx, rx) = channel(rng.below(3) as usize);
            let received = Counter::default();
            let workers: Vec<_> = (0..3)
                .map(|_| {
                    let (child, child_cancel) = ctx.with_timeout(HOUR);
                    let (rx, received) = (rx.clone(), received.clone());
                    on.spawn(move || {
                        let _cancel = child_cancel;
                        loop {
                            match child.run(rx.recv_op()) {
                                Ok(Ok(_)) => received.add(),
                                Ok(Err(_)) => panic!("the sender stays until all have ended"),
                                Err(error) => return error,
                            }
                        }
                    })
                })
                .collect();
            let sender = on.spawn({
                let (ctx, tx, drops) = (ctx.clone(), tx.clone(), drops.clone());
                move || {
                    let mut sent = 0;
                    while let Ok(Ok(())) = ctx.run(tx.send_op(drops.make(sent))) {
                        sent += 1;
                    }
                    sent
                }
            });
            (0..rng.below(50)).for_each(|_| on.pause());
            cancel.cancel("enough");
            for worker in workers {
                assert_eq!(worker.join(), ContextError::Cancelled);
            }
            let sent = sender.join();
            assert_eq!(received.get() + rx.len() as u64, sent);
            drop((tx, rx));
            assert_eq!(drops.live(), 0);
            assert_eq!(children(&ctx), 0);
        }
    });
}

/// What ends with a context is the user's, and may suspend, also if the end is noticed in the middle of a perform: by then the first
/// branch is published, and a partner would wake a fiber that waits for something else.
#[cfg(not(miri))]
#[test]
fn what_ends_with_a_context_may_suspend_whoever_notices_that() {
    struct Slow(Counter);
    impl Drop for Slow {
        fn drop(&mut self) {
            (0..100).for_each(|_| fibers::yield_now());
            self.0.add();
        }
    }
    fibers_tests::on_workers(&[1], |_| {
        let (ctx, _cancel) = Context::background().with_timeout(Duration::from_millis(50));
        let dropped = Counter::default();
        let (slow, theirs) = (Slow(dropped.clone()), &ctx);
        // Of a runtime that is gone when the context ends: the function is dropped by whoever ends it.
        std::thread::scope(|threads| {
            threads.spawn(move || fibers_tests::runtime(1).run(|| drop(theirs.after_func(move || drop(slow)))));
        });
        let (tx, rx) = channel::<u32>(0);
        let sender = fibers::spawn(move || tx.send(1));
        let deadline = ctx.deadline().unwrap();
        let hold_up = op::base(|| None, |_| while fibers::time::now() < deadline {}, || ());
        let got = op::biased((rx.recv_op().wrap(Ok), hold_up, ctx.done_op().wrap(Err))).perform();
        assert_eq!((got, dropped.get()), (Err(ContextError::DeadlineExceeded), 1));
        assert_eq!((rx.recv(), sender.join().unwrap()), (Ok(1), Ok(())));
    });
}

/// Threads cancel what fibers of several workers wait for, and the other way round.
#[cfg(not(miri))]
#[test]
fn across_threads_and_runtimes() {
    fibers_tests::on_workers(&[1, 2, 4], |_| {
        for _ in 0..rounds(50, 2000) {
            let (ctx, cancel) = Context::background().with_cancel();
            let fiber = fibers::spawn({
                let ctx = ctx.clone();
                move || ctx.done()
            });
            let thread = std::thread::spawn({
                let (ctx, grandchild) = (ctx.clone(), ctx.with_cancel());
                move || {
                    let (ctx, grandchild) = (ctx, grandchild.0);
                    (ctx.run(op::never::<()>()).unwrap_err(), grandchild.done())
                }
            });
            let other = std::sync::Arc::new(cancel);
            let theirs = other.clone();
            let canceller = std::thread::spawn(move || theirs.cancel());
            other.cancel();
            assert_eq!(fiber.join().unwrap(), ContextError::Cancelled);
            canceller.join().unwrap();
            assert_eq!(thread.join().unwrap(), (ContextError::Cancelled, ContextError::Cancelled));
        }
    });
}
