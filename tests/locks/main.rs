//! Mutex, RwLock and Condvar.
#![cfg(not(loom))]

mod condvar;
mod go_docs;
mod mutex;
mod rwlock;
mod unwinding;

use fibers_tests::{Counter, On, Task};

/// As there; under Miri, which knows no fibers, not at all.
fn on_workers(workers: &[usize], test: impl Fn(On)) {
    if !cfg!(miri) {
        fibers_tests::on_workers(workers, test);
    }
}

/// Starts a performer, and returns when it is about to do the first thing of `f`. Between fibers of one worker, it waits for that by
/// then, if it has to wait.
fn waits<T: Send + 'static>(on: On, f: impl FnOnce() -> T + Send + 'static) -> Task<T> {
    let coming = Counter::default();
    let begun = coming.clone();
    let task = on.spawn(move || {
        begun.add();
        f()
    });
    on.eventually(|| coming.get() == 1);
    task
}
