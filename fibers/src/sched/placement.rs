//! Where fibers start. A fiber never moves after its first instruction, so this decides how the load is spread.
//!
//! Fibers that communicate must start together (a round trip between two workers costs 25 times one on the same worker);
//! fibers that compute must not. Nobody says which are which, so the rules watch what they do. By number:
//!
//! 1. A watcher must not be woken onto the CPU of the worker that woke it: see [`affinity`](super::affinity).
//! 2. Started before unstarted, newest batch first: see [`worker`](super::worker) and [`unstarted`](super::unstarted).
//! 3. *Watching*: an idle worker takes the oldest unstarted fiber of a worker that does not get around to it: see
//!    [`watch`](super::watch).
//! 4. *Replicas*: when a fiber begins by waiting, and only siblings of it are left to start, these are split among the workers:
//!    after a wait for a message if nothing else can run, after a wait for a time in any case.
//! 5. *Regime*: siblings that turn out to compute are split.
//! 6. *Slack*: a worker with far more live fibers than another hands over unstarted ones.
//! 7. Wakes from other workers overtake local ones: see [`worker`](super::worker).
//! 8. Hints of the user: `spread`, `worker`, `spawn_local`.
//!
//! The owner of a queue pays next to nothing for all this: watchers read its counters from outside. The constants were
//! measured with `benches/placement`; each says what happened with other values.
//!
//! What is reached, as time by the ideal, on a machine of two cores: for 2 workers, for 4, and for 2 beside another process that
//! keeps a core busy. The ideal of what computes is its work by the cores that can be had; of what talks, one worker.
//!
//! ```text
//!                                                             2      4      2 beside
//!    ping-pong, crowd of 8 and 8                              1.0    1.0    1.0
//!    a million tiny fibers                                    1.1    1.1    1.1
//!    a tree of a million (skynet)                             0.6    0.7    0.8
//!    a chain of 2,000 (sieve)                                 0.5    0.5    1.1 to 1.5
//!    16 or 1,000 that compute, main waits or computes         1.0    1.1    1.1
//!    a pool of 8 that is there before its jobs                1.0    1.1    1.0 to 1.2
//!    the same, jobs of 100 µs of sleep and 100 µs of work     1.2    1.2    1.3 to 1.4
//!    1,000 that wait, of which 100 become busy                1.0    1.1    1.0 to 1.3
//!    a parent that joins each child, of 40 or 80 µs           1.0    1.0    1.0
//!    a parent that spawns one at a time, of 40 or 80 µs       1.0    1.1    1.0
//!    a pipeline of 8 stages, 20 µs each                       1.0    1.0    1.6 to 2.3
//!    empty pools and pipelines that are fed at once           1.0    1.0    1.0
//!    empty pool that is there before its jobs                 2.9    2.9    1.1 to 1.8
//!    empty pipeline that is there before its items            1.9    2.6    3 to 14
//!    the same two, spawned locally                            1.0    1.0    1.0
//! ```
//!
//! What no rule can know: whether fibers that wait for their first message will compute or only pass it on. They are taken
//! for such as compute, since those would never be mended; `spawn_local` says that they only talk. And of a pipeline that has
//! been split a part may stand on a core that is busy with something else, where it stays.
#![expect(unsafe_code, reason = "unstarted fibers are handled through pointers")]

use std::panic::Location;
use std::ptr::{NonNull, from_ref};

use super::current::WaitKind;
use super::idle::{Spin, Watching};
use super::shared::Remote;
use super::task::{PARKED, Task};
use super::unstarted::Shares;
use super::watch::{Seen, Taken};
use super::worker::{Core, NO_SLICE};
use crate::prim::plain::Ordering;

/// Rule 5: the mean slice of siblings that compute. At 2 µs crowds of talking fibers were split as well.
const COMPUTE_SLICE_NS: u64 = 5_000;
/// Rule 5: what the first slice on a fresh stack is allowed beside that: its page faults take 4 to 8 µs. With 10 µs the
/// stages of a pipeline that compute for 20 µs each were found out one stage too late.
const FRESH_STACK_NS: u64 = 6_000;
/// Rule 5: so many looks running must have shown long slices. Any first slice may take 100 µs, for reasons outside of the
/// program; with two looks, and no allowance for fresh stacks, one crowd in three was torn apart at its start. With four a
/// pipeline of eight stages had started five before the others were split: 1.27 of the ideal.
const LOOKS: u32 = 3;
/// Rules 4 and 5: siblings are dealt out in pieces of at most so many. Neighbours often talk to each other (a pipeline), so
/// they stay together; but neighbours often become busy together as well. With halves instead, a hundred busy neighbours of
/// a thousand were all on one worker.
const PIECE: usize = 16;
/// Rule 6: how many more live fibers than the least loaded worker are normal: 64 and a quarter. A slack of 16 turned
/// a tree of a million fibers breadth-first: 240 to 670 ns each instead of 31.
const SLACK: usize = 64;

