//! Synchronising variables: IVar, MVar, Mailbox, Broadcast, Watch, swap channels, and atomics that can be waited for.
#![cfg(not(loom))]

mod atomic;
mod broadcast;
mod ivar;
mod mailbox;
mod models;
mod mvar;
mod swap;
mod unwinding;
mod watch;

use fibers_tests::{On, Task};

/// Performers of both kinds: every third one is an OS thread, whoever the others are.
#[track_caller]
fn mixed<T: Send + 'static>(on: On, number: u64, f: impl FnOnce() -> T + Send + 'static) -> Task<T> {
    match number % 3 {
        2 => On::Threads.spawn(f),
        _ => on.spawn(f),
    }
}

/// Waits for all of them. To join a thread blocks a worker, so there that comes last.
#[track_caller]
fn join_all<T>(on: On, tasks: Vec<Task<T>>) -> Vec<T> {
    if on != On::Threads {
        on.eventually(|| tasks.iter().all(Task::is_finished));
    }
    tasks.into_iter().map(Task::join).collect()
}
