//! The watchdog: who holds a worker for too long is named, and nobody else.

use fibers::fault::{Call, Fault, scoped};
use fibers::fiber::Builder;
use fibers::{Runtime, Stall, channel, no_suspend, sleep, spawn, yield_now};
use fibers_tests::{Counter, Drops, HANG, seed, subprocess, watchdog};
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const LIMIT: Duration = Duration::from_millis(20);

/// A runtime that keeps what its watchdog says.
fn watched(workers: usize) -> (Runtime, Arc<Mutex<Vec<Stall>>>) {
    let stalls = Arc::new(Mutex::new(Vec::new()));
    let theirs = stalls.clone();
    let runtime = Runtime::builder()
        .workers(workers)
        .seed(seed())
        .watchdog_with(LIMIT, move |stall| theirs.lock().unwrap().push(stall.clone()));
    (runtime.build().unwrap(), stalls)
}

/// Never suspends until `cond` holds.
fn spin_until(cond: impl Fn() -> bool) {
    while !cond() {
        std::hint::spin_loop();
    }
}

#[test]
fn f40_a_fiber_that_spins_is_named_once_and_again_when_the_time_has_doubled() {
    for workers in [1, 2] {
        watchdog(HANG, || {
            let (runtime, stalls) = watched(workers);
            let seen = stalls.clone();
            let (id, line) = runtime.run(|| {
                let hog = Builder::new().name("hog").worker(workers - 1);
                #[rustfmt::skip] // one line
                let (hog, line) = (hog.spawn(move || spin_until(|| seen.lock().unwrap().len() == 2)), line!());
                let hog = hog.unwrap();
                let id = hog.id();
                hog.join().unwrap();
                (id, line)
            });
            drop(runtime);
            let stalls = stalls.lock().unwrap();
            for stall in &stalls[..2] {
                assert_eq!((stall.fiber(), stall.name(), stall.worker()), (id, Some("hog"), workers - 1));
                let site = stall.spawned_at().unwrap();
                assert_eq!((site.file(), site.line()), (file!(), line));
                assert!(stall.lasted() >= LIMIT, "{stall}");
            }
            assert!(stalls[1].lasted() >= 2 * LIMIT, "{stalls:?}");
        });
    }
}

#[test]
fn the_main_fiber_is_named_as_such() {
    watchdog(HANG, || {
        let (runtime, stalls) = watched(1);
        runtime.run(|| spin_until(|| !stalls.lock().unwrap().is_empty()));
        let stall = stalls.lock().unwrap().remove(0);
        assert_eq!((stall.spawned_at(), stall.name()), (None, Some("main")));
        assert!(stall.to_string().contains("'main' (main) has held worker 0 for "), "{stall}");
    });
}

/// One that went on after others is named, not the one before it, and each as it is called.
#[test]
fn the_one_that_goes_on_is_named() {
    watchdog(HANG, || {
        let (runtime, stalls) = watched(1);
        runtime.run(|| {
            for round in 0..6 {
                let before = stalls.lock().unwrap().len();
                let seen = stalls.clone();
                let name = ["", "a name that is longer than the room there is for names"][round % 2];
                let mut hog = Builder::new();
                if !name.is_empty() {
                    hog = hog.name(name);
                }
                let quiet: Vec<_> = (0..4).map(|_| spawn(|| (0..20).for_each(|_| yield_now()))).collect();
                let hog = hog.spawn(move || {
                    (0..round).for_each(|_| yield_now());
                    spin_until(|| seen.lock().unwrap().len() > before);
                });
                let hog = hog.unwrap();
                let id = hog.id();
                hog.join().unwrap();
                quiet.into_iter().for_each(|fiber| fiber.join().unwrap());
                let stall = stalls.lock().unwrap()[before].clone();
                assert_eq!(stall.fiber(), id, "{stall}");
                let called = stall.name().unwrap_or_default();
                assert!(
                    name.starts_with(called.trim_end_matches("..")) && called.is_empty() == name.is_empty(),
                    "{stall}"
                );
            }
        });
    });
}

#[test]
fn idle_and_well_behaved_runtimes_are_left_alone() {
    watchdog(HANG, || {
        for workers in [1, 2] {
            let (runtime, stalls) = watched(workers);
            for _ in 0..2 {
                runtime.run(|| {
                    let stop = Arc::new(AtomicBool::new(false));
                    let others: Vec<_> = (0..4)
                        .map(|i| {
                            let stop = stop.clone();
                            spawn(move || {
                                while !stop.load(Ordering::Relaxed) {
                                    match i {
                                        0 => sleep(LIMIT / 10),
                                        _ => yield_now(),
                                    }
                                }
                            })
                        })
                        .collect();
                    sleep(3 * LIMIT);
                    stop.store(true, Ordering::Relaxed);
                    others.into_iter().for_each(|fiber| fiber.join().unwrap());
                    // Nobody is left but the main fiber, which is parked.
                    sleep(4 * LIMIT);
                });
                std::thread::sleep(2 * LIMIT); // between two runs
            }
            let stalls = stalls.lock().unwrap();
            assert!(stalls.is_empty(), "{stalls:?}");
        }
    });
}

