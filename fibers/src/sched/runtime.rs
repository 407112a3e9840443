//! Runtimes: how they are configured, built, entered and dropped.
#![expect(unsafe_code, reason = "spawning asks its caller for a promise")]

use std::env;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::affinity::Claim;
use super::blocking::{self, BlockingPool};
use super::deadlock::Deadlock;
use super::enter;
use super::overflow;
use super::panics;
use super::shared::Shared;
use super::shutdown::Shutdown;
use super::stall::Stall;
use super::task::{Body, FiberRef, Spec};
use super::thread;
use super::watchdog::{self, Watchdog};
use super::{current, spawn::spawn_from_outside};
use crate::stack::{StackConfig, install_fault_handler};
use crate::sys;

/// What a runtime is built with.
#[derive(Clone, Debug)]
pub(super) struct Config {
    pub(super) workers: usize,
    pub(super) stack_size: usize,
    pub(super) guard_size: usize,
    pub(super) seed: u64,
    pub(super) shutdown: Shutdown,
    pub(super) deadlock: Deadlock,
    pub(super) pin: bool,
    pub(super) blocking_threads: usize,
    pub(super) blocking_queue: usize,
    pub(super) watchdog: Option<Watchdog>,
    pub(super) blocking_idle: Duration,
}

impl Config {
    pub(super) fn stacks(&self) -> StackConfig {
        StackConfig {
            size: self.stack_size,
            guard: self.guard_size,
        }
    }
}

/// Builds a [`Runtime`]. Made by [`Runtime::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct RuntimeBuilder {
    workers: Option<usize>,
    stack_size: Option<usize>,
    guard_size: Option<usize>,
    seed: Option<u64>,
    shutdown: Shutdown,
    deadlock: Deadlock,
    pin: bool,
    blocking_threads: usize,
    blocking_queue: usize,
    watchdog: Option<Watchdog>,
    blocking_idle: Duration,
}

