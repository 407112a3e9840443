//! What a worker does when it has nothing to run.
//!
//! First it spins for a moment, since the wake that it waits for is often on its way (a round trip between two workers
//! takes 700 ns with a spinning partner, 6,700 with a sleeping one). Then it is a *watcher*: it naps, and between naps it
//! looks whether another worker has fibers to give away. After 20 ms without having found any, in however many pauses, it no
//! longer watches but sleeps deeply: until something wakes it, be it its own next deadline. A spawner that sees a deep sleeper
//! wakes it, and then it watches for at least one more millisecond.
//!
//! Nobody sleeps over a wake. Both sides are SeqCst, so in their total order one of them comes first:
//!
//! ```text
//!    sleeper                         waker
//!    1. says that it sleeps          1. pushes to the inbox
//!    2. looks into the inbox         2. asks whether the owner sleeps
//! ```
//!
//! Either the sleeper sees the push, or the waker sees the sleeper and writes its eventfd. The spawner's look for deep
//! sleepers has no such order, because it would cost every spawn a fence. In its place a deep sleep begins with one more
//! nap: by the end of it the spawns that missed the announcement are visible, and the sleeper looks again.

use std::time::Duration;

use super::shared::phase;
use super::worker::Core;
use crate::prim::plain::{AtomicU32, AtomicUsize, Ordering, fence};

/// How long a worker spins before its first nap: at least, and at most while spinning turns out to be worth it. To sleep and
/// to be woken costs 5 to 10 µs of CPU, but a CPU that has gone to sleep may take 20 to 50 µs to come back, and meanwhile its
/// partner falls asleep as well. A pipeline of eight empty stages on two workers took 2,100 to 4,000 ns per item with 2 µs,
/// 450 to 2,000 with at most 20, and takes 360 to 460 with 40.
const SPIN_MIN_NS: u64 = 2_000;
const SPIN_MAX_NS: u64 = 40_000;
/// Processor pauses between two looks, of 10 to 20 ns each.
const SPIN_STEPS: u32 = 4;
/// A watcher's naps: the first ones, and the longest. 50 µs is what a nap costs (5 µs of CPU) times ten.
const NAP_MIN_NS: u64 = 50_000;
const NAP_MAX_NS: u64 = 500_000;
/// The naps of a worker for which there is no CPU of its own. It would take the time of one that works: with the naps above
/// two spare workers cost a busy pair 5 to 15 %.
const SPARE_NAP_NS: u64 = 1_000_000;
/// After so much time without work in which there was nothing to take, a worker does not watch any more. It is the sum of its
/// pauses: a server whose fibers wait for sockets has short ones only, and naps in each took a fifth of its CPU time.
const WATCH_NS: u64 = 20_000_000;
/// A worker that is called for help watches for this long at least, so it is not called more often.
const CALLED_NS: u64 = 1_000_000;
/// Without work for this long, a worker asks whether that is a deadlock.
const DEADLOCK_NS: u64 = 20_000_000;
/// The nap that begins a deep sleep. Not shorter than it has to be, since it costs 1 µs of CPU to have a timer go off before the
/// kernel's own next one: with 50 µs, each pause of a server was a tenth dearer.
const FIRST_NAP_NS: u64 = 10_000_000;
/// How long the CPU may be away when it is offered to others.
const OFFER_NS: u64 = 10_000_000;
/// While a fiber waits for a stack: how often to try again, should nobody say that one is free.
const STUCK_NS: u64 = 1_000_000;
/// Stacks that an idle worker gives back at a time (25 µs) before it looks for work again.
const TRIM_BATCH: usize = 32;
/// Idle for this long, it gives back one batch after the other; one that is never idle for so long, one batch in this time.
/// To fetch a stack again costs as much as to give it back, twice what a spawn does, so a pause in the work is no reason.
const TRIM_NS: u64 = 1_000_000;

const AWAKE: u32 = 0;
const NAP: u32 = 1;
const DEEP: u32 = 2;

