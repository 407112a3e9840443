//! Where fibers start. A fiber never moves after its first instruction, so this decides how the load is spread.
//!
//! Fibers that communicate must start together (a round trip between two workers costs 25 times one on the same worker);
//! fibers that compute must not. Nobody says which are which, so the rules watch what they do. By number:
//!
//! 1. A watcher must not be woken onto the CPU of the worker that woke it: see [`affinity`](super::affinity).
//! 2. Started before unstarted, newest batch first: see [`worker`](super::worker) and [`unstarted`](super::unstarted).
//! 3. *Watching*: an idle worker takes the oldest unstarted fiber of a worker that does not get around to it.
//! 4. *Replicas*: siblings that all begin by waiting for a message are split among the workers before they wait.
//! 5. *Regime*: siblings that turn out to compute are split.
//! 6. *Slack*: a worker with far more live fibers than another hands over unstarted ones.
//! 7. Wakes from other workers overtake local ones: see [`worker`](super::worker).
//! 8. Hints of the user: `spread`, `worker`, `spawn_local`.
//!
//! The owner of a queue pays next to nothing for all this: watchers read its counters from outside. The constants were
//! measured on two workers with 16 workloads; each says what happened with other values.
#![expect(unsafe_code, reason = "unstarted fibers are handled through pointers")]

use std::panic::Location;
use std::ptr::{NonNull, from_ref};

use super::current::WaitKind;
use super::shared::Remote;
use super::task::Task;
use super::worker::{Core, NO_SLICE};
use crate::prim::plain::Ordering;

/// Rule 3: an unstarted fiber that has waited this long may be taken, if the fibers before it run long.
const AGE_NS: u64 = 30_000;
/// Rule 3: one that has waited this long may be taken in any case.
const OLD_NS: u64 = 1_000_000;
/// Rule 3: a mean slice from which on it pays to take fibers away (to take one costs about 1 µs, mostly cache misses).
const LONG_SLICE_NS: u64 = 2_000;
/// Rule 3: so many fibers are taken one by one, and must have taken `LONG_SLICE_NS` each, before half of a queue is taken.
const PROBES: u32 = 3;
/// Rule 5: the mean slice, twice running, of siblings that compute. At 2 µs crowds of talking fibers were split as well.
const COMPUTE_SLICE_NS: u64 = 5_000;
/// Rule 6: how many more live fibers than the least loaded worker are normal: 64 and a quarter. A slack of 16 turned
/// a tree of a million fibers breadth-first: 240 to 670 ns each instead of 31.
const SLACK: usize = 64;

/// How long a busy worker may not look at its poller before an idle one does it instead.
const DEAF_NS: u64 = 1_000_000;

/// What a watcher remembers of another worker.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    at: u64,
    next: u64,
    picks: u64,
    idle_ns: u64,
    /// The same, refreshed every millisecond.
    old_at: u64,
    old_next: u64,
}

/// A worker's memory for the rules.
#[derive(Debug)]
pub(super) struct Placement {
    seen: Vec<Seen>,
    deep: bool,
    /// How many fibers were taken in a row that ran long.
    confidence: u32,
    /// When how many fibers were taken the last time.
    taken: Option<(u64, u32)>,
    /// Rule 5: the last look at the own pace, and how many times running it was that of computation.
    pace: (u64, u64),
    hot: u32,
}

impl Placement {
    pub(super) fn new(workers: usize) -> Placement {
        Placement {
            seen: vec![Seen::default(); workers],
            deep: false,
            confidence: 0,
            taken: None,
            pace: (0, 0),
            hot: 0,
        }
    }

    /// Whether the worker has begun to sleep deeply.
    pub(super) fn is_deep(&self) -> bool {
        self.deep
    }

    pub(super) fn set_deep(&mut self, deep: bool) {
        self.deep = deep;
    }

    /// What the fibers that were taken last have shown: called when the worker has run out of work again.
    fn judge(&mut self, now: u64) {
        if let Some((at, count)) = self.taken.take() {
            let long = (now - at) / u64::from(count) >= LONG_SLICE_NS;
            self.confidence = if long { self.confidence + 1 } else { 0 };
        }
    }

    /// Whether the oldest unstarted fiber of this worker is to be taken away.
    fn is_neglected(&mut self, victim: &Remote, now: u64) -> bool {
        let (look, counters) = (victim.unstarted.look(), &victim.counters);
        let seen = &mut self.seen[victim.index];
        let elapsed = now - seen.at;
        if elapsed < AGE_NS {
            return false;
        }
        let (picks, idle_ns) = (
            counters.picks.load(Ordering::Relaxed),
            counters.idle_ns.load(Ordering::Relaxed),
        );
        let busy = elapsed.saturating_sub(idle_ns.wrapping_sub(seen.idle_ns));
        // The counter is brought up to date once per turn, hence the turn that is added.
        let slow = busy / (picks.wrapping_sub(seen.picks) + u64::from(super::worker::BUDGET)) >= LONG_SLICE_NS
            || busy >= AGE_NS && picks == seen.picks;
        // One that is idle has been woken for its fibers, and is on its way.
        let awake = !victim.is_idle();
        let aged = look.len != 0 && look.oldest < seen.next && awake;
        let old = look.len != 0 && look.oldest < seen.old_next && now - seen.old_at >= OLD_NS;
        *seen = Seen {
            at: now,
            next: look.next,
            picks,
            idle_ns,
            ..*seen
        };
        if now - seen.old_at >= OLD_NS {
            (seen.old_at, seen.old_next) = (now, look.next);
        }
        aged && slow || old
    }
}

