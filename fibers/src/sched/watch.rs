//! Placement rule 3: an idle worker watches the others, and takes unstarted fibers from one that does not get around to them.
//!
//! The watched worker pays nothing: its counters are read from outside, at most once in 30 µs. What a watcher wants to know
//! is whether fibers that wait there would run for long (then it pays to take them) or would talk to those that have
//! started there (then they had better stay, since nothing ever brings them back). It looks at two things:
//!
//! - How long the oldest one has waited, *in CPU time of the worker it waits for*. On a machine with other work a worker
//!   that is not on a CPU gets around to nothing, which says nothing about its fibers. (A worker that is blocked in the
//!   kernel, by a fiber that reads a file, is told apart: for that one the clock goes on.)
//! - How long slices are there. Where the fibers that were started have ended, 2 µs are enough; where they go on and on,
//!   10 µs, since even fibers that do nothing but talk through buffered channels have slices of 2 µs.
//!
//! Then it takes one, and looks what that one does: if it computes, it takes bolder shares; if it ends or parks at once, it
//! leaves the worker in peace for a while. If it begins by waiting for a message it is one of a pool (see
//! [`placement`](super::placement), rule 4), and the watcher takes its even share of the siblings, and no more.

use super::current::WaitKind;
use super::shared::Remote;
use super::unstarted::{Look, Settled};
use super::worker::{BUDGET, Core};
use crate::prim::plain::Ordering;

/// An unstarted fiber that its worker has not started in so much CPU time is neglected, if slices are long there. That is
/// the price of some takes, and at 10 µs fibers were taken that a spawner was just about to start.
const AGE_NS: u64 = 30_000;
/// One that has waited this long may be taken in any case, to see what it does. (A watcher that is wrong once in 1 ms costs
/// the other one 0.1 %.)
const OLD_NS: u64 = 1_000_000;
/// A mean slice from which on it pays to take fibers that run to their end: to take one costs about 1 µs, mostly cache misses.
const LONG_RUN_NS: u64 = 2_000;
/// A mean slice from which on it pays to take fibers that park. Their talk with those that stay gets dearer by 1 to 7 µs a
/// time; with 2 µs, eight producers and eight consumers on a channel of 128 were torn apart, and took five times as long.
const LONG_SLICE_NS: u64 = 10_000;
/// So many fibers are taken one by one, and must have been worth it, before half of a queue is taken.
const PROBES: u32 = 3;
/// For how long a watcher leaves a worker alone from which it has taken something that was not worth it. Without it a main
/// that spawns a million fibers of 50 ns lost one in 50 µs, with the memory of each: 1.5 times the time.
const PEACE_NS: u64 = 1_000_000;
/// For how long the siblings of a shared batch are left to their worker: it may be reading a file before it feeds them. If it
/// computes for longer than this somebody has to start them.
const PATIENCE_NS: u64 = 10_000_000;
/// The same of fibers that the user has spread. A server that takes a thousand connections at once and starts a fiber for each is
/// busy for 10 to 20 ms before its worker starts those that it has dealt to itself. The others have nothing to do meanwhile, and
/// with 10 ms they took them; then the connections stayed unevenly spread for as long as they lasted.
const DEALT_NS: u64 = 100_000_000;
/// How long a busy worker may not look at its poller before another one does it instead.
const DEAF_NS: u64 = 1_000_000;

/// What can be seen of another worker at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sight {
    pub(super) queue: Look,
    /// Picks, up to one turn late.
    pub(super) picks: u64,
    /// Stacks in use.
    pub(super) live: usize,
    /// Its own time: CPU time, and such as it was blocked.
    pub(super) time: u64,
}

/// What a watcher is to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Take {
    Nothing,
    /// One, to see what it does.
    Probe,
    /// Half of what is there.
    Half,
    /// One of what has been shared out, too: its worker takes too long.
    Settled(Settled),
}

/// What a watcher remembers of another worker.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    /// When it looked last, of the clock.
    looked: u64,
    peace_until: u64,
    /// The beginning of the present observation.
    since: Option<Sight>,
    /// The same, of one that lasts for a millisecond.
    old: Option<Sight>,
    /// Since when there has been a batch that was shared out.
    shared: Option<u64>,
    /// Its CPU time at the last look, and the time that it was blocked in the kernel.
    cpu: u64,
    blocked: u64,
    /// How many takes in a row were worth it.
    confidence: u32,
}