/// Whether a worker sleeps.
#[derive(Debug)]
pub(super) struct Sleep(AtomicU32);

impl Sleep {
    pub(super) const fn new() -> Sleep {
        Sleep(AtomicU32::new(AWAKE))
    }

    /// Ends the sleep, for a waker that has pushed: true if there was one, and then the caller notifies the poller.
    pub(super) fn end(&self, deep: &AtomicUsize) -> bool {
        match self.0.load(Ordering::SeqCst) {
            NAP => self.change(NAP),
            DEEP => self.end_deep(deep),
            _ => false,
        }
    }

    /// Ends a deep sleep, and takes the sleeper off the count.
    pub(super) fn end_deep(&self, deep: &AtomicUsize) -> bool {
        let ended = self.0.load(Ordering::Relaxed) == DEEP && self.change(DEEP);
        if ended {
            deep.fetch_sub(1, Ordering::Relaxed);
        }
        ended
    }

    fn change(&self, from: u32) -> bool {
        self.0
            .compare_exchange(from, AWAKE, Ordering::SeqCst, Ordering::Relaxed)
            .is_ok()
    }

    fn begin(&self, mode: u32, deep: &AtomicUsize) {
        if mode == DEEP {
            deep.fetch_add(1, Ordering::Relaxed);
        }
        self.0.store(mode, Ordering::SeqCst);
    }

    /// The sleeper is awake. True if somebody has woken it.
    fn over(&self, deep: &AtomicUsize) -> bool {
        !self.end_deep(deep) && !self.change(NAP)
    }
}

/// How long a worker spins: longer if the times without work turn out to be short.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spin(u64);

impl Spin {
    pub(super) const fn new() -> Spin {
        Spin(SPIN_MIN_NS)
    }

    fn ns(self) -> u64 {
        self.0
    }

    /// The worker had nothing to do for so long.
    fn learn(&mut self, idle_ns: u64) {
        self.0 = match idle_ns < self.0 {
            true => (self.0 * 2).min(SPIN_MAX_NS),
            false => (self.0 / 2).max(SPIN_MIN_NS),
        };
    }
}

/// For how long a worker still watches the others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watching(u64);

impl Watching {
    pub(super) const fn new() -> Watching {
        Watching(WATCH_NS)
    }

    fn left_ns(self) -> u64 {
        self.0
    }

    /// It has for so long, and found nothing.
    fn spend(&mut self, ns: u64) {
        self.0 = self.0.saturating_sub(ns);
    }

    /// It has found something.
    fn pays(&mut self) {
        self.0 = WATCH_NS;
    }

    /// Somebody says that there is something.
    fn called(&mut self) {
        self.0 = self.0.max(CALLED_NS);
    }
}

impl Core {
    /// Waits until there may be something to run.
    #[cold]
    pub(super) fn rest(&self) {
        let began = self.clock.now();
        self.publish_idle();
        let (mut now, mut since) = (began, began);
        while !self.has_work(now) && !self.look_around(since, now) {
            let woken = self.wait_a_little(since, now);
            now = self.clock.now();
            if woken {
                // Whoever did that has something to give away, perhaps not at the first look.
                let mut placement = self.placement.borrow_mut();
                placement.watching.spend(now.saturating_sub(since));
                placement.watching.called();
                placement.set_deep(false);
                since = now;
            }
        }
        let idle_ns = now.saturating_sub(began);
        self.publish_busy(idle_ns);
        let mut placement = self.placement.borrow_mut();
        placement.watching.spend(now.saturating_sub(since));
        placement.spin.learn(idle_ns);
        drop(placement);
        // Not before: fibers that are woken by events must not be in the queue of a worker that counts as idle.
        if self.undelivered.take() {
            self.polled(now);
            self.dispatch();
        }
    }