/// A worker's memory for the rules.
#[derive(Debug)]
pub(super) struct Placement {
    /// Rule 3: what it has seen of each other worker, and taken last.
    pub(super) seen: Vec<Seen>,
    pub(super) taken: Option<Taken>,
    pub(super) watching: Watching,
    deep: bool,
    pub(super) spin: Spin,
    pace: Pace,
    /// Rule 6: who gets what is started here, until it has as many.
    overflow: Option<usize>,
}

impl Placement {
    pub(super) fn new(workers: usize) -> Placement {
        Placement {
            seen: vec![Seen::default(); workers],
            taken: None,
            watching: Watching::new(),
            deep: false,
            spin: Spin::new(),
            pace: Pace::default(),
            overflow: None,
        }
    }

    /// Whether the worker has begun to sleep deeply.
    pub(super) fn is_deep(&self) -> bool {
        self.deep
    }

    pub(super) fn set_deep(&mut self, deep: bool) {
        self.deep = deep;
    }
}

/// What a worker knows of itself at one moment.
#[derive(Clone, Copy, Debug, Default)]
struct Moment {
    /// The clock, without the time in which there was no work.
    busy: u64,
    picks: u64,
    /// Stacks in use.
    live: usize,
}

impl Moment {
    /// Whether slices were long from `then` to now, in which so much time has passed.
    fn is_slow(&self, then: &Moment, time: u64) -> bool {
        let fresh = self.live.saturating_sub(then.live) as u64;
        let picks = self.picks - then.picks;
        picks != 0 && time.saturating_sub(fresh * FRESH_STACK_NS) / picks >= COMPUTE_SLICE_NS
    }
}

/// Rule 5: how long the slices of a worker are, measured by itself.
#[derive(Clone, Copy, Debug, Default)]
struct Pace {
    last: Moment,
    /// How many looks running have shown long slices.
    looks: u32,
    /// The first of them, and the CPU time then.
    since: (Moment, u64),
}

impl Pace {
    /// Whether the fibers have computed for some looks running. The clock goes on while the thread is not on a CPU, so that
    /// is checked by the time of the thread, which takes a system call.
    fn is_computing(&mut self, now: Moment, cpu: impl Fn() -> u64) -> bool {
        let last = std::mem::replace(&mut self.last, now);
        if now.picks == last.picks {
            return false;
        }
        if last.busy == 0 || !now.is_slow(&last, now.busy.saturating_sub(last.busy)) {
            self.looks = 0;
            return false;
        }
        self.looks += 1;
        if self.looks == 1 {
            self.since = (now, cpu());
        }
        if self.looks < LOOKS {
            return false;
        }
        let (then, before) = self.since;
        let computing = now.is_slow(&then, cpu().saturating_sub(before));
        self.looks = 0;
        computing
    }
}

/// Rule 4: who gets which of a batch's siblings, counted from the first one that ever was: `0` is their own worker. All
/// get as many, in pieces of neighbours.
fn deal(shares: Shares, workers: usize) -> impl Fn(usize) -> usize {
    let all = shares.all();
    let piece = all.div_ceil(workers).clamp(1, PIECE);
    // Of those that thieves have taken nobody knows which they were: what is left of the others' part is at the end.
    let owing = (all - all.div_ceil(workers)).saturating_sub(shares.gone);
    move |i| match shares.gone {
        0 => i / piece % workers,
        _ if i + owing < all => 0,
        _ => 1 + (all - 1 - i) * (workers - 1) / owing.max(1),
    }
}

impl Core {
    /// Among how many workers siblings are split: the first ones, as many as there are CPUs.
    pub(super) fn peers(&self) -> usize {
        self.shared.peers
    }

    /// Those of them that come after this worker, from 1.
    fn peer(&self, i: usize) -> &Remote {
        &self.shared.workers[(self.index + i) % self.peers()]
    }

