//! Fibers as users see them: spawning with options, the handle to join, the current fiber.
//!
//! A fiber's block holds the scheduler's header and a `Job`: the closure until it runs, the result until somebody takes it. So
//! a spawn is one allocation, and a join handle is a counted pointer to the block.
#![expect(
    unsafe_code,
    reason = "the closure and the result lie in the fiber's block, reached through erased pointers"
)]

use crate::op::cell::{Batch, Locked, Queue, RX_READY, Source, State};
use crate::sched::{self, Body, FiberRef, Handle, Place, Spec, TaskHandle};
use std::any::Any;
use std::borrow::Cow;
use std::cell::Cell;
use std::error::Error;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::mem;
use std::panic::{self, AssertUnwindSafe, Location};
use std::ptr::NonNull;
use std::sync::{Mutex, PoisonError};

pub use crate::local::{AccessError, LocalKey};
pub use crate::sched::{Fiber, current, yield_now};

/// What a fiber runs, and what became of it.
pub(crate) struct Job<F, T> {
    outcome: Outcome<T>,
    closure: Cell<Option<F>>,
}

// SAFETY: the closure is touched by the fiber alone; the outcome is a source behind its lock. That `F` and `T` may come to the
// fiber's worker is what the callers of `sched::spawn` guarantee.
unsafe impl<F, T> Sync for Job<F, T> {}

impl<F: FnOnce() -> T, T> Body for Job<F, T> {
    fn run(&self, cancelled: bool) {
        self.outcome.complete(self.call(cancelled));
    }

    fn abandon(&self) {
        // It may have had its result already, and have been given up in a destructor of its fiber-locals.
        if !self.outcome.source.peek(RX_READY) {
            self.outcome.complete(Err(JoinError(Why::Cancelled)));
        }
    }
}

impl<F: FnOnce() -> T, T> Job<F, T> {
    /// Runs the closure, or drops it. It is gone when this returns.
    #[inline(always)]
    pub(crate) fn call(&self, cancelled: bool) -> Result<T, JoinError> {
        let closure = self.closure.take();
        let result = panic::catch_unwind(AssertUnwindSafe(|| match cancelled {
            true => Err(JoinError(Why::Cancelled)),
            false => Ok(closure.expect("a fiber runs once")()),
        }));
        result.unwrap_or_else(|payload| Err(JoinError::from_panic(payload)))
    }
}

impl<F, T> Job<F, T> {
    /// Hands the result to whoever waits for it, or will.
    pub(crate) fn complete(&self, result: Result<T, JoinError>) {
        self.outcome.complete(result);
    }

    /// Leaves the closure as it is, for ever: not even its destructor runs.
    pub(crate) fn forget_closure(&self) {
        mem::forget(self.closure.take());
    }

    pub(crate) fn outcome(&self) -> &Outcome<T> {
        &self.outcome
    }
}

/// Where the result of a fiber waits for its join.
pub(crate) struct Outcome<T> {
    source: Source<OutcomeState<T>>,
}

/// What the lock of an outcome guards.
#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct OutcomeState<T> {
    stage: Stage<T>,
    pub(crate) waiters: Queue<Option<Result<T, JoinError>>>,
}

/// How far a fiber has come.
enum Stage<T> {
    Running {
        /// Somebody waits for the end without wanting the result: then all who wait are told to look for themselves.
        watched: bool,
    },
    Ended(Result<T, JoinError>),
    /// It has ended, and somebody has the result.
    Taken,
}

impl<T> State for OutcomeState<T> {
    #[inline]
    fn readiness(&self) -> u32 {
        if self.has_ended() { RX_READY } else { 0 }
    }
}

impl<T> OutcomeState<T> {
    #[inline]
    pub(crate) fn has_ended(&self) -> bool {
        !matches!(self.stage, Stage::Running { .. })
    }

    /// Has those who wait look again when the fiber ends. False if it has ended.
    pub(crate) fn watch(&mut self) -> bool {
        match &mut self.stage {
            Stage::Running { watched } => {
                *watched = true;
                true
            }
            _ => false,
        }
    }

    /// The result of a fiber that has ended, for the first who asks.
    #[inline]
    pub(crate) fn take(&mut self) -> Result<T, JoinError> {
        match mem::replace(&mut self.stage, Stage::Taken) {
            Stage::Ended(result) => result,
            _ => Err(JoinError(Why::Taken)),
        }
    }
}

impl<T> Outcome<T> {
    #[inline]
    fn new() -> Self {
        Outcome {
            source: Source::new(OutcomeState {
                stage: Stage::Running { watched: false },
                waiters: Queue::new(),
            }),
        }
    }

    pub(crate) fn source(&self) -> &Source<OutcomeState<T>> {
        &self.source
    }