    /// Whether `work` would find something to do.
    fn has_work(&self, now: u64) -> bool {
        !self.started.is_empty()
            || self.undelivered.get()
            || self.doomed.get().is_some()
            || !self.remote().inbox.is_empty()
            || !self.is_stuck() && self.has_unstarted()
            || self.shared.phase.load(Ordering::Relaxed) != self.phase.get()
            || self.deadline_ns() <= now
    }

    pub(super) fn has_unstarted(&self) -> bool {
        self.held.get().is_some() || !self.fixed.is_empty() || !self.remote().unstarted.is_empty()
    }

    /// Whether the held fiber cannot be started: there is no stack, and none has been given back since. The others come after it.
    fn is_stuck(&self) -> bool {
        self.stuck.get() && self.shared.stacks.exhausted().is_some()
    }

    /// When the next alarm may be due.
    fn deadline_ns(&self) -> u64 {
        self.wheel.borrow().next().map_or(u64::MAX, crate::timer::ticks_to_ns)
    }

    /// Does what is to be done between sleeps. True if that has found work.
    fn look_around(&self, began: u64, now: u64) -> bool {
        if self.answer_board() {
            return true;
        }
        if self.is_watcher() && self.watch(now) {
            self.placement.borrow_mut().watching.pays();
            return true;
        }
        match self.phase.get() {
            phase::DRAIN.. => self.may_end(now),
            _ => (now - began >= DEADLOCK_NS || self.waits_in_vain()) && self.detect_deadlock(),
        }
    }

    /// True if somebody has woken the worker.
    fn wait_a_little(&self, began: u64, now: u64) -> bool {
        let idle_for = now - began;
        let watching = self.is_watcher();
        let may_trim = idle_for >= TRIM_NS || now.saturating_sub(self.trimmed.get()) >= TRIM_NS;
        if may_trim && self.cache.borrow().surplus() != 0 {
            self.trimmed.set(now);
            if self.cache.borrow_mut().trim_some(TRIM_BATCH) {
                return false;
            }
        }
        // While it spins nobody looks at its poller.
        let longest = match self.shared.descriptors.load(Ordering::Relaxed) {
            0 => SPIN_MAX_NS,
            _ if self.events_last.get() == 0 => SPIN_MIN_NS,
            _ => 0,
        };
        let spare = self.index >= self.peers();
        if watching && !spare && idle_for < self.placement.borrow().spin.ns().min(longest) {
            (0..SPIN_STEPS).for_each(|_| std::hint::spin_loop());
            return false;
        }
        let (mode, mut limit) = match watching {
            true if idle_for < self.placement.borrow().watching.left_ns() || self.others_have_unstarted() => match spare {
                true => (NAP, SPARE_NAP_NS),
                false => (NAP, (idle_for / 8).clamp(NAP_MIN_NS, NAP_MAX_NS)),
            },
            // The nap that begins a deep sleep.
            true if !self.placement.borrow().is_deep() => (DEEP, FIRST_NAP_NS),
            // Not yet long enough to look for a deadlock.
            _ if idle_for < DEADLOCK_NS => (DEEP, self.patience().min(DEADLOCK_NS - idle_for)),
            _ => (DEEP, self.patience()),
        };
        self.placement.borrow_mut().set_deep(mode == DEEP);
        if self.stuck.get() {
            limit = limit.min(STUCK_NS);
        }
        self.blocks.tidy();
        if self.cache.borrow().surplus() != 0 {
            limit = limit.min(TRIM_NS);
        }
        let until_alarm = self.deadline_ns().saturating_sub(now);
        let woken = self.sleep(mode, limit.min(until_alarm));
        self.stuck.set(false);
        woken
    }

    /// Whether there are others from whom it may take fibers, and still may.
    fn is_watcher(&self) -> bool {
        self.several && self.phase.get() <= phase::DRAIN
    }

    /// Whether there is anything that a watcher may take, once it has waited long enough.
    fn others_have_unstarted(&self) -> bool {
        self.shared.workers.iter().any(|worker| !worker.unstarted.is_empty())
    }

