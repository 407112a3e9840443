//! What the threads of one runtime share, and what of each worker others may touch.
#![expect(unsafe_code, reason = "wakes go through pointers to parts of the runtime")]

use std::fmt;
use std::io;
use std::ptr::NonNull;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use super::blocking::Pool;
use super::deadlock::Board;
use super::idle::Sleep;
use super::queue::Inbox;
use super::runtime::Config;
use super::stall::Running;
use super::task::{Place, Task};
use super::unstarted::Unstarted;
use super::watcher::Io;
use crate::epoll::Poller;
use crate::prim::plain::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
use crate::stack::StackPool;
use crate::sys::{CpuSet, Pulse};

/// How far a run has come. The order matters: a run only ever moves on.
pub(super) mod phase {
    /// No run is going on.
    pub(in crate::sched) const REST: u32 = 0;
    /// The main fiber has not ended.
    pub(in crate::sched) const RUN: u32 = 1;
    /// It has, and the others are waited for.
    pub(in crate::sched) const DRAIN: u32 = 2;
    /// It has, and the others are unwound.
    pub(in crate::sched) const UNWIND: u32 = 3;
    /// The workers leave the run; what is still suspended is leaked.
    pub(in crate::sched) const LEAVE: u32 = 4;
}

/// The part of a worker that is open to other threads.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Remote {
    pub(super) index: usize,
    /// Wakes from other threads, and fibers that are to start here and nowhere else.
    pub(super) inbox: Inbox,
    pub(super) sleep: Sleep,
    pub(super) poller: Poller,
    /// The runtime, for wakers from outside of it. Set once, before anybody sees this.
    shared: AtomicPtr<Shared>,
    /// The thread of the present run, as [`Pulse`] has it; 0 if there is none.
    pulse: AtomicU64,
    pub(super) unstarted: Unstarted,
    pub(super) counters: Counters,
    /// What the watchdog sees, if there is one.
    pub(super) running: Option<Box<Running>>,
}

/// Written by the owner alone (Relaxed, except `idle`), read by watchers.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Counters {
    /// How many times a fiber was picked.
    pub(super) picks: AtomicU64,
    /// Nanoseconds without work.
    pub(super) idle_ns: AtomicU64,
    /// Stacks in use.
    pub(super) live: AtomicUsize,
    /// Entries in the wheel, when last idle.
    pub(super) timers: AtomicUsize,
    /// Fibers that are certain to be woken although they look forgotten, when last idle.
    pub(super) owed: AtomicUsize,
    /// Odd while the worker has nothing to run. SeqCst: see [`quiet`](super::quiet).
    pub(super) idle: AtomicU64,
    /// When the worker last looked at its poller.
    pub(super) polled_ns: AtomicU64,
}

impl Remote {
    fn new(index: usize, several: bool, watched: bool) -> io::Result<Remote> {
        Ok(Remote {
            index,
            inbox: Inbox::new(),
            sleep: Sleep::new(),
            poller: Poller::new()?,
            shared: AtomicPtr::default(),
            pulse: AtomicU64::new(0),
            unstarted: Unstarted::new(several),
            counters: Counters::default(),
            running: watched.then(|| Box::new(Running::new())),
        })
    }

    /// The calling thread is this worker now.
    pub(super) fn set_pulse(&self) {
        let bits = Pulse::own().map_or(0, Pulse::to_bits);
        self.pulse.store(bits, Ordering::Relaxed);
    }

    /// How others see the worker's thread.
    pub(super) fn pulse(&self) -> Option<Pulse> {
        Pulse::from_bits(self.pulse.load(Ordering::Relaxed))
    }

    pub(super) fn shared(&self) -> *const Shared {
        self.shared.load(Ordering::Relaxed)
    }

    /// A glance: whether the worker has nothing to run.
    pub(super) fn is_idle(&self) -> bool {
        !self.counters.idle.load(Ordering::Relaxed).is_multiple_of(2)
    }

