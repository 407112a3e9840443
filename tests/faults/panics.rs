//! Panics in fibers.

use crate::child;
use fibers::{Op, Shutdown, channel, defer, spawn, unbounded, yield_now};
use fibers_tests::{Counter, Drops, HANG, On, on_workers, quiet_panic, runtime, watchdog};
use std::panic::{AssertUnwindSafe, catch_unwind};

#[test]
fn f08_the_join_gets_the_payload() {
    on_workers(&[1, 2], |_| {
        let error = spawn(|| std::panic::panic_any(17_u32)).join().unwrap_err();
        assert!(error.is_panic() && !error.is_cancelled());
        assert_eq!(*error.into_panic().downcast::<u32>().unwrap(), 17);
        let error = spawn(|| quiet_panic("aua")).join().unwrap_err();
        assert_eq!(error.to_string(), "the fiber panicked: aua");
        // A result that cannot be dropped quietly is dropped by the joiner, not by the fiber.
        struct Loud;
        impl Drop for Loud {
            fn drop(&mut self) {
                quiet_panic("dropped");
            }
        }
        let handle = spawn(|| Loud);
        assert!(catch_unwind(AssertUnwindSafe(|| drop(handle.join()))).is_err());
        // Nor do detached results disturb anybody.
        drop(spawn(|| Loud));
        drop(spawn(|| -> () { std::panic::panic_any(Loud2) }));
        struct Loud2;
        impl Drop for Loud2 {
            fn drop(&mut self) {
                quiet_panic("a payload was dropped");
            }
        }
        for _ in 0..10 {
            yield_now();
        }
        assert_eq!(spawn(|| 1).join().unwrap(), 1);
    });
}

#[test]
fn f08_the_message_names_the_fiber() {
    let ended = child("panic").well();
    ended.says(&[
        "'clumsy', spawned at",
        "faults/child/limits.rs:",
        "panics:",
        "over my own feet",
    ]);
}

#[test]
fn f08_after_a_detached_panic_the_rest_goes_on() {
    on_workers(&[1, 2], |on| {
        let going = Counter::default();
        for i in 0..100 {
            let going = going.clone();
            drop(spawn(move || {
                let _going = defer(|| {
                    going.add();
                });
                yield_now();
                if i % 2 == 0 {
                    quiet_panic("even");
                }
            }));
        }
        on.eventually(|| going.get() == 100);
        assert!(!std::thread::panicking());
    });
}

#[test]
fn f08_a_panic_of_main_is_the_panic_of_run() {
    watchdog(HANG, || {
        let drops = Drops::default();
        let runtime = runtime(2);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            runtime.run(|| {
                let (tx, rx) = channel::<()>(0);
                for _ in 0..10 {
                    let (kept, rx) = (drops.make(tx.clone()), rx.clone());
                    spawn(move || {
                        let _kept = kept;
                        let _ = rx.recv();
                    });
                }
                yield_now();
                quiet_panic("main is over");
            })
        }));
        assert_eq!(fibers_tests::panic_message(&*outcome.unwrap_err()), "main is over");
        assert_eq!((drops.made(), drops.live()), (10, 0));
        assert_eq!(runtime.run(|| 3), 3);
    });
}

/// Unwinding fibers whose destructors wait for a partner, several on one worker, and siblings that do not panic.
fn panics_that_suspend(on: On) {
    let (tx, rx) = channel::<u32>(0);
    let fibers: Vec<_> = (0..8)
        .map(|i| {
            let tx = tx.clone();
            spawn(move || {
                let inner = tx.clone();
                let _last = defer(move || inner.send(100 + i).unwrap());
                let _first = defer(move || {
                    yield_now();
                    tx.send(i).unwrap();
                });
                quiet_panic("with a last word");
            })
        })
        .collect();
    let (ping, pong) = (channel::<u32>(0), channel::<u32>(0));
    let sibling = spawn(move || {
        for i in 0..100 {
            ping.0.send(i).unwrap();
            assert_eq!(pong.1.recv(), Ok(i));
            // A panic that is caught leaves the sibling as it was.
            assert!(catch_unwind(|| quiet_panic("caught")).is_err());
        }
    });
    let echo = spawn(move || {
        for value in ping.1.iter() {
            pong.0.send(value).unwrap();
        }
    });
    yield_now();
    let mut heard: Vec<u32> = rx.iter().take(16).collect();
    heard.sort_unstable();
    assert!(heard.iter().copied().eq((0..8).chain(100..108)), "{heard:?}");
    sibling.join().unwrap();
    echo.join().unwrap();
    for fiber in fibers {
        let error = fiber.join().unwrap_err();
        assert_eq!(error.to_string(), "the fiber panicked: with a last word");
    }
    on.eventually(|| !std::thread::panicking());
}

#[test]
fn f09_destructors_that_suspend_while_unwinding() {
    on_workers(&[1, 2], panics_that_suspend);
}

/// The run ends while fibers are suspended in the destructors of a panic, and only then somebody listens to them.
fn end_while_panicking(panic: fn(&'static str) -> !) {
    watchdog(HANG, || {
        let (words, heard) = unbounded();
        let builder = fibers::Runtime::builder().workers(1).shutdown(Shutdown::Unwind);
        builder.build().unwrap().run(|| {
            let (tx, rx) = channel::<&str>(0);
            let listening = Counter::default();
            for _ in 0..2 {
                let (tx, words) = (tx.clone(), words.clone());
                spawn(move || {
                    let _last = defer(move || words.send(tx.send("bye").is_ok()).unwrap());
                    panic("and then a destructor that waits");
                });
            }
            let (waiting, listens) = (rx.clone(), listening.clone());
            spawn(move || {
                let _listen = defer(move || assert_eq!(rx.iter().take(2).count(), 2));
                listens.add();
                fibers::op::never::<()>().perform();
            });
            while waiting.waiting_senders() < 2 || listening.get() == 0 {
                fibers::sleep(std::time::Duration::from_millis(1));
            }
        });
        assert_eq!(heard.try_iter().collect::<Vec<_>>(), [true, true]);
    });
}

#[test]
fn f09_the_end_of_the_run_spares_those_who_panic() {
    end_while_panicking(|message| panic!("{message}"));
}

#[test]
fn f09_the_end_of_the_run_spares_those_who_raise_a_result_again() {
    end_while_panicking(|message| {
        let error = spawn(move || quiet_panic(message)).join().unwrap_err();
        std::panic::resume_unwind(error.into_panic())
    });
}

#[test]
#[ignore = "unwinding without a hook, beside a sibling that unwinds, is taken for none: the shutdown raises into it"]
fn f09_the_end_of_the_run_spares_those_who_unwind_without_a_message() {
    end_while_panicking(|message| quiet_panic(message));
}

#[test]
fn f09_nested_panics_in_wraps_and_guards_of_suspended_destructors() {
    on_workers(&[1], |_| {
        let (tx, rx) = channel::<u32>(0);
        let fiber = spawn(move || {
            let _last = defer(move || {
                // Inside a destructor that runs because of a panic, a panic that is caught.
                let inner = catch_unwind(AssertUnwindSafe(|| {
                    tx.send(1).unwrap();
                    quiet_panic("inner");
                }));
                assert!(inner.is_err());
                tx.send(2).unwrap();
            });
            quiet_panic("outer");
        });
        assert_eq!(rx.iter().collect::<Vec<_>>(), [1, 2]);
        assert_eq!(fiber.join().unwrap_err().to_string(), "the fiber panicked: outer");
    });
}
