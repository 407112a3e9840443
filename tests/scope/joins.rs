//! Joining many fibers at once.

use fibers::scope::join_all;
use fibers::{JoinHandle, Op, channel, op, scope, select, spawn, yield_now};
use fibers_tests::{Drops, HANG, on_workers, quiet_panic, rounds, runtime, watchdog};
use std::time::Duration;

const WORKERS: [usize; 3] = [1, 2, 4];

#[test]
fn results_in_the_order_of_the_handles() {
    on_workers(&WORKERS, |_| {
        for count in [0, 1, 2, 50] {
            let handles: Vec<_> = (0..count)
                .map(|i| {
                    spawn(move || {
                        (0..(count - i) % 7).for_each(|_| yield_now());
                        i
                    })
                })
                .collect();
            let results: Vec<_> = join_all(&handles).perform().into_iter().map(Result::unwrap).collect();
            assert_eq!(results, (0..count).collect::<Vec<_>>());
            // Again: they have been taken.
            assert!(join_all(&handles).perform().into_iter().all(|result| result.is_err()));
        }
    });
}

#[test]
fn panics_stay_in_their_places() {
    on_workers(&WORKERS, |_| {
        scope(|s| {
            let children = [
                s.spawn(|| 1),
                s.spawn(|| quiet_panic("the second")),
                s.spawn(|| {
                    yield_now();
                    3
                }),
            ];
            let results = join_all(&children).perform();
            assert_eq!(*results[0].as_ref().unwrap(), 1);
            assert!(results[1].as_ref().unwrap_err().is_panic());
            assert_eq!(*results[2].as_ref().unwrap(), 3);
        });
    });
}

#[test]
fn one_that_loses_takes_nothing() {
    on_workers(&WORKERS, |_| {
        let drops = Drops::default();
        let (tx, rx) = channel::<()>(0);
        let quick = drops.make(1);
        let slow = drops.make(2);
        let handles = [
            spawn(move || quick),
            spawn(move || {
                rx.recv().unwrap();
                slow
            }),
        ];
        while !handles[0].is_finished() {
            yield_now();
        }
        for _ in 0..rounds(300, 1_000_000) {
            select! {
                _ = join_all(&handles) => panic!("the second one waits"),
                _ = op::always(()) => {}
            }
            assert!(join_all(&handles).try_perform().is_none());
        }
        assert!(join_all(&handles).timeout(Duration::from_micros(50)).perform().is_err());
        assert!(format!("{:?}", join_all(&handles)).contains("left: 1"));
        assert!(
            join_all(&handles)
                .graph()
                .to_string()
                .contains("join all of 2 (1 have not ended)")
        );
        tx.send(()).unwrap();
        let [quick, slow] = handles;
        assert_eq!(quick.join().unwrap().value, 1);
        assert_eq!(slow.join().unwrap().value, 2);
        assert_eq!(drops.live(), 0);
    });
}

/// Waiters for all, for single ones, and for the same ones twice, at the same handles.
#[test]
fn everybody_who_waits_hears_of_the_end() {
    on_workers(&WORKERS, |_| {
        for _ in 0..rounds(30, 10_000) {
            let drops = Drops::default();
            let (tx, rx) = channel::<()>(0);
            let handles: Vec<JoinHandle<_>> = (0..4)
                .map(|i| {
                    let (rx, value) = (rx.clone(), drops.make(i));
                    spawn(move || {
                        let _ = rx.recv();
                        value
                    })
                })
                .collect();
            let taken = scope(|s| {
                let handles = &handles;
                let single: Vec<_> = handles
                    .iter()
                    .map(|handle| s.spawn(|| handle.join_op().perform().is_ok()))
                    .collect();
                let all: Vec<_> = (0..3)
                    .map(|_| {
                        s.spawn(|| {
                            let twice = op::choice((join_all(handles), join_all(&handles[1..])));
                            twice.perform().into_iter().filter(|result| result.is_ok()).count()
                        })
                    })
                    .collect();
                yield_now();
                drop((tx, rx));
                let single = single
                    .into_iter()
                    .filter(|_| true)
                    .map(|taken| usize::from(taken.join().unwrap()));
                single.sum::<usize>() + all.into_iter().map(|taken| taken.join().unwrap()).sum::<usize>()
            });
            // Each result was taken once, unless those who wait for some of them only have left one.
            assert!((3..=4).contains(&taken), "{taken}");
            drop(handles);
            assert_eq!(drops.live(), 0);
        }
    });
}

#[test]
fn a_plain_thread_waits_too() {
    for workers in [1, 2] {
        watchdog(HANG, || {
            runtime(workers).run(|| {
                let (tx, rx) = channel::<u32>(0);
                let handles: Vec<_> = (0..10)
                    .map(|_| {
                        let rx = rx.clone();
                        spawn(move || rx.recv().unwrap())
                    })
                    .collect();
                let thread =
                    std::thread::spawn(move || join_all(&handles).perform().into_iter().map(Result::unwrap).sum::<u32>());
                (0..10).for_each(|i| tx.send(i).unwrap());
                while !thread.is_finished() {
                    yield_now();
                }
                assert_eq!(thread.join().unwrap(), 45);
            });
        });
    }
}

#[test]
fn an_end_of_the_runtime_in_the_middle() {
    for workers in [1, 2] {
        watchdog(HANG, || {
            let drops = Drops::default();
            runtime(workers).run(|| {
                for _ in 0..5 {
                    let drops = drops.clone();
                    spawn(move || {
                        let handles: Vec<_> = (0..5)
                            .map(|_| {
                                let kept = drops.make(());
                                spawn(move || {
                                    op::never::<()>().perform();
                                    kept
                                })
                            })
                            .collect();
                        join_all(&handles).perform()
                    });
                }
                (0..5).for_each(|_| yield_now());
            });
            assert_eq!(drops.live(), 0);
        });
    }
}
