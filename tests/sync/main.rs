//! Semaphore, Barrier, WaitGroup, Once and what Go says of its `sync`.
#![cfg(not(loom))]

mod barrier;
mod go_docs;
mod once;
mod once_cell;
mod semaphore;
mod unwinding;
mod wait_group;

use fibers_tests::{On, Task};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Starts `number` performers of which every other one is a plain thread, if the test itself runs on fibers.
fn mixed(on: On, number: usize) -> impl Iterator<Item = On> {
    (0..number).map(move |i| if i % 2 == 1 { On::Threads } else { on })
}

/// Under Miri to print a backtrace takes minutes, so there panics print nothing.
fn hush() {
    if cfg!(miri) {
        std::panic::set_hook(Box::new(|_| ()));
    }
}

/// As [`fibers_tests::panics_with`], but see [`hush`].
#[track_caller]
fn panics_with(message: &str, f: impl FnOnce()) {
    hush();
    fibers_tests::panics_with(message, f);
}

/// Joins them without blocking a worker in a thread's join: what the thread waits for may be a fiber of this worker.
#[track_caller]
fn join_all<T>(on: On, tasks: impl IntoIterator<Item = Task<T>>) -> Vec<T> {
    let joined = tasks.into_iter().map(|task| {
        on.eventually(|| task.is_finished());
        task.join()
    });
    joined.collect()
}

/// How many are inside at a time, and how many have been.
#[derive(Debug, Default)]
struct Inside {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Inside {
    fn enter(&self, n: usize) {
        let now = self.now.fetch_add(n, Ordering::SeqCst) + n;
        self.most.fetch_max(now, Ordering::SeqCst);
    }

    fn leave(&self, n: usize) {
        self.now.fetch_sub(n, Ordering::SeqCst);
    }

    fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }
}
