//! Where the caller runs: the way from a fiber to its worker, and what a fiber may ask of it.
//!
//! The crate's one thread-local stands here. It is read by a function that is never inlined, since a compiler may keep the
//! address of a thread-local across calls. What it finds may be kept: a fiber never changes threads, so [`Here`] stays
//! valid for the whole life of its fiber.
#![expect(unsafe_code, reason = "a fiber reaches its worker through a pointer")]

use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::ptr::{NonNull, null};
use std::rc::Rc;
use std::sync::Arc;

use super::blocking::Pool;
use super::context::StackHeader;
use super::panics;
use super::shared::Shared;
use super::spawn::make_job;
use super::task::{Body, FiberRef, Spec, Task, TaskRef, flag};
use super::watcher::Watcher;
use super::worker::{Alarm, Core, PATIENCE, unusual};
use crate::stack::Stack;
use crate::timer::Key;

thread_local! {
    /// The worker that this thread is.
    static WORKER: Cell<*const Core> = const { Cell::new(null()) };
}

/// The worker that the calling thread is.
#[inline(never)]
pub(super) fn worker() -> Option<NonNull<Core>> {
    NonNull::new(WORKER.get().cast_mut())
}

/// The worker that the calling thread is, if it belongs to this runtime.
pub(super) fn worker_of(shared: &Shared) -> Option<&'static Core> {
    // SAFETY: a thread's worker lives for as long as the thread says that it is one, and nobody here keeps the reference.
    let core = unsafe { worker()?.as_ref() };
    std::ptr::eq(Arc::as_ptr(&core.shared), shared).then_some(core)
}

/// Makes the calling thread that worker, or none.
#[inline(never)]
pub(super) fn set_worker(core: *const Core) {
    WORKER.set(core);
}

/// The fiber that the caller runs on. `None` on a plain thread.
#[inline]
pub(crate) fn here() -> Option<Here> {
    let core = worker()?;
    // SAFETY: a thread's worker lives for as long as the thread says that it is one.
    let on_fiber = unsafe { !core.as_ref().current.get().is_null() };
    on_fiber.then_some(Here {
        core,
        thread: PhantomData,
    })
}

/// Where the caller runs. Belongs to one fiber.
#[derive(Clone, Copy)]
pub(crate) struct Here {
    core: NonNull<Core>,
    thread: PhantomData<*const ()>,
}

/// How a suspended fiber goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resumed {
    /// `ready` was called for it.
    Ready,
    /// The runtime ends. The performer withdraws, and if it wins that, calls [`unwind`](super::unwind). If it loses, the
    /// wake is still owed to it: it parks again, and that returns `Ready`.
    Unwind,
    /// Nothing in the process will ever wake the main fiber. As `Unwind`, but the performer that has withdrawn calls
    /// [`deadlock`](super::deadlock()).
    Deadlock,
}

/// What kind of wait it is. The placement policy wants to know who waits for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitKind {
    Receive,
    Send,
    Time,
    Join,
    /// For a descriptor: whoever ends the wait is not of this process, or nobody knows who it is.
    Io,
    Other,
}

/// Describes what a fiber waits for, over several lines if need be.
pub(crate) trait Report {
    /// Called on the fiber's worker while the fiber is parked.
    fn report(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;
}

/// What a fiber waits for. Borrowed while it is parked.
pub(crate) struct Wait<'a> {
    pub(crate) kind: WaitKind,
    pub(crate) report: &'a dyn Report,
}