impl Core {
    /// Rule 3, on an idle worker. True if it has taken something.
    pub(super) fn watch(&self, now: u64) -> bool {
        let count = self.shared.workers.len();
        let first = self.random.below(count as u64) as usize;
        let mut placement = self.placement.borrow_mut();
        placement.judge(now);
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
            if placement.is_neglected(victim, now) {
                let bold = placement.confidence >= PROBES;
                let taken = self.take_from(victim, if bold { victim.unstarted.len().div_ceil(2) } else { 1 });
                if taken != 0 {
                    placement.taken = Some((now, taken as u32));
                    return true;
                }
            }
        }
        false
    }

    /// Whether a worker is too busy to look at its poller, and there may be something to see.
    fn is_deaf(&self, worker: &Remote, now: u64) -> bool {
        self.shared.descriptors.load(Ordering::Relaxed) != 0
            && now.saturating_sub(worker.counters.polled_ns.load(Ordering::Relaxed)) >= DEAF_NS
            && !worker.is_idle()
    }

    fn take_from(&self, victim: &Remote, count: usize) -> usize {
        let mut tasks = Vec::new();
        victim.unstarted.take_oldest(count, &mut tasks);
        let taken = tasks.len();
        self.remote().unstarted.push_oldest(tasks.into_iter());
        taken
    }

    /// Rules 4 and 5, on a worker that has unstarted fibers and is about to pick: `came_from` is the last slice.
    pub(super) fn place(&self, came_from: u64, now: u64) {
        if let Some(site) = self.first_wait(came_from) {
            return self.place_replicas(site);
        }
        if self.is_computing(now)
            && let Some(next) = self.remote().unstarted.peek_newest(site_of)
            && self.started_site.get() == next
        {
            self.split_siblings();
        }
    }

    /// The spawn site of the fiber that has just parked, if it did so in its first slice, to receive, having spawned
    /// nothing, with nothing else to go on.
    fn first_wait(&self, came_from: u64) -> Option<&'static Location<'static>> {
        if self.fresh.get() != came_from || self.spawned.get() == came_from || !self.started.is_empty() {
            return None;
        }
        // SAFETY: a fiber that was fresh in the last slice has suspended and, with nothing started, has parked.
        let task = unsafe { &*self.fresh_task.get() };
        // SAFETY: a parked fiber has a stack, and what it waits for is on it.
        let kind = unsafe { (*(*task.stack.get()).wait.get()).kind };
        (kind == WaitKind::Receive).then_some(task.site)
    }

    /// Rule 4: its partner is probably of another site and starts next; if all that wait are its siblings, they are split.
    fn place_replicas(&self, site: &'static Location<'static>) {
        self.fresh.set(NO_SLICE);
        // SAFETY: an unstarted fiber is alive.
        let other = |task: NonNull<Task>| !std::ptr::eq(unsafe { task.as_ref() }.site, site);
        if self.held.get().is_some() || !self.fixed.is_empty() {
            return;
        }
        match self.remote().unstarted.pop_where(other) {
            Some(task) => self.held.set(Some(task)),
            None => self.split_siblings(),
        }
    }

    /// Rule 5: whether the fibers here have computed in both of the last two turns.
    fn is_computing(&self, now: u64) -> bool {
        let counters = &self.remote().counters;
        let picks = counters.picks.load(Ordering::Relaxed);
        // Time without work is moved out of the way.
        let busy_at = now - counters.idle_ns.load(Ordering::Relaxed).min(now);
        let mut placement = self.placement.borrow_mut();
        let (then, before) = std::mem::replace(&mut placement.pace, (busy_at, picks));
        if picks == before {
            return false;
        }
        let slice = busy_at.saturating_sub(then) / (picks - before);
        placement.hot = if then != 0 && slice >= COMPUTE_SLICE_NS {
            placement.hot + 1
        } else {
            0
        };
        placement.hot >= 2
    }

    /// Splits the newest batch evenly over the workers, in pieces that stay together. Once: what was handed over stays.
    #[cold]
    fn split_siblings(&self) {
        let workers = self.shared.workers.len();
        let mut given = Vec::new();
        // The one that has started counts as one of them.
        self.remote()
            .unstarted
            .split_newest(|len| ((len + 1) / workers).saturating_sub(1), &mut given);
        let others = (1..workers).map(|i| &self.shared.workers[(self.index + i) % workers]);
        let mut rest = given.as_slice();
        for (i, worker) in others.enumerate() {
            let (piece, tail) = rest.split_at(rest.len().div_ceil(workers - 1 - i));
            rest = tail;
            if !piece.is_empty() {
                worker.hand_over(piece);
            }
        }
    }

    /// Rule 6, before a fiber starts here.
    #[inline]
    pub(super) fn share_surplus(&self) {
        let live = self.remote().counters.live.load(Ordering::Relaxed);
        if live > SLACK && !self.remote().unstarted.is_empty() {
            self.hand_over_oldest(live);
        }
    }

    #[cold]
    fn hand_over_oldest(&self, live: usize) {
        let load = |w: &Remote| w.counters.live.load(Ordering::Relaxed) + w.unstarted.len();
        let others = self.shared.workers.iter().filter(|w| w.index != self.index);
        if let Some(least) = others.min_by_key(|w| load(w))
            && live > load(least) + load(least) / 4 + SLACK
            && let Some(task) = self.remote().unstarted.pop_oldest()
        {
            least.hand_over(&[task]);
        }
    }
}

/// Where an unstarted fiber was spawned.
fn site_of(task: NonNull<Task>) -> *const Location<'static> {
    // SAFETY: the caller has the fiber from a queue, in which it is alive.
    from_ref(unsafe { task.as_ref() }.site)
}