impl Seen {
    /// Whether it is time to look again.
    fn is_due(&self, now: u64) -> bool {
        now >= self.peace_until && now - self.looked.min(now) >= AGE_NS
    }

    /// The worker has nothing to give away, or is idle itself.
    fn forget(&mut self) {
        (self.since, self.old, self.shared) = (None, None, None);
    }

    /// Everything that waits there, or a part of it, has been shared out.
    fn there_are_shares(&mut self) {
        self.shared = self.shared.or(self.since.map(|sight| sight.time));
    }

    /// Decides by what has changed since the last looks.
    pub(super) fn judge(&mut self, sight: Sight) -> Take {
        let since = *self.since.get_or_insert(sight);
        let old = *self.old.get_or_insert(sight);
        match self.shared.map(|at| sight.time.saturating_sub(at)) {
            Some(DEALT_NS..) => return Take::Settled(Settled::Dealt),
            Some(PATIENCE_NS..) => return Take::Settled(Settled::Shared),
            _ => {}
        }
        let is_old = sight.time.saturating_sub(old.time) >= OLD_NS;
        if is_old {
            self.old = Some(sight);
        }
        let busy = sight.time.saturating_sub(since.time);
        if busy < AGE_NS {
            return Take::Nothing;
        }
        let neglected = sight.queue.oldest < since.queue.next;
        if neglected && is_slow(&since, &sight, busy) {
            self.since = Some(sight);
            return if self.confidence >= PROBES { Take::Half } else { Take::Probe };
        }
        if !neglected || busy >= OLD_NS {
            self.since = Some(sight);
        }
        if is_old && sight.queue.oldest < old.queue.next {
            return Take::Probe;
        }
        Take::Nothing
    }

    /// Whether what was taken has run for long, so many ns.
    pub(super) fn learn(&mut self, ran: u64, parked: bool, now: u64) {
        let long = if parked { LONG_SLICE_NS } else { LONG_RUN_NS };
        if ran >= long {
            self.confidence += 1;
        } else {
            self.confidence = 0;
            self.peace_until = now + PEACE_NS;
        }
    }
}

/// Whether the mean slice of a worker is long, for what its fibers are.
fn is_slow(since: &Sight, sight: &Sight, busy: u64) -> bool {
    // The numbers of a queue are not read at one moment.
    let started = |s: &Sight| s.queue.next.saturating_sub(s.queue.len as u64);
    let starts = started(sight).saturating_sub(started(since));
    let parked = sight.live.saturating_sub(since.live) as u64;
    // Some of the others have only changed places with fibers that were there before.
    if starts != 0 && starts <= busy / LONG_RUN_NS && parked * 2 <= starts {
        return true;
    }
    // The counter is brought up to date once per turn, hence the turn that is added.
    busy / (sight.picks.wrapping_sub(since.picks) + u64::from(BUDGET)) >= LONG_SLICE_NS
}

/// What a watcher has taken, until it knows what that was.
#[derive(Debug)]
pub(super) struct Taken {
    victim: usize,
    count: u32,
    /// The watcher's CPU time, and its stacks in use.
    at: u64,
    live: usize,
    /// The picks of the other one.
    picks: u64,
}

impl Core {
    /// Looks at the others, on an idle worker. True if it has taken something.
    pub(super) fn watch(&self, now: u64) -> bool {
        if self.learn(now) {
            return true;
        }
        let count = self.shared.workers.len();
        let first = self.random.below(count as u64) as usize;
        let others = (0..count)
            .map(|i| &self.shared.workers[(first + i) % count])
            .filter(|w| w.index != self.index);
        for victim in others {
            if self.is_deaf(victim, now) {
                self.poll_for(victim, now);
                if self.undelivered.get() {
                    return true;
                }
            }
            if self.look_at(victim, now) {
                return true;
            }
        }
        false
    }