impl fmt::Debug for Wait<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wait").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl Here {
    #[inline(always)]
    pub(super) fn core(self) -> &'static Core {
        // SAFETY: the worker outlives the fibers that run on it, and `Here` stays on its fiber. The lifetime is that of
        // the fiber; nobody in this module keeps it longer.
        unsafe { self.core.as_ref() }
    }

    #[inline(always)]
    pub(super) fn header(self) -> &'static Task {
        // SAFETY: the running fiber has not ended.
        unsafe { &*self.core().current.get() }
    }

    #[inline(always)]
    fn place(self) -> &'static StackHeader {
        // SAFETY: the running fiber is started, so it has a stack.
        unsafe { &*self.header().stack.get() }
    }

    #[inline(always)]
    pub(crate) fn task(self) -> TaskRef {
        TaskRef(NonNull::from(self.header()))
    }

    /// Suspends the fiber until `ready` is called for it, once for each park. That may have happened before.
    ///
    /// # Panics
    /// While a guard of [`forbid_suspend`](Self::forbid_suspend) is held.
    #[inline]
    pub(crate) fn park(self, wait: Wait<'_>) -> Resumed {
        let (core, task) = (self.core(), self.header());
        // The lifetime ends with the park, and nobody looks at it when the fiber is not parked.
        self.place().wait.set(std::ptr::from_ref(&wait).cast());
        if core.unusual.get() != 0 || std::thread::panicking() {
            return core.park_unusual(task);
        }
        core.suspend(task);
        if core.verdict.get() != Resumed::Ready {
            return core.take_verdict(task);
        }
        Resumed::Ready
    }

    /// Lets the other fibers of this worker run.
    #[inline(always)]
    pub(crate) fn yield_now(self) {
        let (core, task) = (self.core(), self.header());
        if core.unusual.get() != 0 || std::thread::panicking() {
            return core.yield_unusual(task);
        }
        // SAFETY: it runs, so it is in no queue.
        unsafe { core.started.push(NonNull::from(task)) };
        core.suspend(task);
    }

    /// Wakes a fiber: as [`ready`](super::ready), but knowing where it runs.
    #[inline(always)]
    pub(crate) fn ready(self, task: TaskRef) {
        self.core().ready(task);
    }

    /// A number from the runtime's seeded generator.
    #[inline]
    pub(crate) fn random(self) -> u64 {
        self.core().random.next()
    }

    /// Sets an alarm for this worker. `u64::MAX` is never.
    pub(crate) fn arm(self, deadline_ns: u64, alarm: Alarm) -> Key {
        self.core().arm(deadline_ns, alarm)
    }

    /// Sets an alarm for this worker, `delay_ns` from now on. It may be late by the rest of the worker's turn: no clock is read
    /// for it before that. `u64::MAX` is never.
    pub(crate) fn arm_after(self, delay_ns: u64, alarm: Alarm) -> Key {
        self.core().arm_after(delay_ns, alarm)
    }

    /// For which time an alarm is set, that has not gone off; `None` if that is not known yet.
    pub(crate) fn armed_for(self, key: Key) -> Option<u64> {
        self.core().armed_for(key)
    }

    /// Takes back an alarm that was set on this worker. False if it has been fired.
    pub(crate) fn disarm(self, key: Key) -> bool {
        self.core().disarm(key)
    }

    /// The time of the runtime's clock.
    pub(crate) fn now_ns(self) -> u64 {
        self.core().clock.now()
    }

    pub(crate) fn id(self) -> u64 {
        self.header().id
    }

    pub(crate) fn name(self) -> Option<&'static str> {
        self.header().name()
    }

    /// The number of the worker, and how many there are.
    #[cfg(test)]
    pub(crate) fn worker(self) -> (usize, usize) {
        (self.core().index, self.core().shared.workers.len())
    }

    /// A job for the blocking pool, not submitted yet.
    pub(crate) fn job<B: Body>(self, spec: Spec, body: B) -> FiberRef<B> {
        make_job(
            &self.core().shared,
            Spec {
                stack_size: None,
                ..spec
            },
            body,
        )
    }

    /// The threads for blocking calls.
    pub(crate) fn pool(self) -> &'static Arc<Pool> {
        &self.core().shared.blocking
    }

    /// The stack it runs on.
    pub(super) fn stack(self) -> &'static Stack {
        self.place().stack()
    }

    pub(super) fn shared(self) -> &'static Shared {
        &self.core().shared
    }

    /// Whether this very fiber is in the middle of a panic (or of the unwinding that ends a runtime).
    /// `std::thread::panicking` cannot tell: it also counts siblings that are suspended in the middle of theirs.
    #[cfg(test)]
    pub(crate) fn is_panicking(self) -> bool {
        self.core().is_panicking(self.header())
    }

    /// Counts an unwinding of this fiber by a shutdown.
    pub(super) fn count_raise(self) {
        let raises = &self.place().raises;
        raises.set(raises.get() + 1);
    }

    /// The fiber is about to unwind without the panic hook knowing of it (`resume_unwind`).
    pub(crate) fn mark_panicking(self) {
        self.header().set(flag::PANICKING);
    }

    /// The poller of this worker, to watch descriptors with.
    pub(crate) fn watcher(self) -> Watcher {
        Watcher::new(&self.core().shared, self.core().index)
    }

    /// Makes every suspension panic with `why` until the guard is dropped.
    pub(crate) fn forbid_suspend(self, why: &'static str) -> Unsuspended {
        let core = self.core();
        let before = core.forbidden.replace(Some(why));
        core.unusual.set(core.unusual.get() | unusual::FORBIDDEN);
        core.patience.set(0);
        Unsuspended { here: self, before }
    }

    /// Counts a perform that begins. Whether it is to ask [`held_up`](Self::held_up) first.
    #[inline(always)]
    pub(crate) fn spend(self) -> bool {
        let patience = &self.core().patience;
        patience.set(patience.get() - 1);
        patience.get() < 0
    }

    /// Whether a guard of [`forbid_suspend`](Self::forbid_suspend) is held. If there is none, others have their turn now, before
    /// anything of the perform is tried.
    #[cold]
    #[inline(never)]
    pub(crate) fn held_up(self) -> bool {
        let core = self.core();
        if core.forbidden.get().is_some() {
            core.patience.set(0);
            return true;
        }
        core.patience.set(PATIENCE);
        core.budget.set(0); // so the worker looks around as well
        self.yield_now();
        false
    }

    /// What a suspension does while it is forbidden.
    ///
    /// # Panics
    /// Always, with the reason.
    #[cold]
    pub(crate) fn refuse_to_suspend(self) -> ! {
        panic!("{}", self.core().forbidden.get().unwrap_or("suspending is forbidden here"))
    }

    /// The fiber's own value under this key (the address of a static).
    pub(crate) fn local(self, key: usize) -> Option<Rc<dyn Any>> {
        self.place().locals.get(key)
    }

    /// Sets the fiber's own value under this key, and returns the one before. The values are dropped on the fiber, at its
    /// end.
    pub(crate) fn set_local(self, key: usize, value: Rc<dyn Any>) -> Option<Rc<dyn Any>> {
        self.place().locals.set(key, value)
    }

    /// Drops the fiber's values now. For a body that wants to publish its result after that.
    pub(crate) fn end_locals(self) {
        self.place().locals.end();
    }
}