    /// Pushes to the inbox and wakes the worker. False if the runtime has ended.
    ///
    /// # Safety
    /// The fiber is alive and in no queue, and something other than it keeps this worker's runtime alive.
    pub(super) unsafe fn send(&self, task: NonNull<Task>) -> bool {
        // SAFETY: the caller's promise.
        let sent = unsafe { self.inbox.push(task) };
        self.wake();
        sent
    }

    /// Puts unstarted fibers behind all that are here, where thieves see them, and wakes the worker. False, and nothing
    /// is taken, if the runtime has ended.
    pub(super) fn hand_over(&self, tasks: &[NonNull<Task>]) -> bool {
        let taken = self.unstarted.push_oldest(tasks.iter().copied());
        self.wake_for_unstarted();
        taken
    }

    /// The same of one that the user wants to be spread: thieves see it, but leave it alone for long.
    pub(super) fn deal(&self, task: NonNull<Task>) -> bool {
        let taken = self.unstarted.push_dealt(task);
        self.wake_for_unstarted();
        taken
    }

    fn wake_for_unstarted(&self) {
        fence(Ordering::SeqCst); // pairs with the one of the sleeper: it sees the fibers, or is seen to sleep
        self.wake();
    }

    /// Ends the worker's sleep, if it sleeps.
    pub(super) fn wake(&self) {
        // SAFETY: the runtime of a worker outlives it, and somebody keeps it alive while this is called.
        let deep = unsafe { &(*self.shared()).deep };
        if self.sleep.end(deep) {
            // It fails only if the descriptor is broken, and then the sleeper finds out by itself.
            let _ = self.poller.notify();
        }
    }
}

/// Who takes part in the run, and whether there is one.
#[derive(Debug, Default)]
pub(super) struct Lifecycle {
    /// Number of the present run, or of the last one.
    pub(super) run: u64,
    pub(super) running: bool,
    /// Worker threads that have not left the run.
    pub(super) present: usize,
    /// The runtime is being dropped.
    pub(super) stop: bool,
}

/// One runtime.
pub(super) struct Shared {
    pub(super) workers: Box<[Remote]>,
    pub(super) config: Config,
    pub(super) stacks: Arc<StackPool>,
    pub(super) phase: AtomicU32,
    /// How many workers sleep deeply: a spawner wakes one.
    pub(super) deep: AtomicUsize,
    /// Ids are handed out in batches.
    pub(super) ids: AtomicU64,
    /// Whose turn it is to get a spread fiber.
    pub(super) spread: AtomicUsize,
    /// Descriptors registered with the pollers.
    pub(super) descriptors: AtomicUsize,
    pub(super) io: OnceLock<Box<dyn Io>>,
    pub(super) blocking: Arc<Pool>,
    pub(super) board: Board,
    /// The CPUs that the workers are bound to, if they are.
    pub(super) cpus: Option<CpuSet>,
    /// Among how many workers fibers are split that wait: no more than there are CPUs.
    pub(super) peers: usize,
    /// Of the present run, or the last one. Written before a run begins, so relaxed: its workers hear of the run through a lock.
    pub(super) run_number: AtomicU64,
    lifecycle: Mutex<Lifecycle>,
    changed: Condvar,
}

impl Shared {
    pub(super) fn new(config: Config, cpus: Option<CpuSet>) -> io::Result<Arc<Shared>> {
        let (several, watched) = (config.workers > 1, config.watchdog.is_some());
        let workers = (0..config.workers)
            .map(|i| Remote::new(i, several, watched).map_err(|e| no_poller(i, &e)))
            .collect::<io::Result<Box<[_]>>>()?;
        let shared = Arc::new(Shared {
            workers,
            stacks: StackPool::new(config.stacks())?,
            phase: AtomicU32::new(phase::REST),
            deep: AtomicUsize::new(0),
            ids: AtomicU64::new(1),
            spread: AtomicUsize::new(0),
            descriptors: AtomicUsize::new(0),
            io: OnceLock::new(),
            blocking: Pool::new(config.blocking_threads, config.blocking_queue, config.blocking_idle),
            board: Board::default(),
            peers: config.workers.min(available_cpus()),
            cpus,
            run_number: AtomicU64::new(0),
            lifecycle: Mutex::default(),
            changed: Condvar::new(),
            config,
        });
        for worker in &shared.workers {
            worker.shared.store(Arc::as_ptr(&shared).cast_mut(), Ordering::Relaxed);
        }
        Ok(shared)
    }

