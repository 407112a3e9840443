//! Threads: which one a fiber runs on, threads that cannot be had, and wakes that race with parks.

use fibers::fault::{self, Call, Fault};
use fibers::fiber::Builder;
use fibers::{Runtime, channel, sleep, spawn, yield_now};
use fibers_tests::{Drops, HANG, On, Rng, rounds, runtime, watchdog};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

thread_local! {
    static HERE: Cell<u64> = const { Cell::new(0) };
}

#[inline(never)]
fn address_of_a_thread_local() -> usize {
    HERE.with(|here| std::ptr::from_ref(here).addr())
}

#[test]
fn f13_a_fiber_stays_on_its_thread() {
    watchdog(HANG, || {
        let threads = runtime(4).run(|| {
            let (tx, rx) = channel::<u64>(0);
            let handles: Vec<_> = (0..200)
                .map(|i| {
                    let (tx, rx) = (tx.clone(), rx.clone());
                    spawn(move || {
                        let mut rng = Rng::new(i);
                        let before = (thread::current().id(), address_of_a_thread_local());
                        HERE.set(i);
                        for _ in 0..rounds(50, 1000) {
                            match rng.below(5) {
                                0 => yield_now(),
                                1 => sleep(Duration::from_micros(rng.below(300))),
                                2 => drop(tx.send_timeout(i, Duration::from_micros(100))),
                                3 => drop(rx.recv_timeout(Duration::from_micros(100))),
                                _ => {
                                    let began = std::time::Instant::now();
                                    while began.elapsed() < Duration::from_micros(20) {
                                        std::hint::spin_loop();
                                    }
                                    drop(spawn(yield_now));
                                }
                            }
                            assert_eq!(before, (thread::current().id(), address_of_a_thread_local()));
                        }
                        before.0
                    })
                })
                .collect();
            handles
                .into_iter()
                .map(|handle| handle.join().unwrap())
                .collect::<std::collections::HashSet<_>>()
        });
        println!("{} threads took part", threads.len());
        assert!(threads.len() > 1, "nothing was stolen");
    });
}

#[test]
fn f14_a_std_guard_may_be_held_while_nobody_else_of_the_thread_wants_it() {
    watchdog(HANG, || {
        let value = std::sync::Arc::new(std::sync::Mutex::new(0));
        runtime(2).run(|| {
            let theirs = value.clone();
            let holder = spawn(move || {
                let mut guard = theirs.lock().unwrap();
                sleep(Duration::from_millis(20));
                *guard += 1;
            });
            holder.join().unwrap();
        });
        assert_eq!(*value.lock().unwrap(), 1);
    });
}

#[test]
fn f16_without_threads_there_is_no_runtime_and_nothing_is_left() {
    watchdog(HANG, || {
        for after in 0..3 {
            let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
            let before = threads();
            let error = {
                let fault = Fault {
                    after,
                    times: 1,
                    errno: libc::EAGAIN,
                };
                let _fault = fault::scoped(Call::Thread, fault);
                Runtime::builder().workers(4).build().unwrap_err()
            };
            assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
            let message = error.to_string();
            assert!(message.contains("worker") && message.contains("thread"), "{message}");
            // Other tests come and go meanwhile, but do not add up to this.
            println!("{before} threads before, {} after", threads());
            assert_eq!(runtime(4).run(|| spawn(|| 5).join().unwrap()), 5);
        }
    });
}

#[test]
fn f16_without_descriptors_there_is_no_runtime() {
    watchdog(HANG, || {
        for (call, errno) in [
            (Call::EpollCreate, libc::EMFILE),
            (Call::Eventfd, libc::ENFILE),
            (Call::EpollCtl, libc::ENOSPC),
            (Call::Sigaction, libc::EINVAL),
        ] {
            let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
            let before = descriptors();
            let fault = fault::scoped(
                call,
                Fault {
                    after: 1,
                    times: 1,
                    errno,
                },
            );
            let built = Runtime::builder().workers(3).build();
            drop(fault);
            if let Err(error) = built {
                assert_eq!(error.raw_os_error().unwrap_or(errno), errno, "{call:?}");
            } else {
                // The handlers of signals are installed once for the process.
                assert_eq!(call, Call::Sigaction);
            }
            println!("{before} descriptors before, {} after", descriptors());
            assert_eq!(runtime(3).run(|| spawn(|| 5).join().unwrap()), 5);
        }
    });
}