impl fmt::Debug for Here {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Here").field(&self.header().id).finish()
    }
}

/// While it lives, its fiber does not suspend.
#[must_use]
#[derive(Debug)]
pub(crate) struct Unsuspended {
    here: Here,
    before: Option<&'static str>,
}

impl Drop for Unsuspended {
    fn drop(&mut self) {
        let core = self.here.core();
        core.forbidden.set(self.before);
        if self.before.is_none() {
            core.unusual.set(core.unusual.get() & !unusual::FORBIDDEN);
        }
    }
}

impl Core {
    /// A park while something is out of the ordinary: the runtime ends, the thread panics, or suspending is forbidden.
    #[cold]
    #[inline(never)]
    pub(super) fn park_unusual(&self, task: &Task) -> Resumed {
        if let Some(why) = self.forbidden.get() {
            panic!("{why}");
        }
        let panicking = self.is_panicking(task);
        if self.is_ending() && !panicking && !task.has(flag::MAIN | flag::OFFERED) {
            self.abandon_if_stubborn(task);
            task.set(flag::OFFERED);
            return Resumed::Unwind;
        }
        self.suspend_counted(task, panicking);
        match self.verdict.get() {
            Resumed::Ready => {
                task.clear(flag::OFFERED);
                Resumed::Ready
            }
            _ => self.take_verdict(task),
        }
    }

    /// A yield while something is out of the ordinary.
    #[cold]
    #[inline(never)]
    pub(super) fn yield_unusual(&self, task: &Task) {
        if let Some(why) = self.forbidden.get() {
            panic!("{why}");
        }
        let panicking = self.is_panicking(task);
        if self.is_ending() && !panicking && !task.has(flag::MAIN) {
            self.abandon_if_stubborn(task);
            panics::unwind();
        }
        // SAFETY: it runs, so it is in no queue.
        unsafe { self.started.push(NonNull::from(task)) };
        self.suspend_counted(task, panicking);
    }

    fn suspend_counted(&self, task: &Task, panicking: bool) {
        if panicking {
            task.set(flag::PANIC_COUNTED);
            self.panicking.set(self.panicking.get() + 1);
        }
        self.suspend(task);
        if panicking {
            task.clear(flag::PANIC_COUNTED);
            self.panicking.set(self.panicking.get() - 1);
        }
    }

    /// What the worker wants of the fiber that it has resumed without a wake.
    #[cold]
    pub(super) fn take_verdict(&self, task: &Task) -> Resumed {
        task.set(flag::OFFERED);
        self.unusual.set(self.unusual.get() | unusual::OFFERED);
        self.verdict.replace(Resumed::Ready)
    }

    /// Wakes a fiber of any runtime.
    #[inline(always)]
    pub(super) fn ready(&self, task: TaskRef) {
        // SAFETY: a wake is owed to it, so it has not ended, and this wake is the only one.
        unsafe {
            if task.0.as_ref().owner() == self.remote {
                self.started.push(task.0);
            } else {
                self.ready_elsewhere(task);
            }
        }
    }

    /// As [`ready`](Core::ready), for a fiber that has slept.
    pub(super) fn ready_cold(&self, task: TaskRef) {
        // SAFETY: a wake is owed to it, so it has not ended.
        let header = unsafe { task.0.as_ref() };
        if header.owner() == self.remote {
            header.prefetch();
        }
        self.ready(task);
    }

    /// # Safety
    /// As for [`ready`](super::ready).
    #[inline(never)]
    unsafe fn ready_elsewhere(&self, task: TaskRef) {
        // SAFETY: a wake is owed to it, so its block is there, and so is its owner, unless it was given up.
        let Some(owner) = (unsafe { task.0.as_ref().owner().as_ref() }) else {
            return; // nobody will ever resume it
        };
        if owner.shared() == Arc::as_ptr(&self.shared) {
            // SAFETY: a wake is owed to it; this worker's own runtime lives.
            unsafe { owner.send(task.0) };
        } else {
            super::spawn::ready_from_outside(task);
        }
    }
}
