//! Single flights.

use fibers::sync::SingleFlight;
use fibers::{Op, Runtime, channel, op, select, spawn, yield_now};
use fibers_tests::{Counter, Drops, HANG, everywhere, on_workers, panics_with, quiet_panic, rounds, under_stress, watchdog};
use std::time::Duration;

#[test]
fn callers_with_one_key_share_one_execution() {
    everywhere(|on| {
        let (tx, rx) = channel::<()>(0);
        let (group, executions) = (SingleFlight::new(), Counter::default());
        let call = |value| {
            let (group, rx, executions) = (group.clone(), rx.clone(), executions.clone());
            on.spawn(move || {
                group.run("key", || {
                    executions.add();
                    rx.recv().unwrap();
                    value
                })
            })
        };
        let first = call(1);
        on.eventually(|| executions.get() == 1);
        let others = [call(2), call(3), call(4)];
        // Another key does not wait.
        assert_eq!(group.run("other", || 7), 7);
        on.pause();
        tx.send(()).unwrap();
        // Whoever came too late for the first one executes.
        let released = on.spawn(move || while tx.send_timeout((), Duration::from_secs(30)).is_ok() {});
        assert_eq!(first.join(), 1);
        for (other, own) in others.into_iter().zip(2..) {
            let value = other.join();
            assert!(
                (1..=4).contains(&value) && (value == 1 || executions.get() > 1 || value == own),
                "{value}"
            );
        }
        drop(rx);
        released.join();
        assert_eq!(group.running(), 0);
    });
}

#[test]
fn keys_do_not_mix_and_nothing_is_left() {
    under_stress(|on| {
        let (group, drops) = (SingleFlight::new(), Drops::default());
        let tasks: Vec<_> = (0..6)
            .map(|task| {
                let (group, drops) = (group.clone(), drops.clone());
                on.spawn(move || {
                    for i in 0..rounds(200, 50_000) {
                        let key = (i + task) % 3;
                        let value = group.run(key, || {
                            if i % 4 == 0 {
                                on.pause();
                            }
                            drops.make(key)
                        });
                        assert_eq!(value.value, key);
                        if i % 11 == 0 {
                            group.forget(&key);
                        }
                    }
                })
            })
            .collect();
        tasks.into_iter().for_each(|task| task.join());
        assert_eq!((group.running(), drops.live()), (0, 0));
    });
}

#[test]
fn a_panic_is_everybodys() {
    everywhere(|on| {
        let (tx, rx) = channel::<()>(0);
        let group: SingleFlight<u32, u32> = SingleFlight::new();
        let theirs = group.clone();
        let began = Counter::default();
        let begin = began.clone();
        let first = on.spawn(move || {
            theirs.run(1, || {
                begin.add();
                rx.recv().unwrap();
                quiet_panic("the first one")
            })
        });
        on.eventually(|| began.get() == 1);
        let theirs = group.clone();
        let (asked, ask) = (began.clone(), channel::<()>(1));
        let second = on.spawn(move || {
            asked.add();
            theirs.run(1, || {
                drop(ask);
                5
            })
        });
        on.eventually(|| began.get() == 2);
        on.pause();
        tx.send(()).unwrap();
        let payload = first.outcome().unwrap_err();
        assert_eq!(payload.downcast_ref(), Some(&"the first one"));
        // It has waited, or come too late.
        match second.outcome() {
            Ok(value) => assert_eq!(value, 5),
            Err(payload) => assert_eq!(
                fibers_tests::panic_message(&*payload),
                "the call that was waited for has panicked: the first one"
            ),
        }
        assert_eq!(group.run(1, || 9), 9);
        assert_eq!(group.running(), 0);
    });
}

#[test]
fn a_started_call_is_waited_for_beside_other_things() {
    on_workers(&[1, 2], |_| {
        let (tx, rx) = channel::<u32>(0);
        let group = SingleFlight::new();
        let flight = group.start("key", move || rx.recv().unwrap());
        assert!(!flight.is_over() && flight.wait_op().try_perform().is_none());
        for _ in 0..rounds(200, 100_000) {
            select! {
                _ = <-flight => panic!("nothing was sent"),
                _ = op::always(()) => {}
            }
        }
        let same = group.start("key", || unreachable!("one is running"));
        let waiters: Vec<_> = (0..5)
            .map(|_| {
                let flight = flight.clone();
                spawn(move || flight.wait())
            })
            .collect();
        tx.send(8).unwrap();
        assert_eq!((flight.wait(), same.wait()), (8, 8));
        assert!(waiters.into_iter().all(|waiter| waiter.join().unwrap() == 8));
        assert!(format!("{flight:?} {group:?}").contains("over: true"));
        // Also by a plain thread.
        assert_eq!(std::thread::scope(|s| s.spawn(|| flight.wait()).join().unwrap()), 8);
        let failed = group.start("key", || quiet_panic("started"));
        panics_with("the call that was waited for has panicked: started", || {
            assert_eq!(failed.wait(), 0)
        });
    });
}

#[test]
fn a_forgotten_call_goes_on_without_new_ones() {
    on_workers(&[1, 2], |_| {
        let (tx, rx) = channel::<()>(0);
        let group = SingleFlight::new();
        let old = group.start(1, move || {
            rx.recv().unwrap();
            "old"
        });
        group.forget(&1);
        group.forget(&1);
        let (tx2, rx2) = channel::<()>(0);
        let new = group.start(1, move || {
            rx2.recv().unwrap();
            "new"
        });
        tx.send(()).unwrap();
        assert_eq!(old.wait(), "old");
        // The end of the old one has not taken the new one out.
        assert!(!group.start(1, || "newest").is_over());
        tx2.send(()).unwrap();
        assert_eq!((new.wait(), group.run(1, || "after")), ("new", "after"));
    });
}

/// The one that executes is unwound by the end of its runtime: a thread that waits does it instead.
#[test]
fn a_shutdown_hands_the_call_on() {
    watchdog(HANG, || {
        let group: SingleFlight<u32, &str> = SingleFlight::new();
        let (started, theirs) = (Counter::default(), group.clone());
        let waiter = std::thread::scope(|threads| {
            let begun = started.clone();
            let runtime = Runtime::builder().workers(1).build().unwrap();
            runtime
                .run(|| {
                    let (group, started) = (group.clone(), started.clone());
                    spawn(move || {
                        group.run(1, || {
                            started.add();
                            op::never::<()>().perform();
                            "fiber"
                        })
                    });
                    while begun.get() == 0 {
                        yield_now();
                    }
                    threads.spawn(move || theirs.run(1, || "thread"))
                })
                .join()
                .unwrap()
        });
        assert_eq!((waiter, group.running()), ("thread", 0));
        // One that was never started hands it on as well.
        let runtime = Runtime::builder().workers(1).build().unwrap();
        let flight = runtime.run(|| group.start(2, || "never"));
        assert!(flight.is_over());
        panics_with("the call that was waited for was ended by a shutdown", || {
            assert_eq!(flight.wait(), "")
        });
        assert_eq!(group.run(2, || "again"), "again");
    });
}