    /// Rules 4 and 5, on a worker that has unstarted fibers and is about to pick: `came_from` is the last slice.
    pub(super) fn place(&self, came_from: u64, now: u64) {
        if self.peers() == 1 {
            return;
        }
        if let Some(kind) = self.last_start_waits_for() {
            let alone = self.fresh.get() == came_from && self.started.is_empty();
            match kind {
                WaitKind::Receive if alone => return self.place_replicas(),
                WaitKind::Time | WaitKind::Io if self.next_is_sibling() => return self.split_siblings(true),
                _ => {}
            }
        }
        if self.is_computing(now) && self.next_is_sibling() {
            self.split_siblings(false);
        }
    }

    /// What the fiber that was started last waits for now, if no other has ended since and it has spawned nothing in its first
    /// slice. It may have gone on in between: whoever asks for more than that compares slices.
    pub(super) fn last_start_waits_for(&self) -> Option<WaitKind> {
        if self.fresh.get() == NO_SLICE || self.spawned.get() == self.fresh.get() {
            return None;
        }
        // SAFETY: no fiber of this worker has ended since this one was started, so it has not either.
        let task = unsafe { &*self.fresh_task.get() };
        if task.link.load(Ordering::Relaxed) != PARKED {
            return None;
        }
        // SAFETY: it is in no queue, and does not run, since the worker itself does: it is parked. So it has a stack, and
        // what it waits for is on it.
        Some(unsafe { (*(*task.stack.get()).wait.get()).kind })
    }

    /// Whether the fiber that would start next was spawned where the one that was started last was, and has siblings.
    fn next_is_sibling(&self) -> bool {
        self.remote().unstarted.peek_to_split(site_of) == Some(self.started_site.get())
    }

    /// Rule 4: its partner is probably of another site and starts next; if all that wait are its siblings, they are split.
    fn place_replicas(&self) {
        self.fresh.set(NO_SLICE);
        let site = self.started_site.get();
        if self.held.get().is_some() || !self.fixed.is_empty() {
            return;
        }
        match self.remote().unstarted.pop_where(|task| site_of(task) != site) {
            Some(task) => self.held.set(Some(task)),
            None if self.next_is_sibling() => self.split_siblings(true),
            None => {}
        }
    }

    /// Rule 5: whether the fibers here compute.
    fn is_computing(&self, now: u64) -> bool {
        let counters = &self.remote().counters;
        let moment = Moment {
            busy: now - counters.idle_ns.load(Ordering::Relaxed).min(now),
            picks: counters.picks.load(Ordering::Relaxed),
            live: counters.live.load(Ordering::Relaxed),
        };
        self.placement.borrow_mut().pace.is_computing(moment, || self.cpu_ns())
    }

    /// Splits the newest batch evenly over the workers. Once: what was handed over stays.
    #[cold]
    fn split_siblings(&self, wait: bool) {
        let peers = self.peers();
        let mut given = vec![Vec::new(); peers - 1];
        let idle = !wait && self.started.is_empty();
        let plan = |shares: Shares| {
            let place = deal(shares, peers);
            // A worker that has nothing else to do keeps at least the next one.
            move |i| {
                if idle && i == shares.started + shares.gone {
                    0
                } else {
                    place(i)
                }
            }
        };
        self.remote().unstarted.split_newest(wait, plan, &mut given);
        for (i, piece) in given.iter().enumerate().filter(|(_, piece)| !piece.is_empty()) {
            self.peer(i + 1).hand_over(piece);
        }
    }

    /// Rule 6, before a fiber starts here. False if it was handed over itself.
    #[inline]
    pub(super) fn share_surplus(&self, task: NonNull<Task>) -> bool {
        let live = self.remote().counters.live.load(Ordering::Relaxed);
        live <= SLACK || self.peers() == 1 || !self.hand_over_surplus(task, live)
    }

    /// Hands over the oldest unstarted fiber, or if there is none `task` itself: true then.
    #[cold]
    fn hand_over_surplus(&self, task: NonNull<Task>, live: usize) -> bool {
        let Some(to) = self.overflow(live) else {
            return false;
        };
        // SAFETY: out of a queue, so it is alive.
        let fixed = unsafe { task.as_ref() }.has(super::task::flag::FIXED | super::task::flag::MAIN);
        match self.remote().unstarted.pop_oldest() {
            Some(oldest) => {
                to.hand_over(&[oldest]);
                false
            }
            None if fixed => false,
            None => to.hand_over(&[task]),
        }
    }