    /// Looks at one other worker. True if something was taken from it.
    fn look_at(&self, victim: &Remote, now: u64) -> bool {
        let mut placement = self.placement.borrow_mut();
        let seen = &mut placement.seen[victim.index];
        if !seen.is_due(now) {
            return false;
        }
        let elapsed = now - seen.looked;
        seen.looked = now;
        let queue = victim.unstarted.look();
        // One that is idle has been woken for its fibers, and is on its way.
        if queue.len == 0 || victim.is_idle() {
            seen.forget();
            return false;
        }
        let sight = seen.see(victim, queue, elapsed);
        let (count, reach) = match seen.judge(sight) {
            Take::Nothing => return false,
            Take::Probe => (1, Settled::No),
            Take::Half => (victim.unstarted.len().div_ceil(2), Settled::No),
            Take::Settled(reach) => (1, reach),
        };
        let mut tasks = Vec::new();
        victim.unstarted.take_oldest(count, reach, &mut tasks);
        if tasks.is_empty() {
            seen.there_are_shares();
            return false;
        }
        drop(placement);
        self.placement.borrow_mut().taken = Some(Taken {
            victim: victim.index,
            count: tasks.len() as u32,
            at: self.cpu_ns(),
            live: self.remote().counters.live.load(Ordering::Relaxed),
            picks: victim.counters.picks.load(Ordering::Relaxed),
        });
        self.remote().unstarted.push_oldest(tasks.into_iter())
    }

    /// What the fibers that were taken last have shown, when the worker has run out of work again. True if it has taken more.
    fn learn(&self, now: u64) -> bool {
        let Some(taken) = self.placement.borrow_mut().taken.take() else {
            return false;
        };
        let victim = &self.shared.workers[taken.victim];
        // While its siblings go on over there they may be its partners.
        let untouched = victim.counters.picks.load(Ordering::Relaxed) == taken.picks;
        if untouched
            && matches!(
                self.last_start_waits_for(),
                Some(WaitKind::Receive | WaitKind::Time | WaitKind::Io)
            )
        {
            return self.take_share(victim, &taken);
        }
        let ran = self.cpu_ns().saturating_sub(taken.at) / u64::from(taken.count);
        let parked = self.remote().counters.live.load(Ordering::Relaxed) > taken.live;
        self.placement.borrow_mut().seen[victim.index].learn(ran, parked, now);
        false
    }

    /// Takes an even share of a batch whose fibers begin by waiting.
    fn take_share(&self, victim: &Remote, taken: &Taken) -> bool {
        let mut tasks = Vec::new();
        let site = self.started_site.get();
        let is_sibling = |task| super::placement::site_of(task) == site;
        victim
            .unstarted
            .take_share(self.peers(), taken.count as usize, is_sibling, &mut tasks);
        let mut placement = self.placement.borrow_mut();
        let seen = &mut placement.seen[victim.index];
        seen.there_are_shares();
        drop(placement);
        !tasks.is_empty() && self.remote().unstarted.push_oldest(tasks.into_iter())
    }

    /// Looks at the pollers of those who do not come to it, on a worker that is busy but gets around: there may be no idle one.
    pub(super) fn see_to_pollers(&self, now: u64) {
        if now.saturating_sub(self.saw_to_pollers.get()) < DEAF_NS {
            return;
        }
        self.saw_to_pollers.set(now);
        for worker in self.shared.workers.iter().filter(|worker| worker.index != self.index) {
            if self.is_deaf(worker, now) {
                self.poll_for(worker, now);
                if self.undelivered.take() {
                    self.dispatch();
                }
            }
        }
    }

    /// Whether a worker is too busy to look at its poller, and there may be something to see.
    fn is_deaf(&self, worker: &Remote, now: u64) -> bool {
        self.shared.descriptors.load(Ordering::Relaxed) != 0
            && now.saturating_sub(worker.counters.polled_ns.load(Ordering::Relaxed)) >= DEAF_NS
            && !worker.is_idle()
    }

    /// The CPU time of this worker's thread; that of the clock, if the system does not tell.
    pub(super) fn cpu_ns(&self) -> u64 {
        self.remote()
            .pulse()
            .and_then(|pulse| pulse.cpu_ns().ok())
            .unwrap_or_else(|| self.clock.now())
    }
}

