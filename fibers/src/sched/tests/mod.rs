//! Tests of the scheduler by itself: with bodies and events made by hand, since the floors above are not used here.
#![expect(unsafe_code, reason = "the tests stand where the operations will stand")]

mod basics;
mod batches;
mod children;
mod ends;
mod placing;
mod workers;

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::*;

/// A body that runs a closure and forgets its result. A panic is noted.
pub(super) struct Job<F> {
    closure: Cell<Option<F>>,
    pub(super) done: Arc<Done>,
}

// SAFETY: the closure is taken by whoever runs the body, once.
unsafe impl<F: Send> Sync for Job<F> {}

/// How a job has ended.
#[derive(Default, Debug)]
pub(super) struct Done {
    pub(super) event: Event,
    pub(super) panicked: AtomicBool,
    pub(super) unwound: AtomicBool,
    pub(super) cancelled: AtomicBool,
}

impl<F: FnOnce()> Body for Job<F> {
    fn run(&self, cancelled: bool) {
        let closure = self.closure.take();
        if cancelled {
            self.done.cancelled.store(true, Ordering::SeqCst);
            drop(closure);
        } else if let Some(closure) = closure
            && let Err(payload) = catch_unwind(AssertUnwindSafe(closure))
        {
            let which = if is_unwind(&*payload) {
                &self.done.unwound
            } else {
                &self.done.panicked
            };
            which.store(true, Ordering::SeqCst);
        }
        self.done.event.signal();
    }
}

pub(super) fn job<F: FnOnce()>(f: F) -> Job<F> {
    Job {
        closure: Cell::new(Some(f)),
        done: Arc::default(),
    }
}

#[track_caller]
pub(super) fn spec(place: Place) -> Spec {
    Spec::new(place, Location::caller())
}

#[track_caller]
pub(super) fn go(f: impl FnOnce() + Send + 'static) -> Arc<Done> {
    go_to(Place::Auto, f)
}

#[track_caller]
pub(super) fn go_to(place: Place, f: impl FnOnce() + Send + 'static) -> Arc<Done> {
    let job = job(f);
    let done = job.done.clone();
    // SAFETY: the closure is `Send`.
    unsafe { spawn(spec(place), job) }.expect("there are stacks");
    done
}

struct Nothing(&'static str);

impl Report for Nothing {
    fn report(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Parks until somebody calls `ready`.
pub(super) fn park_as(kind: WaitKind) -> Resumed {
    here().expect("on a fiber").park(Wait {
        kind,
        report: &Nothing("an event of a test"),
    })
}

/// Counts signals; each lets one waiter pass, first come, first served.
#[derive(Default, Debug)]
pub(super) struct Event {
    state: Mutex<(usize, VecDeque<TaskRef>)>,
}

impl Event {
    pub(super) fn signal(&self) {
        let mut state = self.state.lock().unwrap();
        let waiter = state.1.pop_front();
        if waiter.is_none() {
            state.0 += 1;
        }
        drop(state);
        if let Some(task) = waiter {
            // SAFETY: it has been taken out of the queue under the lock, by this call alone.
            unsafe { ready(task) };
        }
    }

    pub(super) fn wait(&self) {
        self.wait_as(WaitKind::Other);
    }

    pub(super) fn wait_as(&self, kind: WaitKind) {
        let here = here().expect("on a fiber");
        let mut state = self.state.lock().unwrap();
        if state.0 > 0 {
            state.0 -= 1;
            return;
        }
        state.1.push_back(here.task());
        drop(state);
        loop {
            let resumed = park_as(kind);
            if resumed == Resumed::Ready {
                return;
            }
            let mut state = self.state.lock().unwrap();
            if let Some(at) = state.1.iter().position(|&task| task == here.task()) {
                state.1.remove(at);
                drop(state);
                match resumed {
                    Resumed::Deadlock => deadlock(),
                    _ => unwind(),
                }
            }
        }
    }

    /// For plain threads.
    pub(super) fn wait_blocking(&self) {
        let began = Instant::now();
        loop {
            let mut state = self.state.lock().unwrap();
            if state.0 > 0 {
                state.0 -= 1;
                return;
            }
            drop(state);
            assert!(began.elapsed() < Duration::from_secs(60), "nobody signals");
            std::thread::yield_now();
        }
    }
}

pub(super) fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).build().expect("a runtime")
}

/// Ends the process if the test has not ended by then.
pub(super) struct Watchdog(Arc<AtomicBool>);

pub(super) fn watchdog(seconds: u64) -> Watchdog {
    let over = Arc::new(AtomicBool::new(false));
    let name = std::thread::current().name().unwrap_or("?").to_string();
    let dog = Watchdog(over.clone());
    std::thread::spawn(move || {
        let began = Instant::now();
        while !over.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(20));
            if began.elapsed() > Duration::from_secs(seconds) {
                eprintln!("watchdog: {name} hangs");
                std::process::abort();
            }
        }
    });
    dog
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
