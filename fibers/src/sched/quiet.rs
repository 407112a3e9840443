//! When nothing can go on any more: the end of a shutdown, and deadlocks.
//!
//! A runtime is *quiet* if at one moment every worker was idle and nothing was on its way to any of them. Each worker has
//! a counter that is odd while it is idle. Whoever asks (an idle worker) reads all counters, then what might still set
//! something in motion (alarms, blocking jobs, threads of others), then the queues, then all counters again: if each was odd
//! and none has changed, all workers were idle from the first reading to the second, and what the queues showed in between
//! was true of one moment.
//!
//! The order matters: a blocking job or a thread wakes somebody and then is gone. If it was gone when it was looked for, what
//! it has woken is in a queue by the time that the queues are read, or has made a worker count.

use super::shared::{Remote, Shared, phase};
use super::worker::Core;
use crate::prim::plain::{AtomicBool, AtomicUsize, Ordering};
use crate::sys;

/// How long a fiber that is suspended in a destructor may wait for a thread outside of the runtime, when everything else
/// has ended.
const GRACE_NS: u64 = 100_000_000;

/// Threads of this crate that belong to no runtime, and have nothing to wake anybody for.
static BYSTANDERS: AtomicUsize = AtomicUsize::new(0);

/// Whether such a thread is one at the moment. SeqCst: see above.
#[derive(Debug)]
pub(crate) struct Bystander(AtomicBool);

impl Bystander {
    /// It is none.
    pub(crate) const fn new() -> Bystander {
        Bystander(AtomicBool::new(false))
    }

    /// To be set by the thread itself, when it has woken whomever it had to; to be taken back before it is given something to do.
    /// Not by two threads at a time.
    pub(crate) fn set(&self, is_one: bool) {
        match (self.0.swap(is_one, Ordering::SeqCst), is_one) {
            (false, true) => drop(BYSTANDERS.fetch_add(1, Ordering::SeqCst)),
            (true, false) => drop(BYSTANDERS.fetch_sub(1, Ordering::SeqCst)),
            _ => {}
        }
    }
}

impl Shared {
    /// What `ask` says, if nothing goes on in this runtime from before it is asked until after. Called by an idle worker.
    pub(super) fn if_quiet<R>(&self, ask: impl FnOnce(&Shared) -> R) -> Option<R> {
        // The counters only grow, so none has changed if their sum has not.
        let read = || {
            self.workers.iter().try_fold(0_u64, |sum, w| {
                let count = w.counters.idle.load(Ordering::SeqCst);
                (count % 2 == 1).then(|| sum.wrapping_add(count))
            })
        };
        let before = read()?;
        let answer = ask(self);
        let queues = self
            .workers
            .iter()
            .all(|w| w.inbox.is_empty_ordered() && w.unstarted.is_empty());
        (queues && read() == Some(before)).then_some(answer)
    }

    /// How many times a worker has become idle or busy.
    pub(super) fn idle_changes(&self) -> u64 {
        self.workers.iter().map(|w| w.counters.idle.load(Ordering::SeqCst)).sum()
    }

    fn sum(&self, count: impl Fn(&Remote) -> usize) -> usize {
        self.workers.iter().map(count).sum()
    }

    /// Stacks in use by fibers.
    fn live(&self) -> usize {
        self.sum(|w| w.counters.live.load(Ordering::Relaxed))
    }

    /// Whether something of the runtime itself may still wake a fiber, although it is quiet.
    pub(super) fn expects(&self) -> bool {
        self.sum(|w| w.counters.timers.load(Ordering::Relaxed) + w.counters.owed.load(Ordering::Relaxed)) != 0
            || !self.blocking.is_idle()
    }

    /// Whether the process has threads that are not this runtime's: any of them may wake a fiber.
    pub(super) fn has_foreign_threads(&self) -> bool {
        let own = self.workers.len() + self.blocking.threads() + BYSTANDERS.load(Ordering::SeqCst);
        sys::thread_count().map_or(true, |all| all > own)
    }
}

/// What becomes of a run in which nothing goes on, after the end of the main fiber, or while it waits in a destructor after a deadlock.
#[derive(Clone, Copy)]
enum End {
    Over,
    /// Something may still wake a fiber.
    Awaited,
    Deadlock,
}

impl Core {
    /// When suspended fibers are waited for or unwound, on an idle worker: ends the run if it is over. True if the phase has changed.
    pub(super) fn may_end(&self, now: u64) -> bool {
        if self.index != 0 {
            // Worker 0 decides, and has to know that this one is idle.
            if !self.told.replace(true) {
                self.shared.workers[0].wake();
            }
            return false;
        }
        self.looked_at.set(self.shared.idle_changes());
        let since = self.quiet_since.get().unwrap_or(now);
        let end = self.shared.if_quiet(|shared| match shared.live() {
            0 => End::Over,
            _ if shared.expects() => End::Awaited,
            _ if self.phase.get() != phase::UNWIND => End::Deadlock,
            _ if !shared.has_foreign_threads() => End::Over,
            // The main fiber cannot be left, so it is waited for as long as somebody is there.
            _ if now - since >= GRACE_NS && self.main.get().is_none() => End::Over,
            _ => End::Awaited,
        });
        self.quiet_since.set(end.map(|_| since));
        let over = match end {
            Some(End::Over) if self.main.get().is_some() => return self.detect_deadlock_of_main(),
            Some(End::Over) => true,
            Some(End::Deadlock) => return self.detect_deadlock(),
            Some(End::Awaited) | None => false,
        };
        if over {
            self.shared.advance(phase::LEAVE);
        }
        over
    }

    /// Whether the answer of `may_end` may be another one since. Asked by a worker that has announced its sleep: another one
    /// that becomes idle after that sees the sleeper, and wakes it.
    pub(super) fn may_end_anew(&self) -> bool {
        self.index == 0 && self.phase.get() >= phase::DRAIN && self.shared.idle_changes() != self.looked_at.get()
    }

    /// How long to sleep although nothing is known that would end the sleep.
    pub(super) fn patience(&self) -> u64 {
        /// While threads of others could still wake somebody: how often to ask whether they are still there.
        const FOREIGN_NS: u64 = 1_000_000_000;
        /// While descriptors are watched: how often to see to the pollers of busy workers.
        const POLLERS_NS: u64 = 10_000_000;
        match self.phase.get() {
            phase::UNWIND if self.quiet_since.get().is_some() => GRACE_NS / 4,
            _ if self.shared.descriptors.load(Ordering::Relaxed) != 0 => {
                if self.several {
                    POLLERS_NS
                } else {
                    u64::MAX
                }
            }
            _ => FOREIGN_NS,
        }
    }
}