    /// Whether there is something to watch after all. Between two deep sleeps nobody is called for help, so it is asked again once
    /// this sleep has been announced.
    fn misses_spawns(&self) -> bool {
        self.is_watcher() && self.others_have_unstarted()
    }

    /// Sleeps for `ns` at most (`u64::MAX`: without a limit), unless something has come meanwhile. True if it was woken.
    fn sleep(&self, mode: u32, ns: u64) -> bool {
        let (remote, deep) = (self.remote(), &self.shared.deep);
        remote.sleep.begin(mode, deep);
        fence(Ordering::SeqCst); // pairs with the one of whoever hands fibers over
        let stay = remote.inbox.is_empty_ordered()
            && (remote.unstarted.is_empty() || self.stuck.get())
            && self.shared.phase.load(Ordering::SeqCst) == self.phase.get()
            && !self.board_asks()
            && !self.may_end_anew()
            && !(mode == DEEP && self.misses_spawns());
        if stay {
            self.offer_cpu(ns);
            let limit = (ns != u64::MAX).then(|| Duration::from_nanos(ns));
            let waited = remote.poller.wait(limit, &mut self.events.borrow_mut());
            let woken = remote.sleep.over(deep);
            match waited {
                Ok(count) => {
                    self.undelivered.set(count != 0);
                    self.events_last.set(count);
                }
                // The poller is broken, which only a program that closes foreign descriptors achieves.
                Err(_) => std::thread::sleep(Duration::from_millis(1)),
            }
            woken
        } else {
            remote.sleep.over(deep)
        }
    }

    /// Lets another process have the CPU before the worker sleeps, if the last wait has brought several events at once: those who
    /// cause them may be waiting for this very CPU, and the more of them there are at the next look, the fewer sleeps they cost (5 µs
    /// each, a third of what a small request takes). Nothing else may be due meanwhile. A single one who waits for an answer is not
    /// made to wait for it: whoever sleeps gets its CPU back sooner than whoever gives it away.
    fn offer_cpu(&self, ns: u64) {
        if self.events_last.get() > 1 && ns >= OFFER_NS {
            std::thread::yield_now();
        }
    }

    fn publish_idle(&self) {
        self.told.set(false);
        // It counts as in use, and others are about to count those.
        self.cool();
        let counters = &self.remote().counters;
        counters.timers.store(self.wheel.borrow().len(), Ordering::Relaxed);
        counters.owed.store(self.count_owed(), Ordering::Relaxed);
        // SeqCst: whoever sees the worker idle sees the numbers above, see `quiet`.
        counters.idle.fetch_add(1, Ordering::SeqCst);
    }

    fn publish_busy(&self, idle_ns: u64) {
        self.placement.borrow_mut().set_deep(false);
        let counters = &self.remote().counters;
        counters
            .idle_ns
            .store(counters.idle_ns.load(Ordering::Relaxed) + idle_ns, Ordering::Relaxed);
        counters.idle.fetch_add(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watching_ends_after_many_short_pauses_and_begins_anew_when_it_pays() {
        let mut watching = Watching::new();
        (0..1_000).for_each(|_| watching.spend(WATCH_NS / 999));
        assert_eq!(watching.left_ns(), 0);
        watching.called();
        assert_eq!(watching.left_ns(), CALLED_NS);
        watching.pays();
        watching.called();
        assert_eq!(watching.left_ns(), WATCH_NS);
    }

    #[test]
    fn spinning_is_learnt_from_short_idle_times_and_unlearnt_from_long_ones() {
        let mut spin = Spin::new();
        spin.learn(SPIN_MIN_NS);
        assert_eq!(spin.ns(), SPIN_MIN_NS);
        (0..10).for_each(|_| spin.learn(300));
        assert_eq!(spin.ns(), SPIN_MAX_NS);
        spin.learn(SPIN_MAX_NS / 2);
        assert_eq!(spin.ns(), SPIN_MAX_NS);
        (0..10).for_each(|_| spin.learn(u64::MAX));
        assert_eq!(spin.ns(), SPIN_MIN_NS);
    }
}
