//! How a run ends: what becomes of the fibers that the main fiber leaves behind.
//!
//! Unwinding, worker by worker: unstarted fibers are started with `cancelled`, so that their closures are dropped;
//! suspended ones are resumed with [`Resumed::Unwind`], upon which their performers withdraw and raise; those that run are
//! told at their next suspension. A fiber that swallows the unwinding is raised again, [`MAX_RAISES`] times in all, and
//! then leaked. One that suspends in the middle of a panic is never raised into: it waits for its partner as ever.
//!
//! When no worker can go on (see [`quiet`](super::quiet)) what is left is leaked: its stack stays mapped and its block
//! allocated for ever, since others may hold pointers to both; the runtime's memory stays with it, and a late wake is
//! ignored.
#![expect(unsafe_code, reason = "fibers are handled through pointers")]

use std::ptr::{NonNull, null};

use super::context::StackHeader;
use super::current::Resumed;
use super::shared::phase;
use super::task::{PARKED, Task, flag};
use super::worker::{Core, unusual};
use crate::prim::plain::Ordering;

/// What happens at the end of a run to the fibers that have not ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shutdown {
    /// They are unwound: each blocked operation withdraws, and the destructors of the fiber run. Unstarted ones never run.
    /// A fiber that catches the unwinding is unwound again when it blocks the next time, 16 times in all, and then leaked.
    /// With `panic = "abort"`: as `Leak`.
    #[default]
    Unwind,
    /// They are waited for.
    Drain,
    /// They are left as they are: neither they nor what they own is dropped.
    Leak,
}

impl Shutdown {
    /// What follows the end of the main fiber.
    pub(super) fn first_phase(self) -> u32 {
        match self {
            Shutdown::Drain => phase::DRAIN,
            Shutdown::Unwind if cfg!(panic = "unwind") => phase::UNWIND,
            Shutdown::Unwind | Shutdown::Leak => phase::LEAVE,
        }
    }
}

/// How many times a fiber is unwound before it is given up.
pub(super) const MAX_RAISES: u32 = 16;

impl Core {
    /// Takes notice of a new phase.
    #[cold]
    pub(super) fn enter(&self, phase: u32) {
        self.phase.set(phase);
        if phase == phase::UNWIND {
            self.unusual.set(self.unusual.get() | unusual::ENDING);
        }
    }

    /// Whether suspended fibers are unwound.
    #[inline]
    pub(super) fn is_ending(&self) -> bool {
        self.unusual.get() & unusual::ENDING != 0
    }

    /// Whether a fiber that starts now only drops its closure.
    #[inline(always)]
    pub(super) fn cancels(&self, task: &Task) -> bool {
        self.unusual.get() != 0 && self.begin_unusual(task)
    }

    /// As above, while something is out of the ordinary: the fiber is shown to the watchdog as well.
    #[cold]
    #[inline(never)]
    fn begin_unusual(&self, task: &Task) -> bool {
        self.show(task);
        self.is_ending() && !task.has(flag::MAIN)
    }

    /// Resumes every fiber that is suspended, to be unwound. False if there was none.
    pub(super) fn sweep(&self) -> bool {
        let mut found = false;
        // Borrowed for each step only: what is resumed takes itself out of the registry.
        let places = self.registry.borrow().capacity();
        for key in 0..places {
            let place = self.registry.borrow().get(key).copied();
            // SAFETY: what is registered is in use.
            if let Some(place) = place.map(|place| unsafe { place.as_ref() }) {
                found |= self.raise_into(place);
            }
        }
        found
    }