    #[inline(always)] // at the end of each fiber
    fn complete(&self, result: Result<T, JoinError>) {
        let mut state = self.source.lock();
        let watched = matches!(state.stage, Stage::Running { watched: true });
        state.stage = Stage::Ended(result);
        if !state.waiters.is_empty() {
            match watched {
                true => self.tell_to_look(state),
                false => self.hand_out(state),
            }
        }
    }

    /// To those who wait for the end, and to those who want the result: each finds it, and the first one takes it.
    #[cold]
    fn tell_to_look<'a>(&'a self, mut state: Locked<'a, OutcomeState<T>>) {
        let mut batch = Batch::new();
        loop {
            let more = state.waiters.retry_all(&mut batch);
            drop(state);
            batch.wake(sched::here());
            if !more {
                return;
            }
            state = self.source.lock();
        }
    }

    /// To those who wait: the first one gets the result. Hardly ever is there a second one.
    #[inline(never)]
    fn hand_out<'a>(&'a self, mut state: Locked<'a, OutcomeState<T>>) {
        let OutcomeState { stage, waiters } = &mut *state;
        let first = waiters.admit_any(|slot| {
            *slot = Some(match mem::replace(stage, Stage::Taken) {
                Stage::Ended(result) => result,
                _ => Err(JoinError(Why::Taken)),
            });
        });
        let more = !waiters.is_empty();
        drop(state);
        if let Some(first) = first {
            first.wake(sched::here());
        }
        if more {
            self.tell_the_others();
        }
    }

    /// The result is gone.
    #[cold]
    fn tell_the_others(&self) {
        let mut state = self.source.lock();
        let mut batch = Batch::new();
        loop {
            let more = state
                .waiters
                .drain(&mut batch, |slot| *slot = Some(Err(JoinError(Why::Taken))));
            drop(state);
            batch.wake(sched::here());
            if !more {
                return;
            }
            state = self.source.lock();
        }
    }
}

/// Why a fiber has no result.
///
/// ```
/// fn answer() -> std::io::Result<u32> {
///     fibers::spawn(|| 42).join().map_err(std::io::Error::other)
/// }
/// assert_eq!(fibers::run(answer).unwrap(), 42);
/// ```
pub struct JoinError(Why);

enum Why {
    /// Boxed, so that it is one word: each fiber has room for it, and up to 120 bytes `malloc` is fast.
    Panicked(Box<Panic>),
    Cancelled,
    Taken,
}

/// What a fiber has panicked with.
struct Panic {
    /// Never locked: an error has to be `Sync` to be inside of others, and a payload need not be.
    payload: Mutex<Box<dyn Any + Send>>,
    message: Option<Cow<'static, str>>,
}

impl Panic {
    fn new(payload: Box<dyn Any + Send>) -> Panic {
        let text = payload.downcast_ref::<&'static str>().map(|text| Cow::Borrowed(*text));
        let message = text.or_else(|| payload.downcast_ref::<String>().cloned().map(Cow::Owned));
        Panic {
            payload: Mutex::new(payload),
            message,
        }
    }
}

impl JoinError {
    fn from_panic(payload: Box<dyn Any + Send>) -> Self {
        match sched::is_unwind(&*payload) {
            true => JoinError(Why::Cancelled),
            false => JoinError(Why::Panicked(Box::new(Panic::new(payload)))),
        }
    }

    /// Whether the fiber panicked.
    pub fn is_panic(&self) -> bool {
        matches!(self.0, Why::Panicked(_))
    }

    /// Whether the fiber was ended before it had a result: the runtime shut down, or a blocking job was cancelled.
    pub fn is_cancelled(&self) -> bool {
        matches!(self.0, Why::Cancelled)
    }

    /// The payload of the panic, for [`std::panic::resume_unwind`].
    ///
    /// # Errors
    /// Gives the error back if the fiber did not panic.
    pub fn try_into_panic(self) -> Result<Box<dyn Any + Send>, JoinError> {
        let payload = self.into_payload()?;
        // It is going to be raised again, most likely, and no panic hook will see that.
        if let Some(here) = sched::here() {
            here.mark_panicking();
        }
        Ok(payload)
    }

    /// The payload of the panic, to be kept.
    pub(crate) fn into_payload(self) -> Result<Box<dyn Any + Send>, JoinError> {
        match self.0 {
            Why::Panicked(panic) => Ok(panic.payload.into_inner().unwrap_or_else(PoisonError::into_inner)),
            why => Err(JoinError(why)),
        }
    }

