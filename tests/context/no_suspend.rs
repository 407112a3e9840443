//! Regions that must not suspend.

use fibers::fiber_local;
use fibers::{Cond, Op, channel, no_suspend, op, run, sleep, spawn, yield_now};
use fibers_tests::{Counter, On, everywhere, on_workers, panic_message};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// What a region that is refused something says.
#[track_caller]
fn refused(f: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(f)).expect_err("it should have been refused");
    panic_message(&*payload).to_owned()
}

/// The place of the call that is `back` lines before this one.
macro_rules! place {
    (- $back:literal) => {
        format!("{}:{}:", file!(), line!() - $back)
    };
}

#[test]
fn what_would_suspend_is_named_with_the_line_of_the_region() {
    everywhere(|on| {
        let (tx, rx) = channel::<u32>(0);
        let verb = if on == On::Threads { "block" } else { "suspend" };
        let said = refused(|| no_suspend(|| assert!(rx.recv().is_err())));
        let region = place!(-1);
        assert!(
            said.starts_with(&format!("this would {verb} in the `no_suspend` region at {region}")),
            "{said}"
        );
        assert!(said.contains(": receive from "), "{said}");
        let said = refused(|| no_suspend(|| tx.send(1).unwrap()));
        assert!(said.contains(": send to "), "{said}");
        let said = refused(|| no_suspend(|| rx.recv_op().wrap(|_| ()).or(op::never()).perform()));
        assert!(said.contains(": choice\n"), "{said}");
        let said = refused(|| no_suspend(|| sleep(Duration::from_secs(3600))));
        assert!(said.contains(": sleep, "), "{said}");
        // Nothing was left behind.
        assert_eq!((tx.try_send(1).is_err(), rx.try_recv().is_err()), (true, true));
    });
}

#[test]
fn a_yield_is_refused_on_a_fiber() {
    run(|| {
        let said = refused(|| no_suspend(yield_now));
        assert!(said.contains("would suspend") && said.ends_with(": yield"), "{said}");
    });
}

#[test]
fn what_is_possible_at_once_is_done() {
    everywhere(|_| {
        let (tx, rx) = channel(1);
        let got = no_suspend(|| {
            tx.send(5).unwrap();
            let five = rx.recv().unwrap();
            sleep(Duration::ZERO);
            let cond = Cond::new();
            cond.signal();
            cond.wait();
            five
        });
        assert_eq!(got, 5);
    });
}

#[test]
fn regions_nest_and_the_inner_one_is_named() {
    everywhere(|on| {
        let (_tx, rx) = channel::<u32>(0);
        no_suspend(|| {
            let outer = refused(|| assert!(rx.recv().is_err()));
            let inner = refused(|| no_suspend(|| assert!(rx.recv().is_err())));
            let inner_line = place!(-1);
            assert!(
                inner.contains(&inner_line) && !outer.contains(&inner_line),
                "{outer}\n{inner}"
            );
            assert_eq!(refused(|| assert!(rx.recv().is_err())), outer, "the outer one holds again");
        });
        on.spawn(|| ()).join(); // suspends
    });
}

#[test]
fn a_region_ends_with_a_panic() {
    everywhere(|on| {
        for _ in 0..3 {
            assert_eq!(refused(|| no_suspend(|| fibers_tests::quiet_panic("inside"))), "inside");
            on.spawn(|| ()).join();
        }
    });
}

/// The other fibers of the worker are not in the region; they run when it is over.
#[test]
fn fibers_that_are_spawned_inside_are_not_in_the_region() {
    on_workers(&[1, 2], |_| {
        let (tx, rx) = channel(0);
        let fiber = no_suspend(|| spawn(move || (1..4).for_each(|i| tx.send(i).unwrap())));
        assert_eq!(rx.iter().collect::<Vec<_>>(), [1, 2, 3]);
        fiber.join().unwrap();
    });
}

/// A destructor that has to wait in the middle of a panic does so, and the region holds again afterwards.
#[test]
fn destructors_may_wait_while_they_unwind() {
    everywhere(|on| {
        let (tx, rx) = channel(0);
        let met = Counter::default();
        let (count, partner) = (met.clone(), on.spawn(move || rx.recv().unwrap()));
        let said = refused(|| {
            no_suspend(|| {
                let _wait = fibers::defer(|| {
                    tx.send(7).unwrap();
                    count.add();
                });
                fibers_tests::quiet_panic("inside");
            });
        });
        assert_eq!((said.as_str(), met.get(), partner.join()), ("inside", 1, 7));
        on.spawn(|| ()).join();
    });
}

#[test]
fn fibers_that_unwind_in_regions_of_theirs() {
    on_workers(&[1], |on| {
        let fibers: Vec<_> = (0..4)
            .map(|_| {
                spawn(move || {
                    let said = refused(|| {
                        no_suspend(|| {
                            let _wait = fibers::defer(|| (0..10).for_each(|_| yield_now()));
                            // By a macro: of what a hook does not see, a fiber that suspends knows only that its thread panics.
                            panic!("inside");
                        });
                    });
                    assert_eq!(said, "inside");
                })
            })
            .collect();
        on.pause();
        fibers.into_iter().for_each(|fiber| fiber.join().unwrap());
        no_suspend(|| assert!(refused(yield_now).contains("yield")));
    });
}

#[test]
fn a_base_operation_keeps_its_own_refusal() {
    run(|| {
        let publish = |completer: op::Completer<()>| {
            let said = refused(|| no_suspend(yield_now));
            assert!(said.starts_with("the publish function"), "{said}");
            completer.complete(()).unwrap();
        };
        op::base(|| None, publish, || ()).perform();
        yield_now();
    });
}

#[test]
fn fiber_locals_may_be_used_inside() {
    fiber_local! { static ASKED: u32 = 5; }
    run(|| assert_eq!(no_suspend(|| ASKED.with(|asked| *asked)), 5));
}

/// Whoever performs only what is ready lets the others of its worker go first all the same, now and then, but not in a region.
#[test]
fn nobody_goes_first_inside() {
    on_workers(&[1], |_| {
        let (tx, rx) = channel::<u32>(1);
        let exchange = || {
            for i in 0..1000 {
                tx.send(i).unwrap();
                assert_eq!(rx.recv(), Ok(i));
            }
        };
        let ran = Counter::default();
        let theirs = ran.clone();
        let other = spawn(move || theirs.add());
        no_suspend(exchange);
        assert_eq!(ran.get(), 0);
        exchange();
        assert_eq!(ran.get(), 1);
        other.join().unwrap();
    });
}