    fn raise_into(&self, place: &StackHeader) -> bool {
        let Some(task) = place.task() else {
            return false;
        };
        // While the thread does not panic at all, nobody on it does, whatever it looked like when it suspended.
        let spared = if std::thread::panicking() { flag::PANIC_COUNTED } else { 0 };
        if task.link.load(Ordering::Relaxed) != PARKED || task.has(flag::MAIN | flag::OFFERED | spared) {
            return false;
        }
        if place.raises.get() >= MAX_RAISES {
            self.bury(place);
            return true;
        }
        self.verdict.set(Resumed::Unwind);
        // SAFETY: suspended and in no queue. A wake that is on its way finds it suspended again, or was withdrawn.
        unsafe { self.resume(NonNull::from(task)) };
        true
    }

    /// Gives the running fiber up for ever if it has been unwound often enough. Then this does not return.
    pub(super) fn abandon_if_stubborn(&self, task: &Task) {
        // SAFETY: a running fiber has a stack.
        let place = unsafe { &*task.stack.get() };
        // One that is in a queue by now has been woken: it goes on, to take what it was woken for.
        if place.raises.get() >= MAX_RAISES && task.link.load(Ordering::Relaxed) == PARKED {
            self.abandoned.set(true);
            self.ended.set(Some(NonNull::from(place)));
            self.to_native(&task.sp);
            unreachable!("an abandoned fiber was resumed");
        }
    }

    /// Leaks a suspended fiber.
    pub(super) fn bury(&self, place: &StackHeader) {
        let task = place.task();
        if let Some(task) = task {
            // A wake from this very thread must not find its way into the queue of started fibers,
            // neither of this run nor of the next one; one that is in the inbox already is sorted out there.
            task.set_owner(null());
            task.set(flag::LEAKED);
        }
        self.unregister(place);
        place.take_stack().leak();
        self.shared.keep_for_ever();
        if let Some(task) = task {
            task.abandon();
        }
    }

    /// How many fibers here look forgotten but are certain to be woken, or wait for a stack.
    pub(super) fn count_owed(&self) -> usize {
        let offered = if self.unusual.get() == 0 { 0 } else { self.count_offered() };
        offered + usize::from(self.held.get().is_some() && !self.waits_in_vain())
    }

    /// Whether the held fiber has waited for a stack for so long that only its siblings could help, by ending.
    pub(super) fn waits_in_vain(&self) -> bool {
        const LONG_NS: u64 = 1_000_000_000;
        let since = self.stuck_since.get();
        since.is_some_and(|since| self.clock.now().saturating_sub(since) >= LONG_NS)
    }

    fn count_offered(&self) -> usize {
        let is_offered = |place: NonNull<StackHeader>| {
            // SAFETY: what is registered is in use.
            unsafe { place.as_ref() }.task().is_some_and(|task| task.has(flag::OFFERED))
        };
        self.registry.borrow().iter().filter(|(_, place)| is_offered(**place)).count()
    }

    /// Gives up all that is left here, at the end of the run.
    pub(super) fn leave(&self) {
        self.show_nobody();
        while self.started.pop().is_some() {}
        // What only this worker could have started, and with `Leak` everything.
        let leaks = self.shared.config.shutdown.first_phase() == phase::LEAVE;
        let all = || leaks.then(|| self.remote().unstarted.pop_oldest()).flatten();
        while let Some(task) = self.held.take().or_else(|| self.fixed.pop_oldest()).or_else(all) {
            // SAFETY: out of a queue, so it is alive; its own reference is never given back.
            unsafe { task.as_ref() }.abandon();
        }
        // What came in late waits for the next run, or for the drop of the runtime.
        for task in self.remote().inbox.drain() {
            // SAFETY: a fiber in the inbox is alive.
            if !unsafe { task.as_ref() }.has(flag::STARTED) {
                // SAFETY: out of the inbox, and the runtime lives. The inbox is closed after all runs.
                unsafe { self.remote().inbox.push(task) };
            }
        }
        self.cool();
        let left: Vec<_> = self.registry.borrow().iter().map(|(_, place)| *place).collect();
        for place in left {
            // SAFETY: what is registered is in use.
            self.bury(unsafe { place.as_ref() });
        }
    }
}
