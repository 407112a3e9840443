//! The scheduler: fibers that are pinned after their start, on workers that pick by themselves.
//!
//! A fiber that has not run yet is a block in a queue, and any worker may take it. With its first instruction it gets a
//! stack and an owner, and from then on that worker's thread alone resumes it. So what a fiber touches (thread-locals, lock
//! guards, values that are not `Send`) never changes threads. Others wake it by a push to its owner's inbox.
//!
//! ```text
//!    task       the block of a fiber                   spawn, current   what callers see: from anywhere, from a fiber
//!    context    stacks: start, suspend, end            handle, watcher  what the floors above hold on to
//!    queue      started fibers, the inbox              runtime, enter   building, running, dropping a runtime
//!    unstarted  those that may still move, in batches  thread           the other workers' threads
//!    worker     the loop, and the owner's state        shutdown, quiet  how a run ends, and when nothing goes on
//!    placement, watch  who starts what where           deadlock         who waits for what, for ever
//!    idle       spin, nap, sleep, and be woken         blocking         threads for calls that block
//!    affinity   a CPU for each worker                  panics, overflow what messages say of a fiber
//!    inherit    what a fiber has from its spawner      forbid           where nothing may suspend
//!    outside    what plain threads keep                stall, watchdog  who holds a worker for too long
//! ```
//!
//! It knows nothing of operations: a fiber parks, somebody calls [`ready`] for it, once for each park.

mod affinity;
mod batch;
mod blocking;
mod clock;
mod context;
mod current;
mod deadlock;
mod enter;
mod forbid;
mod handle;
mod idle;
mod inherit;
mod local;
mod outside;
mod overflow;
mod panics;
mod placement;
mod queue;
mod quiet;
mod random;
mod runtime;
mod shared;
mod shutdown;
mod spawn;
mod stall;
mod task;
mod thread;
mod unstarted;
mod watch;
mod watchdog;
mod watcher;
mod worker;

#[cfg(test)]
mod tests;

pub use blocking::BlockingPool;
pub(crate) use current::WaitKind;
pub(crate) use current::{Here, Report, Resumed, Wait, here};
pub use deadlock::Deadlock;
pub(crate) use forbid::{forbid_in, is_held_up, may_not_suspend, refuse_to_suspend};
pub(crate) use handle::{BlockingJob, TaskHandle};
pub(crate) use inherit::{enter, inherited};
pub(crate) use panics::{deadlock, is_unwind, unwind};
pub(crate) use quiet::Bystander;
pub use runtime::{Handle, Runtime, RuntimeBuilder, run};
pub use shutdown::Shutdown;
pub(crate) use spawn::{ready, spawn};
pub use stall::Stall;
pub(crate) use task::TaskRef;
pub(crate) use task::{Body, FiberRef, Place, Spec};
pub(crate) use watcher::{Io, Watcher};
pub(crate) use worker::Alarm;

/// The time of the runtime's clock, in nanoseconds; of the system's, on a plain thread.
#[inline]
pub(crate) fn now_ns() -> u64 {
    here().map_or_else(crate::sys::monotonic_ns, Here::now_ns)
}

/// The run that the caller is a part of: a number that no other run in this process has, of any runtime. `None` on a plain thread.
pub(crate) fn run_number() -> Option<u64> {
    here().map(Here::run_number)
}

/// The fiber that calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fiber {
    id: u64,
    name: Option<String>,
}

impl Fiber {
    /// A number that no other fiber of the runtime ever has.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The name that it was spawned with.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
}

/// The fiber that calls.
///
/// # Panics
/// Outside of a fiber.
#[track_caller]
pub fn current() -> Fiber {
    let here = here().expect("fibers::current() is for fibers: this is a plain thread");
    Fiber {
        id: here.id(),
        name: here.name().map(String::from),
    }
}

/// Lets other fibers of the same worker run. On a plain thread: lets other threads run.
#[inline] // with the switch: see `op::perform`
pub fn yield_now() {
    match here() {
        Some(here) => here.yield_now(),
        None => std::thread::yield_now(),
    }
}
