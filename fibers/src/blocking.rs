//! Running calls that block their thread, while the fiber that waits for them suspends.
//!
//! [`spawn_blocking`] starts a call on the pool and hands out its join; [`blocking_op`] is one call as an operation, and what the
//! file system is made of. A call that has begun cannot be stopped: whoever loses interest leaves it to itself.
#![expect(unsafe_code, reason = "the scheduler is promised that what a job runs may change threads")]

use crate::fiber::{Builder, JoinError, JoinHandle, OutcomeState, job};
use crate::op::cell::{Attempt, Me, Queue, RX_READY, Source};
use crate::op::event::Event;
use crate::op::leaf::{Leaf, Side};
use crate::op::{BoxOp, Branches, Graph, Op, Picker, event_op};
use crate::prim::Arc;
use crate::sched::{self, BlockingJob, WaitKind};
use std::fmt;
use std::io;
use std::panic::{Location, resume_unwind};

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
    start(f, Location::caller()).unwrap_or_else(|error| panic!("cannot run a blocking job: no thread could be started: {error}"))
}

#[track_caller]
fn start<F, T>(f: F, site: &'static Location<'static>) -> io::Result<JoinHandle<T>>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    // SAFETY: `F` and `T` are `Send` and `'static`.
    let job = unsafe { BlockingJob::new(Builder::new().spec(site), job(f)) };
    loop {
        if let Some(task) = job.submit()? {
            return Ok(JoinHandle::of_job(job.job(), task));
        }
        let room = Arc::new(Event::new());
        let theirs = room.clone();
        job.on_room(Box::new(move || theirs.set(None)));
        event_op(room, "room in the queue for blocking calls").perform();
    }
}

/// The operation that runs `f`, which may block its thread, on the pool of the runtime, and yields its result.
///
/// Performing it starts the call, and waits before that if the queue of the pool is full. If another branch wins, a call that has
/// not begun is cancelled; one that has begun runs to its end, and its result is dropped there. So a race with it is meaningful for
/// calls whose effect does not matter: for reading, asking, looking up.
///
/// On a plain thread, outside of any runtime, there is no pool: `f` blocks the thread, before any other branch is looked at.
///
/// # Errors
/// The operation yields an error if the system gives no thread although the pool has none, or the runtime has ended.
///
/// # Panics
/// Performing it panics if `f` does, with the same payload.
///
/// ```
/// use fibers::{Op, blocking_op};
/// use std::time::Duration;
/// fibers::run(|| {
///     let slow = || std::thread::sleep(Duration::from_millis(200));
///     assert!(blocking_op(slow).timeout(Duration::from_millis(1)).perform().is_err());
///     assert_eq!(blocking_op(|| 6 * 7).perform().unwrap(), 42);
/// });
/// ```
#[track_caller]
pub fn blocking_op<F, T>(f: F) -> BlockingOp<F>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    BlockingOp {
        call: f,
        site: Location::caller(),
    }
}

/// Makes a call that fails with `io::Error` on the pool; on a plain thread right here.
#[track_caller]
pub(crate) fn call<T: Send + 'static>(f: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    blocking_op(f).perform().flatten()
}

/// The operation of [`call`]. Boxed, since a nameless type would count as borrowing the path that it was made from.
#[track_caller]
pub(crate) fn call_op<T: Send + 'static>(f: impl FnOnce() -> io::Result<T> + Send + 'static) -> BoxOp<'static, io::Result<T>> {
    blocking_op(f).wrap(Result::flatten).boxed()
}

/// See [`blocking_op`].
#[derive(Clone)]
#[must_use = "an operation does nothing until it is performed"]
pub struct BlockingOp<F> {
    call: F,
    site: &'static Location<'static>,
}

impl<F> fmt::Debug for BlockingOp<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockingOp").field("site", &self.site).finish_non_exhaustive()
    }
}