impl Seen {
    /// What there is to see of a worker, `elapsed` ns after the last look.
    fn see(&mut self, worker: &Remote, queue: Look, elapsed: u64) -> Sight {
        let pulse = worker.pulse();
        match pulse.and_then(|pulse| pulse.cpu_ns().ok()) {
            Some(cpu) if cpu != self.cpu => self.cpu = cpu,
            // It has not run, or nothing is known of it.
            _ if pulse.is_none_or(|pulse| pulse.is_blocked().unwrap_or(true)) => self.blocked += elapsed,
            _ => {}
        }
        Sight {
            queue,
            picks: worker.counters.picks.load(Ordering::Relaxed),
            live: worker.counters.live.load(Ordering::Relaxed),
            time: self.cpu + self.blocked,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A worker that is watched: how its numbers have changed since the look before.
    #[derive(Default)]
    struct Watched {
        seen: Seen,
        sight: Option<Sight>,
    }

    impl Watched {
        fn look(&mut self, time: u64, picks: u64, pushed: u64, started: usize, parked: usize) -> Take {
            let mut sight = self.sight.unwrap_or(Sight {
                queue: Look {
                    len: 0,
                    oldest: 0,
                    next: 0,
                },
                picks: 0,
                live: 1,
                time: 1_000,
            });
            sight.time += time;
            sight.picks += picks;
            sight.live += parked;
            sight.queue.next += pushed;
            sight.queue.len = sight.queue.len + pushed as usize - started;
            sight.queue.oldest += started as u64;
            self.sight = Some(sight);
            self.seen.judge(sight)
        }
    }

    #[test]
    fn a_worker_that_computes_loses_one_and_then_half() {
        let mut watched = Watched::default();
        assert_eq!(watched.look(0, 0, 100, 0, 0), Take::Nothing);
        assert_eq!(watched.look(20_000, 0, 0, 0, 0), Take::Nothing, "too early");
        assert_eq!(
            watched.look(100_000, 0, 0, 0, 0),
            Take::Nothing,
            "that may have been 16 slices of talk"
        );
        assert_eq!(watched.look(100_000, 0, 0, 0, 0), Take::Probe);
        assert_eq!(
            watched.look(80_000, 0, 0, 1, 0),
            Take::Probe,
            "it has started one in this time, which has ended"
        );
        for _ in 0..PROBES {
            watched.seen.learn(80_000, false, 0);
        }
        assert_eq!(watched.look(80_000, 0, 0, 1, 0), Take::Half);
    }

    #[test]
    fn a_worker_that_is_not_on_a_cpu_or_gets_around_to_its_fibers_loses_nothing() {
        let mut watched = Watched::default();
        (0..100).for_each(|_| assert_eq!(watched.look(0, 0, 0, 0, 0), Take::Nothing));
        assert_eq!(watched.look(0, 0, 10, 0, 0), Take::Nothing);
        (0..100).for_each(|_| assert_eq!(watched.look(40_000, 1, 10, 10, 0), Take::Nothing));
    }

    #[test]
    fn talk_in_slices_of_2_us_is_left_alone_for_a_millisecond() {
        let mut watched = Watched::default();
        watched.look(0, 0, 16, 0, 0);
        for _ in 0..15 {
            assert_eq!(watched.look(32_000, 16, 0, 1, 1), Take::Nothing);
        }
        let mut starved = Watched::default();
        starved.look(0, 0, 16, 0, 0);
        let taken = (0..40).filter(|_| starved.look(50_000, 25, 0, 0, 0) == Take::Probe).count();
        assert_eq!(taken, 2, "one in each millisecond");
    }

    #[test]
    fn fibers_that_end_at_once_buy_peace() {
        let mut seen = Seen::default();
        seen.learn(300, false, 1_000_000);
        assert!(!seen.is_due(1_900_000) && seen.is_due(2_000_000));
        (0..PROBES).for_each(|_| seen.learn(3_000, false, 0));
        assert_eq!(seen.confidence, PROBES);
        seen.learn(3_000, true, 0);
        assert_eq!(seen.confidence, 0, "one that parks has to run for longer");
    }

    #[test]
    fn a_shared_batch_is_taken_after_all_if_its_worker_takes_too_long() {
        let mut watched = Watched::default();
        watched.look(0, 0, 8, 0, 0);
        watched.seen.there_are_shares();
        let settled = Take::Settled(Settled::Shared);
        assert_ne!(watched.look(PATIENCE_NS - 1, 0, 0, 0, 0), settled);
        assert_eq!(watched.look(1, 0, 0, 0, 0), settled);
        assert_eq!(watched.look(DEALT_NS - PATIENCE_NS - 1, 0, 0, 0, 0), settled);
        assert_eq!(watched.look(1, 0, 0, 0, 0), Take::Settled(Settled::Dealt));
        watched.seen.forget();
        assert_eq!(watched.look(PATIENCE_NS, 0, 0, 0, 0), Take::Nothing);
    }
}