    pub(super) fn several(&self) -> bool {
        self.workers.len() > 1
    }

    /// Moves the run on, and tells every worker. A phase that has passed does not come back.
    pub(super) fn advance(&self, to: u32) {
        if self.phase.fetch_max(to, Ordering::SeqCst) < to {
            self.workers.iter().for_each(Remote::wake);
        }
    }

    pub(super) fn lifecycle(&self) -> MutexGuard<'_, Lifecycle> {
        self.lifecycle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that the life cycle has changed.
    pub(super) fn announce(&self) {
        self.changed.notify_all();
    }

    pub(super) fn wait_until<'a>(
        &'a self,
        lifecycle: MutexGuard<'a, Lifecycle>,
        mut done: impl FnMut(&Lifecycle) -> bool,
    ) -> MutexGuard<'a, Lifecycle> {
        self.changed
            .wait_while(lifecycle, |l| !done(l))
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for so long, of the time of runs, or for the end of the runtime: true if that has come.
    pub(super) fn doze(&self, time: Duration) -> bool {
        let lifecycle = self.wait_until(self.lifecycle(), |l| l.stop || l.running);
        let waited = self.changed.wait_timeout_while(lifecycle, time, |l| !l.stop);
        waited.unwrap_or_else(PoisonError::into_inner).0.stop
    }

    /// Wakes one of the workers that sleep deeply, if there is one: there is work to take.
    #[inline(always)]
    pub(super) fn call_for_help(&self) {
        if self.deep.load(Ordering::Relaxed) != 0 {
            self.wake_a_sleeper();
        }
    }

    #[cold]
    fn wake_a_sleeper(&self) {
        if let Some(worker) = self.workers.iter().find(|worker| worker.sleep.end_deep(&self.deep)) {
            let _ = worker.poller.notify();
        }
    }

    pub(super) fn take_ids(&self, count: u64) -> u64 {
        self.ids.fetch_add(count, Ordering::Relaxed)
    }

    /// The worker whose turn it is to get a spread fiber.
    pub(super) fn next_spread(&self) -> usize {
        self.spread.fetch_add(1, Ordering::Relaxed) % self.workers.len()
    }

    /// # Errors
    /// If there is no such worker.
    #[cold]
    pub(super) fn check_place(&self, place: Place) -> io::Result<()> {
        let count = self.workers.len();
        match place {
            Place::Worker(n) if n >= count => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                match count {
                    1 => format!("there is no worker {n}: the runtime has one worker, worker 0"),
                    _ => format!("there is no worker {n}: the runtime has {count} workers, 0 to {}", count - 1),
                },
            )),
            _ => Ok(()),
        }
    }

    /// Keeps the runtime's memory for ever, as leaked fibers need.
    pub(super) fn keep_for_ever(self: &Arc<Shared>) {
        std::mem::forget(self.clone());
    }
}

/// The CPUs that the process may use.
fn available_cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn no_poller(index: usize, cause: &io::Error) -> io::Error {
    let advice = match cause.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE) => "; use fewer workers, or raise the limit of open files (ulimit -n)",
        _ => "",
    };
    io::Error::new(
        cause.kind(),
        format!("no poller for worker {index} could be made: {cause}{advice}"),
    )
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("config", &self.config)
            .field("phase", &self.phase)
            .field("workers", &self.workers)
            .finish_non_exhaustive()
    }
}