    /// The payload of the panic, for [`std::panic::resume_unwind`].
    ///
    /// # Panics
    /// If the fiber did not panic; see [`JoinError::try_into_panic`].
    #[track_caller]
    pub fn into_panic(self) -> Box<dyn Any + Send> {
        self.try_into_panic().unwrap_or_else(|error| panic!("into_panic: {error}"))
    }

    fn message(&self) -> Option<&str> {
        let Why::Panicked(panic) = &self.0 else { return None };
        panic.message.as_deref()
    }
}

impl fmt::Debug for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Why::Panicked(_) => f.debug_tuple("Panicked").field(&self.message().unwrap_or("..")).finish(),
            Why::Cancelled => f.write_str("Cancelled"),
            Why::Taken => f.write_str("Taken"),
        }
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.0, self.message()) {
            (Why::Panicked(_), Some(message)) => write!(f, "the fiber panicked: {message}"),
            (Why::Panicked(_), None) => f.write_str("the fiber panicked"),
            (Why::Cancelled, _) => f.write_str("the fiber was ended before it had a result"),
            (Why::Taken, _) => f.write_str("the result of the fiber has been taken by an earlier join"),
        }
    }
}

impl Error for JoinError {}

/// Owns the result of a fiber. Dropping it detaches the fiber, which runs on.
///
/// ```
/// fibers::run(|| {
///     let handle = fibers::spawn(|| 6 * 7);
///     assert_eq!(handle.join().unwrap(), 42);
/// });
/// ```
pub struct JoinHandle<T> {
    task: TaskHandle,
    outcome: NonNull<Outcome<T>>,
    _result: PhantomData<Result<T, JoinError>>,
}

// SAFETY: the handle gives out the result, hence `T: Send`; everything else in the block is behind a lock or atomic.
unsafe impl<T: Send> Send for JoinHandle<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for JoinHandle<T> {}

impl<T> JoinHandle<T> {
    fn new<F>(fiber: FiberRef<Job<F, T>>) -> Self {
        JoinHandle::of_body(fiber, |job| job)
    }

    /// The handle of a fiber whose body has a job in it.
    pub(crate) fn of_body<B, F>(fiber: FiberRef<B>, job: impl FnOnce(&B) -> &Job<F, T>) -> Self {
        let outcome = NonNull::from(&job(&fiber).outcome);
        JoinHandle {
            task: fiber.erase(),
            outcome,
            _result: PhantomData,
        }
    }

    /// The handle of a job that the blocking pool has accepted as `task`.
    pub(crate) fn of_job<F>(job: &Job<F, T>, task: TaskHandle) -> Self {
        JoinHandle {
            outcome: NonNull::from(&job.outcome),
            task,
            _result: PhantomData,
        }
    }

    pub(crate) fn outcome(&self) -> &Outcome<T> {
        // SAFETY: `task` counts a reference to the block in which the outcome lies.
        unsafe { self.outcome.as_ref() }
    }

    /// Whether the fiber has ended.
    pub fn is_finished(&self) -> bool {
        self.outcome().source().peek(RX_READY)
    }

    /// The fiber's number, unique in its runtime.
    pub fn id(&self) -> u64 {
        self.task.id()
    }

    /// The fiber's name, if it was given one.
    pub fn name(&self) -> Option<&str> {
        self.task.name()
    }

    /// Ends a [`spawn_blocking`](crate::spawn_blocking) job that has not begun: its join yields an error that [is cancelled](JoinError::is_cancelled).
    /// Returns whether it was in time. A fiber is not cancelled this way: give it a channel to listen to.
    pub fn cancel(&self) -> bool {
        self.task.cancel_blocking()
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let finished = self.is_finished();
        f.debug_struct("JoinHandle")
            .field("id", &self.id())
            .field("name", &self.name())
            .field("finished", &finished)
            .finish()
    }
}

/// Options for a fiber, set before it is spawned.
///
/// ```
/// use fibers::fiber::Builder;
/// fibers::run(|| {
///     let handle = Builder::new().name("acceptor").stack_size(1 << 20).spawn(|| fibers::current().name().map(|n| n.to_string()));
///     assert_eq!(handle.unwrap().join().unwrap().as_deref(), Some("acceptor"));
/// });
/// ```
#[derive(Debug, Default)]
#[must_use = "a builder does nothing until `spawn`"]
pub struct Builder {
    name: Option<Box<str>>,
    stack_size: Option<usize>,
    place: Place,
}

impl Builder {
    /// No name, the runtime's stack size, placed by the scheduler.
    pub fn new() -> Self {
        Builder::default()
    }

