//! The pool for calls that block the thread: files, names, foreign libraries.
//!
//! A job is a block like a fiber's, but its body runs on a plain thread. Threads are made on demand, up to a limit, and
//! leave after a while without a job. The queue is bounded; a job in it can be taken back. Nobody on a worker ever
//! waits here: who finds the queue full leaves a callback that is called once when there is room.
//!
//! A job that has begun cannot be stopped. The end of the runtime does not wait for it: the thread leaves when it is done.
#![expect(unsafe_code, reason = "jobs are handled through pointers")]

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::task::{Body, FiberRef, Task};
use crate::prim::plain::{AtomicUsize, Ordering};
use crate::sys;

/// How long a thread waits for another job, unless the builder says otherwise.
pub(super) const LINGER: Duration = Duration::from_secs(10);

/// What the pool for blocking calls is doing, at one moment: see [`Handle::blocking_pool`](super::Handle::blocking_pool).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlockingPool {
    /// Its threads. They are made when they are needed, and end after a while without a call.
    pub threads: usize,
    /// Those of them that wait for a call.
    pub idle: usize,
    /// Calls that have begun and not ended.
    pub running: usize,
    /// Calls that wait for a thread.
    pub queued: usize,
}

/// A job in the queue. Owns the reference that a fiber would hold.
struct Job(NonNull<Task>);

// SAFETY: `submit` asks for bodies that may be run on another thread.
unsafe impl Send for Job {}

impl Job {
    fn run(self, cancelled: bool) {
        // SAFETY: out of the queue, so this is the only run.
        unsafe { self.0.as_ref().run(cancelled) };
        // A result that nobody wants may panic when it is dropped: the hook has reported that, and the thread goes on.
        // SAFETY: the reference of the run.
        let _ = catch_unwind(AssertUnwindSafe(|| unsafe { Task::release(self.0) }));
    }
}

type Callback = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    /// Called when there is room again.
    wanting_room: Vec<Callback>,
    threads: usize,
    idle: usize,
    running: usize,
    closed: bool,
}

/// Why a job was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The queue is full: see [`Pool::on_room`].
    Full,
    /// The runtime has ended.
    Closed,
    /// There is no thread, and the system gives none, for this reason (`errno`).
    NoThread(i32),
}

/// The threads for blocking calls of one runtime.
pub(crate) struct Pool {
    state: Mutex<State>,
    work: Condvar,
    max_threads: usize,
    max_queue: usize,
    linger: Duration,
    /// Threads that exist, for those who count threads without the lock.
    threads: AtomicUsize,
    /// Jobs in the queue and running.
    jobs: AtomicUsize,
}

impl Pool {
    pub(super) fn new(max_threads: usize, max_queue: usize, linger: Duration) -> Arc<Pool> {
        Arc::new(Pool {
            state: Mutex::default(),
            work: Condvar::new(),
            max_threads,
            max_queue,
            linger,
            threads: AtomicUsize::new(0),
            jobs: AtomicUsize::new(0),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a job. The handle's own reference is the caller's, the run has another one.
    ///
    /// # Errors
    /// The job comes back, never to be run by the pool, if the queue is full or closed, or nobody would ever serve it.
    ///
    /// # Safety
    /// The body is `Send`, and the job was made by [`Here::job`](super::Here::job) and not submitted with
    /// success before.
    pub(crate) unsafe fn submit<B: Body>(self: &Arc<Self>, job: &FiberRef<B>) -> Result<(), Refused> {
        let mut state = self.lock();
        if state.closed {
            return Err(Refused::Closed);
        }
        if state.queue.len() >= self.max_queue + state.idle {
            return Err(Refused::Full);
        }
        let grow = state.idle <= state.queue.len() && state.threads < self.max_threads;
        if grow
            && let Err(error) = self.add_thread(&mut state)
            && state.threads == 0
        {
            return Err(Refused::NoThread(error.raw_os_error().unwrap_or(libc::EAGAIN)));
        }
        state.queue.push_back(Job(job.task().0));
        self.jobs.fetch_add(1, Ordering::Relaxed);
        drop(state);
        self.work.notify_one();
        Ok(())
    }

    fn add_thread(self: &Arc<Self>, state: &mut State) -> io::Result<()> {
        let pool = self.clone();
        sys::spawn_thread("fibers-blocking".into(), move || pool.serve())?;
        state.threads += 1;
        self.threads.store(state.threads, Ordering::Relaxed);
        Ok(())
    }

    /// Takes a job back that has not begun. If this returns true it never will; the caller may then run it as cancelled.
    pub(crate) fn try_cancel(&self, job: NonNull<Task>) -> bool {
        let mut state = self.lock();
        let Some(at) = state.queue.iter().position(|queued| queued.0 == job) else {
            return false;
        };
        let taken = state.queue.remove(at);
        self.jobs.fetch_sub(1, Ordering::Relaxed);
        let wanting = self.room(&mut state);
        drop(state);
        if let Some(job) = taken {
            // SAFETY: the reference of the run, which will not be. The caller has another one.
            unsafe { Task::release(job.0) };
        }
        wanting.into_iter().for_each(|call| call());
        true
    }

    /// Calls `call` once, on any thread, when a refused job may be tried again; at once if that is now.
    pub(crate) fn on_room(&self, call: Callback) {
        let mut state = self.lock();
        if state.closed || state.queue.len() < self.max_queue + state.idle {
            drop(state);
            return call();
        }
        state.wanting_room.push(call);
    }

    fn room(&self, state: &mut State) -> Vec<Callback> {
        std::mem::take(&mut state.wanting_room)
    }

    /// Whether no job is queued or running.
    pub(super) fn is_idle(&self) -> bool {
        self.jobs.load(Ordering::SeqCst) == 0
    }

    pub(super) fn threads(&self) -> usize {
        self.threads.load(Ordering::Relaxed)
    }

    pub(super) fn state(&self) -> BlockingPool {
        let state = self.lock();
        BlockingPool {
            threads: state.threads,
            idle: state.idle,
            running: state.running,
            queued: state.queue.len(),
        }
    }

    /// What each thread of the pool does.
    fn serve(&self) {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.queue.pop_front() {
                state.running += 1;
                let wanting = self.room(&mut state);
                drop(state);
                wanting.into_iter().for_each(|call| call());
                job.run(false);
                // After the run: whoever it woke is in a queue, so nobody takes the runtime for dead in between.
                self.jobs.fetch_sub(1, Ordering::SeqCst);
                state = self.lock();
                state.running -= 1;
                continue;
            }
            if state.closed {
                break;
            }
            state.idle += 1;
            let (guard, waited) = self
                .work
                .wait_timeout(state, self.linger)
                .unwrap_or_else(PoisonError::into_inner);
            state = guard;
            state.idle -= 1;
            if waited.timed_out() && state.queue.is_empty() {
                break;
            }
        }
        state.threads -= 1;
        self.threads.store(state.threads, Ordering::Relaxed);
    }

    /// Cancels what is queued and refuses what comes. Threads that are in a job leave when it is done.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let queued = std::mem::take(&mut state.queue);
        self.jobs.fetch_sub(queued.len(), Ordering::Relaxed);
        let wanting = self.room(&mut state);
        drop(state);
        self.work.notify_all();
        queued.into_iter().for_each(|job| job.run(true));
        wanting.into_iter().for_each(|call| call());
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Pool")
            .field("threads", &state.threads)
            .field("running", &state.running)
            .field("queued", &state.queue.len())
            .finish_non_exhaustive()
    }
}
