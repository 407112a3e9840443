//! Running calls that block their thread, while the fiber that waits for them suspends.
#![expect(unsafe_code, reason = "the scheduler is promised that what a job runs may change threads")]

use crate::fiber::{Builder, JoinHandle, job};
use crate::op::event::Event;
use crate::op::{Op, event_op};
use crate::prim::Arc;
use crate::sched::BlockingJob;
use std::panic::Location;

/// Runs `f`, which may block its thread, on a pool of threads; the fiber that joins it suspends meanwhile.
///
/// The pool and its queue are bounded (see the runtime's builder). While the queue is full, the caller waits. A job that has not
/// begun can be [cancelled](JoinHandle::cancel); one that has begun runs to its end, also when the runtime ends before.
///
/// # Panics
/// Outside of a runtime, and if the system gives no thread although the pool has none.
///
/// # Blocking
/// Suspends the fiber while the queue of the pool is full.
///
/// ```
/// fibers::run(|| {
///     let text = fibers::spawn_blocking(|| std::fs::read_to_string("Cargo.toml")).join().unwrap();
///     assert!(text.unwrap().contains("[package]"));
/// });
/// ```
#[track_caller]
pub fn spawn_blocking<F, T>(f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    // SAFETY: `F` and `T` are `Send` and `'static`.
    let job = unsafe { BlockingJob::new(Builder::new().spec(Location::caller()), job(f)) };
    loop {
        match job.submit() {
            Ok(Some(task)) => return JoinHandle::of_job(job.job(), task),
            Ok(None) => {}
            Err(error) => panic!("cannot run a blocking job: no thread could be started: {error}"),
        }
        let room = Arc::new(Event::new());
        let theirs = room.clone();
        job.on_room(Box::new(move || theirs.set(None)));
        event_op(room, "room in the queue for blocking calls").perform();
    }
}