    /// Names the fiber: in panic messages, overflow messages and deadlock reports.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into().into_boxed_str());
        self
    }

    /// The size of its stack in bytes, guard not included, rounded up to pages. Memory is used only as far as it is touched.
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_size = Some(bytes);
        self
    }

    /// Starts it on the workers in turns: for connections, and for fibers that compute rather than communicate. An idle
    /// worker takes it over only if its own has been busy for 100 ms, with fibers waiting to start all the time.
    pub fn spread(mut self) -> Self {
        self.place = Place::Spread;
        self
    }

    /// Starts it on worker `n`, counted from 0: for fibers that belong together, or to a thread.
    pub fn worker(mut self, n: usize) -> Self {
        self.place = Place::Worker(n);
        self
    }

    /// Spawns the fiber into the current runtime.
    ///
    /// # Errors
    /// If no stack can be had, or if the stack size is absurd.
    ///
    /// # Panics
    /// Outside of a runtime.
    #[track_caller]
    pub fn spawn<F, T>(self, f: F) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        // SAFETY: `F` and `T` are `Send` and `'static`.
        let fiber = unsafe { sched::spawn(self.spec(Location::caller()), job(f))? };
        Ok(JoinHandle::new(fiber))
    }

    /// Spawns the fiber on the current worker. It never leaves this thread, so nothing needs to be `Send`.
    ///
    /// # Errors
    /// As [`Builder::spawn`]; also if another placement was asked for.
    ///
    /// # Panics
    /// Outside of a runtime.
    #[track_caller]
    pub fn spawn_local<F, T>(mut self, f: F) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + 'static,
        T: 'static,
    {
        if self.place != Place::Auto {
            let message = "a local fiber starts on the current worker: leave `spread` and `worker` away, or use `spawn`";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        self.place = Place::Local;
        // SAFETY: the place is local, so `F` and `T` stay on this thread; both are `'static`.
        let fiber = unsafe { sched::spawn(self.spec(Location::caller()), job(f))? };
        Ok(JoinHandle::new(fiber))
    }

    /// Spawns the fiber into another runtime, from any thread; see [`Handle::spawn`].
    ///
    /// # Errors
    /// As [`Builder::spawn`]; also if the runtime has ended.
    #[track_caller]
    pub fn spawn_on<F, T>(self, runtime: &Handle, f: F) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.spawn_on_from(Location::caller(), runtime, f)
    }

    /// As [`Builder::spawn_on`], for a fiber that `site` is to be named for.
    pub(crate) fn spawn_on_from<F, T>(self, site: &'static Location<'static>, runtime: &Handle, f: F) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        // SAFETY: `F` and `T` are `Send` and `'static`.
        let fiber = unsafe { runtime.spawn_raw(self.spec(site), job(f))? };
        Ok(JoinHandle::new(fiber))
    }

    pub(crate) fn spec(self, site: &'static Location<'static>) -> Spec {
        Spec {
            name: self.name,
            stack_size: self.stack_size,
            place: self.place,
            site,
        }
    }
}

pub(crate) fn job<F, T>(f: F) -> Job<F, T> {
    Job {
        outcome: Outcome::new(),
        closure: Cell::new(Some(f)),
    }
}

/// Starts a fiber that runs `f`. It may start on any worker; once started it stays on that worker's thread.
///
/// # Panics
/// Outside of a runtime, and if no stack can be had (see [`Builder::spawn`] for an error instead).
///
/// ```
/// fibers::run(|| {
///     let handle = fibers::spawn(|| "hello");
///     assert_eq!(handle.join().unwrap(), "hello");
/// });
/// ```
#[track_caller]
pub fn spawn<F, T>(f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    Builder::new()
        .spawn(f)
        .unwrap_or_else(|error| panic!("cannot spawn a fiber: {error}"))
}

/// Starts a fiber on the current worker, so that nothing needs to be `Send`.
///
/// # Panics
/// As [`spawn`].
///
/// ```
/// use std::rc::Rc;
/// fibers::run(|| {
///     let shared = Rc::new(5);
///     let theirs = shared.clone();
///     assert_eq!(fibers::spawn_local(move || *theirs).join().unwrap(), *shared);
/// });
/// ```
#[track_caller]
pub fn spawn_local<F, T>(f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + 'static,
    T: 'static,
{
    Builder::new()
        .spawn_local(f)
        .unwrap_or_else(|error| panic!("cannot spawn a fiber: {error}"))
}

impl Handle {
    /// Starts a fiber in this runtime, from any thread.
    ///
    /// If the runtime has ended, the join yields an error that [is cancelled](JoinError::is_cancelled).
    ///
    /// # Panics
    /// If no stack can be had (see [`Builder::spawn_on`] for an error instead).
    #[track_caller]
    pub fn spawn<F, T>(&self, f: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        Builder::new()
            .spawn_on(self, f)
            .unwrap_or_else(|error| panic!("cannot spawn a fiber: {error}"))
    }
}