/// The function may do what a plain thread may: here it ends the stall.
#[test]
fn the_report_may_wake_fibers_and_panic() {
    watchdog(HANG, || {
        let (tx, rx) = channel(0);
        let told = Counter::default();
        let count = told.clone();
        let runtime = Runtime::builder().workers(1).watchdog_with(LIMIT, move |stall| {
            count.add();
            if tx.send(stall.fiber()).is_err() || count.get() == 1 {
                fibers_tests::quiet_panic("a report fails");
            }
        });
        runtime.build().unwrap().run(|| {
            for round in 0..2 {
                no_suspend(|| spin_until(|| told.get() > round));
                assert_eq!(rx.recv(), Ok(fibers::current().id()));
            }
            drop(rx);
        });
    });
}

#[test]
fn it_stops_with_its_runtime() {
    let drops = Drops::default();
    for run in [false, true] {
        let value = drops.make(());
        let runtime = Runtime::builder()
            .workers(1)
            .watchdog_with(Duration::from_secs(3600), move |_| drop(value.clone()));
        let runtime = runtime.build().unwrap();
        if run {
            runtime.run(|| spawn(|| ()).join().unwrap());
        }
        let handle = runtime.handle();
        drop(runtime);
        drop(handle);
        assert_eq!(drops.live(), 0, "its thread has ended");
    }
}

#[test]
fn it_is_an_error_if_it_cannot_be_started_or_has_no_patience() {
    let _fault = scoped(Call::Thread, Fault::always(libc::EAGAIN));
    let error = Runtime::builder().workers(1).watchdog(LIMIT).build().unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("the thread of the watchdog could not be started"),
        "{error}"
    );
    let error = Runtime::builder().workers(1).watchdog(Duration::ZERO).build().unwrap_err();
    assert!(error.to_string().contains("longer than zero"), "{error}");
}

/// Gives the process another standard error output, and ends the process when something has been written there: with what was, on
/// the old one.
#[expect(unsafe_code, reason = "descriptors are exchanged")]
fn exit_after_a_report() {
    // SAFETY: plain calls on descriptors of this process, each of which is owned by one `File` afterwards.
    let (mut real, mut caught) = unsafe {
        let real = File::from_raw_fd(libc::dup(2));
        let caught = File::from_raw_fd(libc::memfd_create(c"stderr".as_ptr(), 0));
        assert_eq!(libc::dup2(caught.as_raw_fd(), 2), 2);
        (real, caught)
    };
    std::thread::spawn(move || {
        while caught.metadata().unwrap().len() == 0 {
            std::thread::yield_now();
        }
        let mut text = String::new();
        caught.rewind().unwrap();
        caught.read_to_string(&mut text).unwrap();
        real.write_all(text.as_bytes()).unwrap();
        std::process::exit(0);
    });
}

/// The report of a child that ends with it.
#[track_caller]
fn report_of(test: &str, child: impl FnOnce()) -> String {
    let output = subprocess(test, || {
        exit_after_a_report();
        child();
    });
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

const SPAWNED: &str = "context/watchdog.rs:";

#[test]
fn f40_a_hog_is_reported_on_standard_error() {
    let report = report_of("watchdog::f40_a_hog_is_reported_on_standard_error", || {
        let runtime = Runtime::builder().workers(2).watchdog(LIMIT).build().unwrap();
        runtime.run(|| {
            let hog = Builder::new().name("hog").worker(1).spawn(|| spin_until(|| false));
            let waits = Builder::new().name("waits").worker(1).spawn(|| ());
            waits.unwrap().join().unwrap();
            drop(hog);
        });
    });
    assert!(
        report.contains("stall: fiber ") && report.contains(" 'hog', spawned at "),
        "{report}"
    );
    assert!(
        report.contains(SPAWNED) && report.contains(", has held worker 1 for "),
        "{report}"
    );
}

#[test]
fn f14_a_std_mutex_held_across_a_suspension() {
    let report = report_of("watchdog::f14_a_std_mutex_held_across_a_suspension", || {
        let runtime = Runtime::builder().workers(1).watchdog(LIMIT).build().unwrap();
        runtime.run(|| {
            let (lock, (locked, is_locked), (tx, rx)) = (Arc::new(Mutex::new(0)), channel(1), channel(0));
            let theirs = lock.clone();
            let holder = Builder::new().name("holder").spawn(move || {
                let mut guard = theirs.lock().unwrap();
                locked.send(()).unwrap();
                *guard += rx.recv().unwrap();
            });
            is_locked.recv().unwrap();
            let victim = Builder::new().name("victim").spawn(move || *lock.lock().unwrap());
            let (holder, victim) = (holder.unwrap(), victim.unwrap());
            victim.join().unwrap(); // never
            tx.send(1).unwrap();
            holder.join().unwrap();
        });
    });
    assert!(
        report.contains(" 'victim', spawned at ") && report.contains(SPAWNED),
        "{report}"
    );
    assert!(report.contains(", has held worker 0 for "), "{report}");
}