    /// Who is to get what is started here. Once there is somebody it stays so until the loads are equal, so that
    /// neighbours stay together.
    fn overflow(&self, live: usize) -> Option<&Remote> {
        let load = |w: &Remote| w.counters.live.load(Ordering::Relaxed) + w.unstarted.len();
        let mut placement = self.placement.borrow_mut();
        if let Some(to) = placement.overflow.map(|to| &self.shared.workers[to])
            && load(to) < live
        {
            return Some(to);
        }
        let least = (1..self.peers()).map(|i| self.peer(i)).min_by_key(|w| load(w))?;
        let is_surplus = live > load(least) + load(least) / 4 + SLACK;
        placement.overflow = is_surplus.then_some(least.index);
        is_surplus.then_some(least)
    }
}

/// Where an unstarted fiber was spawned.
pub(super) fn site_of(task: NonNull<Task>) -> *const Location<'static> {
    // SAFETY: the caller has the fiber from a queue, in which it is alive.
    from_ref(unsafe { task.as_ref() }.site)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dealt(started: usize, gone: usize, waiting: usize, workers: usize) -> Vec<usize> {
        let shares = Shares { started, gone, waiting };
        let place = deal(shares, workers);
        (started + gone..started + gone + waiting).map(place).collect()
    }

    #[test]
    fn siblings_are_dealt_out_evenly_and_in_pieces() {
        assert_eq!(dealt(1, 0, 7, 2), [0, 0, 0, 1, 1, 1, 1]);
        assert_eq!(dealt(1, 0, 7, 4), [0, 1, 1, 2, 2, 3, 3]);
        assert_eq!(dealt(1, 0, 1, 2), [1]);
        for workers in 2..9 {
            for all in 1..300 {
                let mut counts = vec![1; workers];
                counts[1..].fill(0);
                dealt(1, 0, all - 1, workers).into_iter().for_each(|to| counts[to] += 1);
                let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
                assert!(most - least <= PIECE, "{all} on {workers}: {counts:?}");
            }
        }
    }

    #[test]
    fn what_thieves_have_taken_counts() {
        assert_eq!(dealt(1, 4, 3, 2), [0, 0, 0]);
        assert_eq!(dealt(1, 3, 4, 2), [0, 0, 0, 1]);
        assert_eq!(dealt(1, 2, 5, 4), [0, 3, 2, 1, 1]);
    }

    /// A worker that is looked at again and again.
    #[derive(Default)]
    struct Looks {
        pace: Pace,
        now: Moment,
        cpu: u64,
    }

    impl Looks {
        fn look(&mut self, picks: u64, fresh: usize, busy: u64, cpu: u64) -> bool {
            self.now.picks += picks;
            self.now.live += fresh;
            self.now.busy += busy;
            self.cpu += cpu;
            self.pace.is_computing(self.now, || self.cpu)
        }

        fn same(&mut self, picks: u64, fresh: usize, ns: u64) -> bool {
            self.look(picks, fresh, ns, ns)
        }
    }

    #[test]
    fn long_slices_of_several_looks_are_computation() {
        let mut looks = Looks::default();
        assert!(!looks.same(1, 0, 1_000_000), "the first look has nothing to compare with");
        let seen = [(); 8].map(|()| looks.same(10, 0, 60_000));
        assert_eq!(seen, [false, false, true, false, false, true, false, false]);
    }

    #[test]
    fn short_slices_are_not_and_begin_anew() {
        let mut looks = Looks::default();
        (0..3).for_each(|_| assert!(!looks.same(1, 0, 80_000)));
        assert!(!looks.same(16, 0, 30_000));
        (0..2).for_each(|_| assert!(!looks.same(1, 0, 80_000)));
        assert!(!looks.same(0, 0, 80_000), "nobody was picked");
        assert!(looks.same(1, 0, 80_000));
    }

    #[test]
    fn fresh_stacks_are_not_computation() {
        let mut looks = Looks::default();
        (0..20).for_each(|_| assert!(!looks.same(1, 1, 8_000)));
        let long = [(); 3].map(|()| looks.same(1, 1, 28_000));
        assert_eq!(long, [false, false, true]);
    }

    #[test]
    fn waiting_for_a_cpu_is_not_computation() {
        let mut looks = Looks::default();
        (0..20).for_each(|_| assert!(!looks.look(10, 0, 900_000, 20_000)));
    }
}