#[test]
fn f16_without_alternate_stacks_fibers_run_all_the_same() {
    watchdog(HANG, || {
        let _fault = fault::scoped(Call::Sigaltstack, Fault::always(libc::EPERM));
        assert_eq!(runtime(1).run(|| spawn(|| 5).join().unwrap()), 5);
    });
}

#[test]
fn f16_without_threads_for_blocking_calls_the_caller_is_told() {
    watchdog(HANG, || {
        runtime(1).run(|| {
            let fault = fault::scoped(Call::Thread, Fault::always(libc::EAGAIN));
            let drops = Drops::default();
            let kept = drops.make(());
            let outcome = catch_unwind(AssertUnwindSafe(|| fibers::spawn_blocking(move || drop(kept)).join()));
            drop(fault);
            let panic = outcome.unwrap_err();
            let message = fibers_tests::panic_message(&*panic);
            assert!(
                message.starts_with("cannot run a blocking job: no thread could be started"),
                "{message}"
            );
            assert_eq!(drops.live(), 0);
            assert_eq!(fibers::spawn_blocking(|| 2).join().unwrap(), 2);
        });
    });
}

/// The partners of a ping-pong park and are woken all the time, at the same moment if they have a worker each.
fn ping_pong(workers: usize, first: usize, second: usize, count: u64) {
    On::Fibers(workers).run(|_| {
        let (ping, pings) = channel::<u64>(0);
        let (pong, pongs) = channel::<u64>(0);
        let echo = Builder::new().worker(second).spawn(move || {
            for value in pings.iter() {
                pong.send(value).unwrap();
            }
        });
        let player = Builder::new().worker(first).spawn(move || {
            for i in 0..count {
                ping.send(i).unwrap();
                assert_eq!(pongs.recv(), Ok(i));
            }
        });
        player.unwrap().join().unwrap();
        echo.unwrap().join().unwrap();
    });
}

#[test]
fn f20_no_wake_is_lost_on_one_worker() {
    ping_pong(1, 0, 0, rounds(100_000, 10_000_000));
}

#[test]
fn f20_no_wake_is_lost_between_two_workers() {
    ping_pong(2, 0, 1, rounds(20_000, 10_000_000));
    ping_pong(2, 1, 0, rounds(20_000, 1_000_000));
}

#[test]
fn f20_no_wake_is_lost_between_a_fiber_and_a_thread() {
    for workers in [1, 2] {
        On::Fibers(workers).run(|_| {
            let (ping, pings) = channel::<u64>(0);
            let (pong, pongs) = channel::<u64>(0);
            let echo = thread::spawn(move || {
                for value in pings.iter() {
                    pong.send(value).unwrap();
                }
            });
            for i in 0..rounds(5_000, 1_000_000) {
                ping.send(i).unwrap();
                assert_eq!(pongs.recv(), Ok(i));
            }
            drop(ping);
            echo.join().unwrap();
        });
    }
}

/// Wakes that come just when the owner goes to sleep, for every length of nap.
#[test]
fn f20_no_wake_is_lost_when_the_owner_falls_asleep() {
    for workers in [1, 2] {
        On::Fibers(workers).run(|_| {
            let (tx, rx) = channel::<u64>(0);
            let count = rounds(500, 50_000);
            let sender = thread::spawn(move || {
                let mut rng = Rng::new(20);
                for i in 0..count {
                    let pause = match rng.below(20) {
                        0 => 25_000,
                        1..3 => 600,
                        _ => rng.below(60),
                    };
                    thread::sleep(Duration::from_micros(pause));
                    tx.send(i).unwrap();
                }
            });
            assert!(rx.iter().eq(0..count));
            sender.join().unwrap();
        });
    }
}
