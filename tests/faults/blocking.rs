//! The pool for blocking calls, saturated.

use fibers::{Runtime, sleep, spawn, spawn_blocking, yield_now};
use fibers_tests::{Counter, Drops, HANG, quiet_panic, watchdog};
use std::time::{Duration, Instant};

fn runtime(workers: usize, threads: usize, queue: usize) -> Runtime {
    let builder = Runtime::builder()
        .workers(workers)
        .blocking_threads(threads)
        .blocking_queue(queue);
    builder.build().unwrap()
}

#[test]
fn f17_a_saturated_pool_of_one() {
    for workers in [1, 2] {
        watchdog(HANG, || {
            runtime(workers, 1, 10).run(|| {
                let (running, most, progress) = (Counter::default(), Counter::default(), Counter::default());
                let fibers: Vec<_> = (0..1000)
                    .map(|i| {
                        let (running, most) = (running.clone(), most.clone());
                        spawn(move || {
                            let job = spawn_blocking(move || {
                                if running.next() % 2 != 0 {
                                    most.add();
                                }
                                std::thread::sleep(Duration::from_micros(100));
                                running.add();
                                i
                            });
                            assert_eq!(job.join().unwrap(), i);
                        })
                    })
                    .collect();
                let theirs = progress.clone();
                let sleeper = spawn(move || {
                    for _ in 0..100 {
                        sleep(Duration::from_micros(200));
                        theirs.add();
                    }
                });
                sleeper.join().unwrap();
                assert!(running.get() < 2000, "fibers made no progress while the pool was busy");
                for fiber in fibers {
                    fiber.join().unwrap();
                }
                assert_eq!((running.get(), most.get(), progress.get()), (2000, 0, 100));
            });
        });
    }
}

#[test]
fn f17_a_queued_job_can_be_cancelled() {
    watchdog(HANG, || {
        runtime(1, 1, 10).run(|| {
            let (tx, rx) = fibers::channel::<()>(0);
            let drops = Drops::default();
            let first = spawn_blocking(move || rx.recv());
            while tx.waiting_receivers() == 0 {
                yield_now();
            }
            let jobs: Vec<_> = (0..10)
                .map(|i| {
                    let kept = drops.make(());
                    spawn_blocking(move || {
                        let _kept = kept;
                        i
                    })
                })
                .collect();
            // The queue is full now: the next one waits.
            let waiting = spawn(|| spawn_blocking(|| 77).join().unwrap());
            sleep(Duration::from_millis(5));
            assert!(!waiting.is_finished());
            assert!(!first.cancel(), "it runs");
            assert!(jobs[3].cancel());
            assert!(!jobs[3].cancel(), "it has been");
            assert!(jobs[9].cancel());
            assert_eq!(drops.live(), 8);
            tx.send(()).unwrap();
            first.join().unwrap().unwrap();
            for (i, job) in jobs.into_iter().enumerate() {
                match job.join() {
                    Ok(value) => assert_eq!(value, i),
                    Err(error) => assert!(error.is_cancelled() && (i == 3 || i == 9)),
                }
            }
            assert_eq!(waiting.join().unwrap(), 77);
            assert_eq!(drops.live(), 0);
        });
    });
}

#[test]
fn f17_panics_of_jobs_come_with_the_join() {
    watchdog(HANG, || {
        runtime(2, 2, 4).run(|| {
            let error = spawn_blocking(|| quiet_panic("in the pool")).join().unwrap_err();
            assert!(error.is_panic());
            assert!(error.to_string().contains("in the pool"), "{error}");
            assert_eq!(spawn_blocking(|| 2).join().unwrap(), 2);
        });
    });
}

#[test]
fn f17_the_end_of_the_runtime_does_not_wait_for_a_job_that_blocks() {
    watchdog(HANG, || {
        let began = Instant::now();
        let (tx, rx) = std::sync::mpsc::channel::<()>();
        let drops = Drops::default();
        let (queued, waited) = {
            let runtime = runtime(2, 1, 10);
            runtime.run(|| {
                drop(spawn_blocking(move || rx.recv()));
                let kept = drops.make(());
                let queued = spawn_blocking(move || drop(kept));
                let waited = spawn(|| spawn_blocking(|| 1).join().map(drop));
                sleep(Duration::from_millis(2));
                (queued, waited)
            })
        };
        assert!(queued.join().unwrap_err().is_cancelled());
        assert!(waited.join().unwrap_err().is_cancelled());
        assert_eq!(drops.live(), 0);
        assert!(began.elapsed() < Duration::from_secs(5));
        drop(tx);
    });
}

#[test]
fn f17_a_full_queue_is_no_obstacle_to_the_end() {
    watchdog(HANG, || {
        let (tx, rx) = std::sync::mpsc::channel::<()>();
        let drops = Drops::default();
        runtime(2, 1, 1).run(|| {
            drop(spawn_blocking(move || rx.recv()));
            for _ in 0..100 {
                let kept = drops.make(());
                spawn(move || spawn_blocking(move || drop(kept)).join());
            }
            sleep(Duration::from_millis(5));
        });
        // Neither the one in the queue nor those that waited for room have begun; all have been dropped.
        assert_eq!((drops.made(), drops.live()), (100, 0));
        drop(tx);
    });
}

#[test]
fn f17_the_shortest_queue() {
    for threads in [1, 3] {
        watchdog(HANG, || {
            runtime(1, threads, 1).run(|| {
                for i in 0..20 {
                    assert_eq!(spawn_blocking(move || i).join().unwrap(), i);
                }
                let fibers: Vec<_> = (0..100)
                    .map(|i| spawn(move || spawn_blocking(move || i).join().unwrap()))
                    .collect();
                assert_eq!(fibers.into_iter().map(|fiber| fiber.join().unwrap()).sum::<i32>(), 4950);
            });
        });
    }
}