impl RuntimeBuilder {
    /// How many workers (threads that run fibers) there are, the thread that calls [`Runtime::run`] included. Default: the
    /// variable `FIBERS_WORKERS`, else the parallelism that is available.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = Some(workers);
        self
    }

    /// Bytes of address space of a fiber's stack, its guard included. Memory is used from the top as it is touched.
    /// Default: the variable `FIBERS_STACK_SIZE`, else 256 KiB.
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_size = Some(bytes);
        self
    }

    /// Bytes at the low end of each stack that fault when they are touched. Default: 64 KiB.
    pub fn guard_size(mut self, bytes: usize) -> Self {
        self.guard_size = Some(bytes);
        self
    }

    /// Seeds the generator that orders choices and scheduling. Default: from the operating system.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// What happens at the end of a run to the fibers that have not ended. Default: [`Shutdown::Unwind`].
    pub fn shutdown(mut self, shutdown: Shutdown) -> Self {
        self.shutdown = shutdown;
        self
    }

    /// What happens when all fibers are asleep and nothing can wake them. Default: [`Deadlock::Panic`].
    pub fn deadlock(mut self, deadlock: Deadlock) -> Self {
        self.deadlock = deadlock;
        self
    }

    /// Whether each of several workers is bound to a CPU of its own. Default: yes, unless another runtime of the process
    /// has done so, or there are fewer CPUs than workers.
    pub fn pin(mut self, pin: bool) -> Self {
        self.pin = pin;
        self
    }

    /// How many threads there are at most for blocking calls. They are made when they are needed. Default: 64.
    pub fn blocking_threads(mut self, threads: usize) -> Self {
        self.blocking_threads = threads;
        self
    }

    /// How many blocking calls may wait for a thread. Default: 1024.
    pub fn blocking_queue(mut self, calls: usize) -> Self {
        self.blocking_queue = calls;
        self
    }

    /// How long a thread for blocking calls waits for the next one before it ends. Default: 10 seconds.
    pub fn blocking_idle(mut self, idle: Duration) -> Self {
        self.blocking_idle = idle;
        self
    }

    /// Watches for fibers that hold their worker for longer than `limit` without suspending, so that nobody else can run there: one
    /// that computes, or one that blocks its thread, in a lock of the standard library that a suspended sibling holds for instance.
    /// Each is reported on the standard error output, with its number, name and spawn site; once, and again whenever that time has
    /// doubled. Time for which the system gives the worker no CPU does not count. Default: nobody watches.
    ///
    /// A thread of its own looks at the workers four times per limit. Fibers pay nothing without a watchdog; with one, each start
    /// and each suspension takes a slower path, on which the fiber leaves a copy of its name.
    pub fn watchdog(self, limit: Duration) -> Self {
        self.watchdog_with(limit, Stall::print)
    }

    /// As [`watchdog`](RuntimeBuilder::watchdog), with the reports given to a function. It runs on the watchdog's thread, and the
    /// drop of the runtime waits for it.
    ///
    /// ```
    /// use fibers::{Runtime, Stall, channel};
    /// use std::time::Duration;
    ///
    /// let (tx, rx) = channel(100);
    /// let runtime = Runtime::builder()
    ///     .workers(1)
    ///     .watchdog_with(Duration::from_millis(5), move |stall: &Stall| drop(tx.try_send(stall.clone())))
    ///     .build()
    ///     .unwrap();
    /// runtime.run(|| {
    ///     let hog = fibers::spawn(move || {
    ///         while rx.is_empty() {} // never suspends
    ///         rx.recv().unwrap()
    ///     });
    ///     let id = hog.id();
    ///     assert_eq!(hog.join().unwrap().fiber(), id);
    /// });
    /// ```
    pub fn watchdog_with(mut self, limit: Duration, report: impl Fn(&Stall) + Send + Sync + 'static) -> Self {
        self.watchdog = Some(Watchdog {
            limit,
            report: Arc::new(report),
        });
        self
    }

    /// Builds the runtime: all its threads but the first, which is the one that calls [`Runtime::run`].
    ///
    /// # Errors
    /// `InvalidInput` for no workers, sizes of which no stack can be made, a watchdog without patience, and variables that are not numbers; whatever
    /// the system says when it gives no thread or no descriptor. Nothing is left behind then.
    pub fn build(self) -> io::Result<Runtime> {
        let config = self.config()?;
        panics::install_hook();
        install_fault_handler(overflow::describe)?;
        let cpus = if config.pin { sys::affinity().ok() } else { None };
        let claim = cpus.as_ref().and_then(|cpus| Claim::new(config.workers, cpus));
        let shared = Shared::new(config, cpus.filter(|_| claim.is_some()))?;
        let mut runtime = Runtime {
            threads: Vec::new(),
            shared,
            _claim: claim,
        };
        for index in 1..runtime.shared.workers.len() {
            // If this fails, dropping the runtime ends and joins the threads that there are.
            let thread = thread::start(&runtime.shared, index).map_err(|e| no_thread(&format!("worker {index}"), &e))?;
            runtime.threads.push(thread);
        }
        if let Some(watchdog) = runtime.shared.config.watchdog.clone() {
            let thread = watchdog::start(&runtime.shared, watchdog).map_err(|e| no_thread("the watchdog", &e))?;
            runtime.threads.push(thread);
        }
        Ok(runtime)
    }

    fn config(self) -> io::Result<Config> {
        let workers = match self.workers {
            Some(workers) => check_workers(workers, "workers(..)")?,
            None => match variable("FIBERS_WORKERS")? {
                Some(workers) => check_workers(workers, "the variable FIBERS_WORKERS")?,
                None => std::thread::available_parallelism().map_or(1, usize::from),
            },
        };
        let guard_size = self.guard_size.unwrap_or(StackConfig::default().guard);
        let stack_size = match self.stack_size {
            Some(bytes) => bytes,
            None => default_stack_size(guard_size)?,
        };
        if self.blocking_threads == 0 {
            return invalid("a runtime needs at least one thread for blocking calls: blocking_threads(1)".into());
        }
        if self.blocking_queue == 0 {
            return invalid("blocking calls need room to wait for a thread: blocking_queue(1) is the least".into());
        }
        if self.watchdog.as_ref().is_some_and(|watchdog| watchdog.limit.is_zero()) {
            return invalid("a watchdog needs a limit longer than zero, such as watchdog(Duration::from_millis(100))".into());
        }
        Ok(Config {
            workers,
            stack_size,
            guard_size,
            seed: self.seed.unwrap_or_else(sys::entropy),
            shutdown: self.shutdown,
            deadlock: self.deadlock,
            pin: self.pin,
            blocking_threads: self.blocking_threads,
            blocking_queue: self.blocking_queue,
            watchdog: self.watchdog,
            blocking_idle: self.blocking_idle,
        })
    }
}

fn invalid<T>(message: String) -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::InvalidInput, message))
}

/// More workers than this are taken for a mistake: no machine has as many CPUs.
const MAX_WORKERS: usize = 16_384;

fn check_workers(workers: usize, source: &str) -> io::Result<usize> {
    match workers {
        0 => invalid(format!(
            "a runtime needs at least one worker, but {source} says 0: give 1 or more"
        )),
        1..=MAX_WORKERS => Ok(workers),
        _ => invalid(format!("{source} asks for {workers} workers: give at most {MAX_WORKERS}")),
    }
}

/// What the environment says of stacks, else the default. That has to be checked here, where the variable is known.
fn default_stack_size(guard: usize) -> io::Result<usize> {
    let Some(size) = variable("FIBERS_STACK_SIZE")? else {
        return Ok(StackConfig::default().size);
    };
    match (StackConfig { size, guard }).checked() {
        Ok(_) => Ok(size),
        Err(error) => invalid(format!("the variable FIBERS_STACK_SIZE is no use: {error}")),
    }
}

fn no_thread(whose: &str, cause: &io::Error) -> io::Error {
    let advice = match cause.kind() {
        io::ErrorKind::WouldBlock => "; use fewer workers, or raise the limit of threads (ulimit -u, or that of the container)",
        _ => "",
    };
    io::Error::new(
        cause.kind(),
        format!("the thread of {whose} could not be started: {cause}{advice}"),
    )
}