impl<F, T> Op for BlockingOp<F>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    type Output = io::Result<T>;
    type Branches = BlockingBranches<T>;

    fn force(self) -> BlockingBranches<T> {
        if sched::here().is_none() {
            return BlockingBranches::Known(Some(Ok((self.call)())));
        }
        match start(self.call, self.site) {
            Ok(handle) => BlockingBranches::Called(Leaf::new(Called(handle), None)),
            Err(error) => BlockingBranches::Known(Some(Err(error))),
        }
    }

    fn graph(&self) -> Graph {
        Graph::leaf(format!("blocking call, made at {}", self.site))
    }
}

/// A call that is under way, or whose result is known from the beginning.
#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub enum BlockingBranches<T> {
    Called(Leaf<Called<T>>),
    Known(Option<io::Result<T>>),
}

impl<T> Branches for BlockingBranches<T> {
    type Output = io::Result<T>;

    fn leaves(&self) -> usize {
        1
    }

    fn pick(&self, picker: &mut Picker) {
        match self {
            BlockingBranches::Called(leaf) => leaf.pick(picker),
            BlockingBranches::Known(_) => picker.leaf(true),
        }
    }

    fn attempt(&self, leaf: usize, me: &mut Me<'_>) -> Attempt {
        match self {
            BlockingBranches::Called(called) => called.attempt(leaf, me),
            BlockingBranches::Known(_) if me.commit() => Attempt::Done(None),
            BlockingBranches::Known(_) => Attempt::Lost,
        }
    }

    fn publish(&self, leaf: usize, me: &mut Me<'_>) -> Attempt {
        match self {
            BlockingBranches::Called(called) => called.publish(leaf, me),
            BlockingBranches::Known(_) => self.attempt(leaf, me),
        }
    }

    fn retract(&self, leaf: usize) {
        if let BlockingBranches::Called(called) = self {
            called.retract(leaf);
        }
    }

    fn leave(&self, leaf: usize) {
        if let BlockingBranches::Called(called) = self {
            called.leave(leaf);
        }
    }

    fn abandon(&mut self, _: Option<usize>) {}

    fn finish(&mut self, leaf: usize) -> io::Result<T> {
        match self {
            BlockingBranches::Called(called) => called.finish(leaf),
            BlockingBranches::Known(result) => result.take().expect("finished once"),
        }
    }

    fn kind(&self) -> WaitKind {
        WaitKind::Io
    }

    fn graph(&self) -> Graph {
        Graph::leaf("blocking call")
    }
}

/// Waits for the end of a call that it owns: one that has not begun when this goes never will.
#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct Called<T>(JoinHandle<T>);

impl<T> Drop for Called<T> {
    fn drop(&mut self) {
        if !self.0.is_finished() {
            self.0.cancel();
        }
    }
}

impl<T> Side for Called<T> {
    type State = OutcomeState<T>;
    type Slot = Option<Result<T, JoinError>>;
    type Output = io::Result<T>;

    const READY: u32 = RX_READY;
    const KIND: WaitKind = WaitKind::Io;

    fn source(&self) -> &Source<OutcomeState<T>> {
        self.0.outcome().source()
    }

    fn attempt(&self, state: &mut OutcomeState<T>, slot: &mut Self::Slot, me: &mut Me<'_>) -> Attempt {
        if !state.has_ended() {
            return Attempt::Wait;
        }
        if !me.commit() {
            return Attempt::Lost;
        }
        *slot = Some(state.take());
        Attempt::Done(None)
    }

    fn queue(state: &mut OutcomeState<T>) -> &mut Queue<Self::Slot> {
        &mut state.waiters
    }

    fn output(&mut self, slot: &mut Self::Slot) -> io::Result<T> {
        let result = slot.take().expect("a call that was decided has its result");
        result.map_err(|error| match error.try_into_panic() {
            Ok(payload) => resume_unwind(payload),
            Err(_) => io::Error::other("the runtime has ended before the call was made"),
        })
    }

    fn graph(&self) -> Graph {
        Graph::leaf("blocking call")
    }
}
