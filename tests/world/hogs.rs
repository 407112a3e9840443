//! Fibers that never suspend: what goes on beside them.

use crate::descriptors::{Reader, Writer, pipe};
use crate::tcp::{echo, pair, talk};
use fibers::fiber::Builder;
use fibers::{Op, Runtime, Stall, time};
use fibers_tests::{HANG, rounds, seed, watchdog};
use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

/// A fiber on worker 1 that never suspends until it is told to.
struct Hog {
    stop: Arc<AtomicBool>,
    fiber: Option<fibers::JoinHandle<()>>,
}

impl Hog {
    /// Returns when it has the worker.
    fn start() -> Hog {
        let (started, stop) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (starting, stopped) = (started.clone(), stop.clone());
        let fiber = Builder::new().name("hog").worker(1).spawn(move || {
            starting.store(true, Ordering::Release);
            while !stopped.load(Ordering::Acquire) {
                thread::yield_now();
            }
        });
        wait_for(|| started.load(Ordering::Acquire));
        let fiber = Some(fiber.unwrap());
        Hog { stop, fiber }
    }
}

impl Drop for Hog {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(fiber) = self.fiber.take() {
            fiber.join().unwrap();
        }
    }
}

/// Leaves the worker idle in between.
fn wait_for(cond: impl Fn() -> bool) {
    while !cond() {
        time::sleep(Duration::from_millis(1));
    }
}

/// Runs `test` as the main fiber, on worker 0 of two. Returns what the watchdog has reported.
fn beside_a_hog(test: impl FnOnce(&Mutex<Vec<Stall>>)) {
    watchdog(HANG, || {
        let stalls = Arc::new(Mutex::new(Vec::new()));
        let theirs = stalls.clone();
        let report = move |stall: &Stall| theirs.lock().unwrap().push(stall.clone());
        let builder = Runtime::builder().workers(2).seed(seed());
        let runtime = builder.watchdog_with(Duration::from_millis(20), report).build().unwrap();
        runtime.run(|| test(&stalls));
    });
}

#[test]
fn f40_the_other_worker_goes_on_and_the_hog_is_named() {
    beside_a_hog(|stalls| {
        let hog = Hog::start();
        let (near, far) = pair();
        let answering = Builder::new().worker(0).spawn(move || echo(&far)).unwrap();
        talk(&near, rounds(50, 5_000), 3);
        drop(near);
        answering.join().unwrap();
        let is_named = |stall: &Stall| (stall.name(), stall.worker()) == (Some("hog"), 1);
        wait_for(|| stalls.lock().unwrap().iter().any(is_named));
        drop(hog);
    });
}

/// A pipe that worker 1 watches.
fn watched_there() -> (Reader, Writer) {
    let (reader, writer) = pipe();
    let watched = reader.clone();
    let registering = Builder::new().worker(1).spawn(move || {
        let late = watched.read_op(&mut [0]).timeout(Duration::from_millis(1)).perform();
        assert!(late.is_err());
    });
    registering.unwrap().join().unwrap();
    (reader, writer)
}

/// Of two workers no one is idle, and one gets around to look at the poller of the other.
#[test]
fn f40_what_the_hogs_poller_watches_is_served_by_the_busy() {
    beside_a_hog(|_| {
        let (reader, writer) = watched_there();
        let hog = Hog::start();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let busy = Builder::new().worker(0).spawn(move || {
            while !stopped.load(Ordering::Acquire) {
                fibers::yield_now();
            }
        });
        let busy = busy.unwrap();
        fibers::yield_now();
        (0..rounds(10, 500)).for_each(|_| {
            let mut byte = [0];
            let writer = writer.clone();
            let writing = thread::spawn(move || {
                thread::sleep(Duration::from_millis(1));
                (&*writer).write_all(b"x")
            });
            assert_eq!((&*reader).read(&mut byte).unwrap(), 1);
            writing.join().unwrap().unwrap();
        });
        stop.store(true, Ordering::Release);
        busy.join().unwrap();
        drop(hog);
    });
}

/// An idle worker looks at the poller of one that does not come to it, at once and after it has slept for long.
#[test]
fn f40_what_the_hogs_poller_watches_is_served() {
    beside_a_hog(|_| {
        let (reader, writer) = watched_there();
        let hog = Hog::start();
        let (order, orders) = mpsc::channel::<Duration>();
        let writing = thread::spawn(move || {
            // The pause makes it likely that the reader waits when the byte comes; no matter if it does not.
            for pause in orders {
                thread::sleep(pause);
                (&*writer).write_all(b"x").unwrap();
            }
        });
        // Longer than a worker without work looks around before it sleeps.
        let long = Duration::from_millis(50);
        for i in 0..rounds(10, 500) {
            order.send(if i % 5 == 4 { long } else { long / 50 }).unwrap();
            assert_eq!((&*reader).read(&mut [0]).unwrap(), 1);
        }
        drop(order);
        writing.join().unwrap();
        drop(hog);
    });
}