/// A number from the environment.
fn variable(name: &str) -> io::Result<Option<usize>> {
    let Some(value) = env::var_os(name) else {
        return Ok(None);
    };
    match value.to_str().and_then(|text| text.trim().parse().ok()) {
        Some(number) => Ok(Some(number)),
        None => invalid(format!("the variable {name} must be a whole number, but is {value:?}")),
    }
}

/// Threads that run fibers.
///
/// Several runtimes may live in one process. Dropping one ends its threads; fibers that were spawned into it and never
/// started are dropped.
pub struct Runtime {
    threads: Vec<JoinHandle<()>>,
    shared: Arc<Shared>,
    /// The right to bind the workers to CPUs, if they are bound.
    _claim: Option<Claim>,
}

impl Runtime {
    /// A runtime with the default settings.
    ///
    /// # Errors
    /// As [`RuntimeBuilder::build`].
    pub fn new() -> io::Result<Runtime> {
        Runtime::builder().build()
    }

    /// Settings to build a runtime with.
    pub fn builder() -> RuntimeBuilder {
        RuntimeBuilder {
            workers: None,
            stack_size: None,
            guard_size: None,
            seed: None,
            shutdown: Shutdown::default(),
            deadlock: Deadlock::default(),
            pin: true,
            blocking_threads: 64,
            blocking_queue: 1024,
            watchdog: None,
            blocking_idle: blocking::LINGER,
        }
    }

    /// Runs `main` as a fiber on the calling thread, which is a worker until it ends. So `main` may borrow, and need not be
    /// `Send`. When it has returned or panicked, the [`Shutdown`] of the runtime says what happens to the other fibers.
    ///
    /// May be called again and again, by one thread at a time.
    ///
    /// # Panics
    /// With the panic of `main`, if it panics. If it is called inside a fiber (of any runtime), or while another thread runs
    /// the runtime; if all fibers are asleep for ever (see [`Deadlock`]); if there is no memory for the main fiber's stack.
    ///
    /// # Blocking
    /// Until the run is over.
    pub fn run<T>(&self, main: impl FnOnce() -> T) -> T {
        enter::run(&self.shared, main)
    }

    /// What the pool for blocking calls is doing.
    pub fn blocking_pool(&self) -> BlockingPool {
        self.shared.blocking.state()
    }

    /// A handle to spawn fibers from anywhere.
    pub fn handle(&self) -> Handle {
        Handle {
            shared: self.shared.clone(),
        }
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        {
            let mut lifecycle = self.shared.lifecycle();
            lifecycle.stop = true;
            self.shared.announce();
        }
        for thread in self.threads.drain(..) {
            // A worker does not panic; if one has, its message has been printed.
            let _ = thread.join();
        }
        enter::close(&self.shared);
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime")
            .field("config", &self.shared.config)
            .finish_non_exhaustive()
    }
}

/// Runs `main` as the main fiber of a new runtime with the default settings: see [`Runtime::run`].
///
/// # Panics
/// As [`Runtime::run`], and if the runtime cannot be built.
pub fn run<T>(main: impl FnOnce() -> T) -> T {
    enter::refuse_nesting();
    match Runtime::new() {
        Ok(runtime) => runtime.run(main),
        Err(error) => panic!("the runtime cannot be built: {error}"),
    }
}

/// Spawns fibers into a runtime, from any thread. Does not keep the runtime alive.
#[derive(Clone)]
pub struct Handle {
    pub(super) shared: Arc<Shared>,
}

impl Handle {
    /// The runtime of the fiber that calls.
    ///
    /// # Panics
    /// Outside of a fiber.
    #[track_caller]
    pub fn current() -> Handle {
        Handle::try_current()
            .expect("Handle::current() is for fibers: outside of a runtime, keep the result of Runtime::handle()")
    }

    /// The runtime of the fiber that calls, if a fiber does.
    pub fn try_current() -> Option<Handle> {
        Some(Handle {
            shared: current::here()?.core().shared.clone(),
        })
    }

    /// What the pool for blocking calls of this runtime is doing.
    ///
    /// ```
    /// use fibers::{Handle, spawn_blocking};
    /// fibers::run(|| {
    ///     spawn_blocking(|| ()).join().unwrap();
    ///     let pool = Handle::current().blocking_pool();
    ///     assert_eq!((pool.threads, pool.queued), (1, 0));
    /// });
    /// ```
    pub fn blocking_pool(&self) -> BlockingPool {
        self.shared.blocking.state()
    }

    /// Spawns into this runtime. Between two runs the fiber waits for the next one.
    ///
    /// # Errors
    /// If the runtime has been dropped, or there is no memory for stacks.
    ///
    /// # Safety
    /// The body may be sent to another thread. `spec.place` is not `Local`.
    pub(crate) unsafe fn spawn_raw<B: Body + 'static>(&self, spec: Spec, body: B) -> io::Result<FiberRef<B>> {
        match current::worker_of(&self.shared) {
            Some(core) => core.spawn(spec, body),
            None => spawn_from_outside(&self.shared, spec, body),
        }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("workers", &self.shared.workers.len())
            .finish_non_exhaustive()
    }
}
