//! A counted handle to a fiber of unknown type, and the jobs of the blocking pool.
#![expect(unsafe_code, reason = "the handle counts a reference to the fiber's block")]

use std::cell::Cell;
use std::io;
use std::ptr::NonNull;
use std::sync::Arc;

use super::blocking::{Pool, Refused};
use super::current;
use super::task::{Body, FiberRef, Spec, Task};

/// A reference to a fiber's block, or to a job's, whatever its body is.
///
/// Whether it may go to another thread depends on the body, so whoever wraps it decides.
#[derive(Debug)]
pub(crate) struct TaskHandle {
    task: NonNull<Task>,
    pool: Option<Arc<Pool>>,
}

impl TaskHandle {
    fn task(&self) -> &Task {
        // SAFETY: the handle's reference keeps the block alive.
        unsafe { self.task.as_ref() }
    }

    pub(crate) fn id(&self) -> u64 {
        self.task().id
    }

    pub(crate) fn name(&self) -> Option<&str> {
        self.task().name()
    }

    /// Takes a job back that waits in the pool's queue, and ends it as cancelled.
    pub(crate) fn cancel_blocking(&self) -> bool {
        let taken = self.pool.as_ref().is_some_and(|pool| pool.try_cancel(self.task));
        if taken {
            // SAFETY: the pool has given the job up without running it, so this is its only run.
            unsafe { self.task().run(true) };
        }
        taken
    }
}

impl Drop for TaskHandle {
    fn drop(&mut self) {
        // SAFETY: the handle's own reference.
        unsafe { Task::release(self.task) }
    }
}

impl<B> FiberRef<B> {
    /// Forgets what the fiber runs.
    pub(crate) fn erase(self) -> TaskHandle {
        TaskHandle {
            task: self.into_task(),
            pool: None,
        }
    }
}

/// A job for the blocking pool of the current runtime that has not been accepted yet. Dropped before that, it is cancelled.
pub(crate) struct BlockingJob<B: Body + 'static> {
    job: FiberRef<B>,
    pool: Arc<Pool>,
    /// The run, and the reference that belongs to it, are somebody else's.
    given_away: Cell<bool>,
}

impl<B: Body + 'static> BlockingJob<B> {
    /// Makes the job.
    ///
    /// # Panics
    /// Outside of a runtime.
    ///
    /// # Safety
    /// The body may be sent to another thread.
    #[track_caller]
    pub(crate) unsafe fn new(spec: Spec, body: B) -> Self {
        let Some(here) = current::here() else {
            panic!("spawn_blocking was called outside of a runtime: call it inside fibers::run(..) or Runtime::run(..)")
        };
        BlockingJob {
            job: here.job(spec, body),
            pool: here.pool().clone(),
            given_away: Cell::new(false),
        }
    }

    /// Hands the job to the pool. `None`: its queue is full; see [`BlockingJob::on_room`]. A pool whose runtime has ended
    /// cancels the job.
    ///
    /// # Errors
    /// If there is no thread that would run it, now or later.
    pub(crate) fn submit(&self) -> io::Result<Option<TaskHandle>> {
        // SAFETY: `new` asked for a body that may be sent, and a job that was accepted is not submitted again.
        match unsafe { self.pool.submit(&self.job) } {
            Err(Refused::Full) => return Ok(None),
            Err(Refused::NoThread(errno)) => return Err(io::Error::from_raw_os_error(errno)),
            Ok(()) => {}
            Err(Refused::Closed) => self.cancel(),
        }
        self.given_away.set(true);
        Ok(Some(TaskHandle {
            task: self.job.clone().into_task(),
            pool: Some(self.pool.clone()),
        }))
    }

    /// Calls `call` once, from any thread, when the job may be submitted again.
    pub(crate) fn on_room(&self, call: Box<dyn FnOnce() + Send>) {
        self.pool.on_room(call);
    }

    pub(crate) fn job(&self) -> &B {
        &self.job
    }

    fn cancel(&self) {
        // SAFETY: nobody else runs a job that was not accepted; then the reference of the run is given back.
        unsafe {
            self.job.header().run(true);
            Task::release(self.job.task().0);
        }
    }
}

impl<B: Body + 'static> Drop for BlockingJob<B> {
    fn drop(&mut self) {
        if !self.given_away.get() {
            self.cancel();
        }
    }
}
