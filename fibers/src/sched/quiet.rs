//! When nothing can go on any more: the end of a shutdown, and deadlocks.
//!
//! A runtime is *quiet* if at one moment every worker was idle and nothing was on its way to any of them. Each worker has
//! a counter that is odd while it is idle. Whoever asks (an idle worker) reads all counters, then the queues, then all
//! counters again: if each was odd and none has changed, all workers were idle from the first reading to the second, and
//! what the queues showed in between was true of one moment. From then on only alarms, descriptors, blocking jobs and
//! threads of others can set anything in motion.

use super::shared::{Remote, Shared, phase};
use super::worker::Core;
use crate::prim::plain::Ordering;
use crate::sys;

/// How long a fiber that is suspended in a destructor may wait for a thread outside of the runtime, when everything else
/// has ended.
const GRACE_NS: u64 = 100_000_000;

impl Shared {
    /// Whether nothing goes on in this runtime. Asked by an idle worker.
    pub(super) fn is_quiet(&self) -> bool {
        // The counters only grow, so none has changed if their sum has not.
        let read = || {
            self.workers.iter().try_fold(0_u64, |sum, w| {
                let count = w.counters.idle.load(Ordering::SeqCst);
                (count % 2 == 1).then(|| sum.wrapping_add(count))
            })
        };
        let before = read();
        before.is_some()
            && self
                .workers
                .iter()
                .all(|w| w.inbox.is_empty_ordered() && w.unstarted.is_empty())
            && read() == before
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
        let own = self.workers.len() + self.blocking.threads();
        sys::thread_count().map_or(true, |all| all > own)
    }
}

impl Core {
    /// After the end of the main fiber, on an idle worker: ends the run if it is over. True if the phase has changed.
    pub(super) fn may_end(&self, now: u64) -> bool {
        if self.index != 0 {
            // Worker 0 decides, and has to know that this one is idle.
            if !self.told.replace(true) {
                self.shared.workers[0].wake();
            }
            return false;
        }
        if !self.shared.is_quiet() {
            self.quiet_since.set(None);
            return false;
        }
        let since = self.quiet_since.get().unwrap_or(now);
        self.quiet_since.set(Some(since));
        let over = match self.shared.live() {
            0 => true,
            _ if self.shared.expects() => false,
            _ if self.phase.get() == phase::UNWIND => now - since >= GRACE_NS || !self.shared.has_foreign_threads(),
            _ => return self.detect_deadlock(),
        };
        if over {
            self.shared.advance(phase::LEAVE);
        }
        over
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
