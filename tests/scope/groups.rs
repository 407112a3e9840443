//! Error groups: which error is returned, what it cancels, and how limits hold.

use fibers::scope::try_scope;
use fibers::{Op, Shutdown, channel, go, op, select, sleep, yield_now};
use fibers_tests::{Counter, Drops, HANG, on_workers, panics_with, quiet_panic, rounds, watchdog};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const WORKERS: [usize; 3] = [1, 2, 4];

/// How many run at once, and the most that ever did.
#[derive(Default)]
struct Gauge {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Gauge {
    fn during(&self, f: impl FnOnce()) {
        self.most
            .fetch_max(self.now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        f();
        self.now.fetch_sub(1, Ordering::SeqCst);
    }

    fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }
}

#[test]
fn without_errors_it_is_the_value_of_the_closure() {
    on_workers(&WORKERS, |_| {
        let words = [String::from("one"), String::from("three")];
        let result: Result<usize, ()> = try_scope(|s| {
            let lengths = words.each_ref().map(|word| s.spawn(|| Ok(word.len())));
            Ok(lengths.map(|length| length.join().unwrap().unwrap()).iter().sum())
        });
        assert_eq!(result, Ok(8));
    });
}

#[test]
fn the_first_error_in_time_is_returned() {
    on_workers(&WORKERS, |_| {
        let result: Result<(), &str> = try_scope(|s| {
            for _ in 0..10 {
                s.spawn(|| {
                    s.cancelled_op().perform();
                    Err::<(), _>("a consequence")
                });
            }
            let cause = s.spawn(|| Err::<(), _>("the cause"));
            assert_eq!(cause.join().unwrap(), None);
            assert!(s.is_cancelled());
            Err("another consequence")
        });
        assert_eq!(result, Err("the cause"));
    });
}

#[test]
fn the_closure_may_fail_first() {
    on_workers(&WORKERS, |_| {
        let ended = Counter::default();
        let result: Result<(), String> = try_scope(|s| {
            s.spawn(|| {
                select! {
                    _ = s.cancelled_op() => ended.add(),
                    _ = op::never::<()>() => {}
                }
                Err::<(), _>("late".into())
            });
            "x".parse::<u32>().map_err(|error| error.to_string())?;
            unreachable!("it has failed")
        });
        assert_eq!(
            (result.unwrap_err().as_str(), ended.get()),
            ("invalid digit found in string", 1)
        );
    });
}

#[test]
fn errors_are_dropped_once() {
    on_workers(&WORKERS, |_| {
        let drops = Drops::default();
        let result = try_scope(|s| {
            for i in 0..20 {
                let error = drops.make(i);
                s.spawn(move || Err::<(), _>(error));
            }
            Ok(())
        });
        assert_eq!(drops.live(), 1);
        drop(result);
        assert_eq!((drops.made(), drops.live()), (20, 0));
    });
}

#[test]
fn panics_are_no_errors() {
    on_workers(&WORKERS, |_| {
        panics_with("a child", || {
            let _ = try_scope(|s| {
                s.spawn(|| -> Result<(), &str> {
                    s.cancelled_op().perform();
                    quiet_panic("a child")
                });
                s.spawn(|| Err::<(), _>("an error"));
                Ok(())
            });
        });
        panics_with("the closure", || {
            let _: Result<(), &str> = try_scope(|s| {
                s.spawn(|| Err::<(), _>("an error"));
                quiet_panic("the closure")
            });
        });
        // One that was joined is the joiner's.
        let result: Result<bool, &str> =
            try_scope(|s| Ok(s.spawn(|| -> Result<(), &str> { quiet_panic("joined") }).join().is_err()));
        assert_eq!(result, Ok(true));
    });
}

#[test]
fn a_limit_holds() {
    on_workers(&WORKERS, |_| {
        for limit in [1, 2, 7] {
            let (gauge, done) = (Gauge::default(), Counter::default());
            let result: Result<(), ()> = try_scope(|s| {
                s.limit(limit);
                for i in 0..rounds(100, 10_000) {
                    let (gauge, done) = (&gauge, &done);
                    s.spawn(move || {
                        gauge.during(|| (0..i % 3).for_each(|_| yield_now()));
                        done.add();
                        Ok(())
                    });
                }
                Ok(())
            });
            assert_eq!(result, Ok(()));
            assert!(gauge.most() <= limit, "{} of {limit}", gauge.most());
            assert_eq!(done.get(), rounds(100, 10_000));
        }
    });
}

#[test]
fn a_spawn_that_waits_for_its_place_is_an_operation() {
    on_workers(&WORKERS, |_| {
        let (tx, rx) = channel::<()>(0);
        let drops = Drops::default();
        let result: Result<(), ()> = try_scope(|s| {
            s.limit(1);
            s.spawn(|| {
                rx.recv().unwrap();
                Ok(())
            });
            for _ in 0..rounds(100, 100_000) {
                let counted = drops.make(());
                let spawn = s.spawn_op(move || {
                    drop(counted);
                    Ok(())
                });
                select! {
                    biased;
                    _ = spawn => panic!("there is no place"),
                    default => {}
                }
                let counted = drops.make(());
                assert!(
                    s.try_spawn(move || {
                        drop(counted);
                        Ok(())
                    })
                    .is_err()
                );
            }
            let counted = drops.make(());
            let late = s
                .spawn_op(move || {
                    drop(counted);
                    Ok(())
                })
                .timeout(Duration::from_micros(50))
                .perform();
            assert!(late.is_err());
            assert_eq!(drops.live(), 0);
            tx.send(()).unwrap();
            assert_eq!(s.spawn_op(|| Ok(3)).perform().join().unwrap(), Some(3));
            Ok(())
        });
        assert_eq!(result, Ok(()));
    });
}

/// Places come back from children that fail, panic, and never run.
#[test]
fn places_come_back() {
    on_workers(&WORKERS, |_| {
        let result: Result<(), &str> = try_scope(|s| {
            s.limit(2);
            for i in 0..rounds(50, 5000) {
                let child = s.spawn(move || match i % 3 {
                    0 => Ok(()),
                    1 => Err("fails"),
                    _ => quiet_panic("panics"),
                });
                let _ = child.join();
            }
            Ok(())
        });
        assert_eq!(result, Err("fails"));
    });
}

#[test]
fn a_limit_is_set_once() {
    on_workers(&[1], |_| {
        let _: Result<(), ()> = try_scope(|s| {
            s.limit(1);
            let child = go!(scope = s; || Ok(1));
            assert_eq!(child.join().unwrap(), Some(1));
            panics_with("the limit of this scope has been set before", || s.limit(2));
            Ok(())
        });
    });
}

#[test]
fn it_shows_what_it_does() {
    on_workers(&[1], |_| {
        let _: Result<(), ()> = try_scope(|s| {
            let child = s.spawn(|| {
                s.cancelled_op().perform();
                Ok(())
            });
            assert_eq!(
                (s.running(), format!("{s:?}").as_str()),
                (1, "TryScope { running: 1, cancelled: false }")
            );
            s.cancel();
            child.join().unwrap();
            select! { <-s => {} }
            Ok(())
        });
    });
}

#[test]
fn an_end_in_the_middle_of_a_waiting_spawn() {
    for workers in [1, 2] {
        watchdog(HANG, || {
            let drops = Drops::default();
            let runtime = fibers::Runtime::builder()
                .workers(workers)
                .shutdown(Shutdown::Unwind)
                .build()
                .unwrap();
            runtime.run(|| {
                for _ in 0..10 {
                    let drops = drops.clone();
                    fibers::spawn(move || {
                        let owned = drops.make(());
                        let _: Result<(), ()> = try_scope(|s| {
                            s.limit(2);
                            loop {
                                let (counted, owned) = (drops.make(()), &owned);
                                s.spawn(move || {
                                    let _both = (counted, owned);
                                    sleep(Duration::from_secs(3600));
                                    Ok(())
                                });
                            }
                        });
                    });
                }
                sleep(Duration::from_micros(300));
            });
            assert_eq!(drops.live(), 0);
        });
    }
}
