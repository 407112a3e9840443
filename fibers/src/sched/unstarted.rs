//! Fibers that wait for their first turn: the only ones that may still change workers.
//!
//! They lie in batches. The children that one parent spawns in one slice are a batch; the newest batch starts first, and
//! inside a batch the first one (depth first: a tree of a million fibers needs 56 stacks instead of 111,112). Thieves take
//! the oldest of all.
//!
//! The batches stand under a spin lock. A runtime of one worker goes without it: nobody else pushes or takes there (what
//! other threads spawn comes through the inbox). The length and two sequence numbers can be read from outside without the
//! lock: each push has a number, and an oldest one that carries a smaller number than the next push had a while ago has
//! been waiting for that while.
#![expect(unsafe_code, reason = "a lock that a runtime of one worker does not take")]

use std::cell::UnsafeCell;
use std::collections::VecDeque;
use std::ptr::NonNull;

use super::batch::Batch;
pub(super) use super::batch::Settled;
use super::task::Task;
use crate::prim::Backoff;
use crate::prim::plain::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// The slice of a batch that was handed over, or split: nobody's, so that no child joins it. It is not split (again).
const HANDED_OVER: u64 = u64::MAX;

struct Batches {
    /// Empty only if there is no older batch.
    newest: Batch,
    /// The others, oldest batch first. None is empty.
    older: VecDeque<Batch>,
    next_sequence: u64,
    len: usize,
    closed: bool,
}

/// One worker's unstarted fibers.
pub(super) struct Unstarted {
    locked: AtomicBool,
    /// Whether others than the owner use this queue.
    shared: bool,
    len: AtomicUsize,
    /// The sequence number of the oldest one; of the next push, if there is none.
    oldest: AtomicU64,
    /// The sequence number of the next push.
    next: AtomicU64,
    batches: UnsafeCell<Batches>,
}

// SAFETY: the batches are reached through the lock alone; without it (`shared` is false) by the owner alone. The tasks in
// it are unstarted fibers whose spawner promised that their bodies may change threads.
unsafe impl Send for Unstarted {}
// SAFETY: as above.
unsafe impl Sync for Unstarted {}

/// How a batch is divided so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shares {
    /// Those that its worker has started.
    pub(super) started: usize,
    /// Those that others have.
    pub(super) gone: usize,
    /// Those that still wait.
    pub(super) waiting: usize,
}

impl Shares {
    /// How many there ever were.
    pub(super) fn all(self) -> usize {
        self.started + self.gone + self.waiting
    }
}

/// What a look from outside shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) len: usize,
    pub(super) oldest: u64,
    pub(super) next: u64,
}

impl Unstarted {
    pub(super) fn new(shared: bool) -> Unstarted {
        Unstarted {
            locked: AtomicBool::new(false),
            shared,
            len: AtomicUsize::new(0),
            oldest: AtomicU64::new(0),
            next: AtomicU64::new(0),
            batches: UnsafeCell::new(Batches {
                newest: Batch::new(HANDED_OVER, 0),
                older: VecDeque::new(),
                next_sequence: 0,
                len: 0,
                closed: false,
            }),
        }
    }

    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    #[inline(always)]
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A glance without order.
    pub(super) fn look(&self) -> Look {
        Look {
            len: self.len(),
            oldest: self.oldest.load(Ordering::Relaxed),
            next: self.next.load(Ordering::Relaxed),
        }
    }

    /// Adds a child of `slice`. False if the queue is closed.
    #[inline]
    pub(super) fn push(&self, slice: u64, task: NonNull<Task>) -> bool {
        self.with(|b| {
            !b.closed && {
                b.push(slice, task);
                true
            }
        })
    }

    /// The first one of the newest batch.
    #[inline]
    pub(super) fn pop_newest(&self) -> Option<NonNull<Task>> {
        if self.is_empty() {
            None
        } else {
            self.with(Batches::pop_newest)
        }
    }

    /// The oldest of all.
    pub(super) fn pop_oldest(&self) -> Option<NonNull<Task>> {
        if self.is_empty() {
            None
        } else {
            self.with(Batches::pop_oldest)
        }
    }

    /// Up to `count` of the oldest, in order, for another worker, from batches that are shared out no further than `reach`.
    pub(super) fn take_oldest(&self, count: usize, reach: Settled, out: &mut Vec<NonNull<Task>>) {
        self.with(|b| {
            let taken = std::iter::from_fn(|| b.steal(reach)).take(count);
            out.extend(taken);
        });
    }

    /// The siblings that one more of `workers` has to take of the oldest batch that is to be shared, so that each has as
    /// many; it has `already` so many. The batch must begin with a fiber that `belongs` there.
    pub(super) fn take_share(
        &self,
        workers: usize,
        already: usize,
        belongs: impl Fn(NonNull<Task>) -> bool,
        out: &mut Vec<NonNull<Task>>,
    ) {
        self.with(|b| b.take_share(workers, already, &belongs, out));
    }

    /// Adds fibers of another worker behind everything that is here: they start last, and are the first to be taken on.
    /// False, and nothing is taken, if the queue is closed.
    pub(super) fn push_oldest(&self, tasks: impl ExactSizeIterator<Item = NonNull<Task>>) -> bool {
        self.with(|b| {
            !b.closed && {
                b.push_oldest(tasks);
                true
            }
        })
    }

    /// Adds one that was dealt to this worker. It starts after everything that was spawned here, in the order of the deal.
    pub(super) fn push_dealt(&self, task: NonNull<Task>) -> bool {
        self.with(|b| {
            !b.closed && {
                b.push_dealt(task);
                true
            }
        })
    }

    /// The first one of the newest batch that `wanted` accepts, among the few at its two ends.
    pub(super) fn pop_where(&self, wanted: impl Fn(NonNull<Task>) -> bool) -> Option<NonNull<Task>> {
        if self.is_empty() {
            None
        } else {
            self.with(|b| b.pop_where(&wanted))
        }
    }

    /// Splits the newest batch, unless another worker has handed it over: `plan` says of each fiber, counted from the first
    /// one of the batch that ever was, where it goes. 0: it stays, and if that is `settled` thieves leave it alone. The
    /// others are taken out, in order, those for place 1 into the first of `out` and so on.
    pub(super) fn split_newest<F: Fn(usize) -> usize>(
        &self,
        settled: bool,
        plan: impl FnOnce(Shares) -> F,
        out: &mut [Vec<NonNull<Task>>],
    ) {
        self.with(|b| b.split_newest(settled, plan, out));
    }

    /// Something about the fiber that the owner would start next, asked under the lock, if its batch may be split.
    pub(super) fn peek_to_split<R>(&self, ask: impl FnOnce(NonNull<Task>) -> R) -> Option<R> {
        self.with(|b| {
            let splits = b.newest.slice != HANDED_OVER && b.newest.shares().all() > 1;
            splits.then(|| b.newest.first().map(ask))?
        })
    }

    /// The slice whose child the owner would start next.
    pub(super) fn newest_slice(&self) -> Option<u64> {
        self.with(|b| (!b.newest.is_empty()).then_some(b.newest.slice % HANDED_OVER))
    }

    /// Takes everything, and refuses what comes after.
    pub(super) fn close(&self) -> Vec<NonNull<Task>> {
        let mut all = Vec::new();
        self.with(|b| {
            b.closed = true;
            all.extend(std::iter::from_fn(|| b.pop_oldest()));
        });
        all
    }

    #[cold]
    fn lock_contended(&self) {
        let mut backoff = Backoff::new();
        while self.locked.swap(true, Ordering::Acquire) {
            backoff.wait();
        }
    }

    #[inline]
    fn with<R>(&self, f: impl FnOnce(&mut Batches) -> R) -> R {
        // Acquire pairs with the release below.
        if self.shared && self.locked.swap(true, Ordering::Acquire) {
            self.lock_contended();
        }
        // SAFETY: under the lock, or by the only user.
        let batches = unsafe { &mut *self.batches.get() };
        let result = f(batches);
        self.len.store(batches.len, Ordering::Relaxed);
        if self.shared {
            self.next.store(batches.next_sequence, Ordering::Relaxed);
            self.oldest.store(batches.oldest_sequence(), Ordering::Relaxed);
            self.locked.store(false, Ordering::Release);
        }
        result
    }
}

impl Batches {
    fn push(&mut self, slice: u64, task: NonNull<Task>) {
        if self.newest.slice != slice || self.newest.is_empty() {
            self.open(slice);
        }
        self.newest.push(task);
        self.len += 1;
        self.next_sequence += 1;
    }

    /// Begins a new batch.
    fn open(&mut self, slice: u64) {
        let before = std::mem::replace(&mut self.newest, Batch::new(slice, self.next_sequence));
        if !before.is_empty() {
            self.older.push_back(before);
        }
    }

    /// Gives way to the batch before the newest one if that is empty.
    #[inline(always)]
    fn close_empty(&mut self) {
        if self.newest.is_empty()
            && let Some(batch) = self.older.pop_back()
        {
            self.newest = batch;
        }
    }

    fn push_oldest(&mut self, tasks: impl ExactSizeIterator<Item = NonNull<Task>>) {
        // They count as pushed now.
        let mut batch = Batch::new(HANDED_OVER, self.next_sequence);
        tasks.for_each(|task| batch.push(task));
        self.len += batch.len();
        self.next_sequence += batch.len() as u64;
        if self.newest.is_empty() {
            self.newest = batch;
        } else if !batch.is_empty() {
            self.older.push_front(batch);
        }
    }

    /// All that lie at the old end are one batch, however many they are: thieves look at every batch that is not for them.
    fn push_dealt(&mut self, task: NonNull<Task>) {
        let oldest = self.older.front_mut().unwrap_or(&mut self.newest);
        if !oldest.is_empty() && oldest.settled == Settled::Dealt {
            oldest.push(task);
            self.len += 1;
            self.next_sequence += 1;
            return;
        }
        self.push_oldest(std::iter::once(task));
        self.older.front_mut().unwrap_or(&mut self.newest).settled = Settled::Dealt;
    }

    #[inline(always)]
    fn pop_newest(&mut self) -> Option<NonNull<Task>> {
        let task = self.newest.pop()?;
        self.len -= 1;
        self.close_empty();
        Some(task)
    }

    fn pop_oldest(&mut self) -> Option<NonNull<Task>> {
        let Some(oldest) = self.older.front_mut() else {
            return self.pop_newest();
        };
        let task = oldest.pop()?;
        self.len -= 1;
        if oldest.is_empty() {
            self.older.pop_front();
        }
        Some(task)
    }

    fn pop_where(&mut self, wanted: &impl Fn(NonNull<Task>) -> bool) -> Option<NonNull<Task>> {
        const ENDS: usize = 4;
        let task = self.newest.remove_near_ends(ENDS, wanted)?;
        self.len -= 1;
        self.close_empty();
        Some(task)
    }

    fn split_newest<F: Fn(usize) -> usize>(
        &mut self,
        settled: bool,
        plan: impl FnOnce(Shares) -> F,
        out: &mut [Vec<NonNull<Task>>],
    ) {
        if self.newest.slice == HANDED_OVER {
            return;
        }
        let shares = self.newest.shares();
        let (place_of, first) = (plan(shares), shares.started + shares.gone);
        let mut all = Vec::with_capacity(shares.waiting);
        self.newest.split_off(0, &mut all);
        for (i, task) in all.into_iter().enumerate() {
            match place_of(first + i).checked_sub(1).and_then(|place| out.get_mut(place)) {
                None => self.newest.push(task),
                Some(out) => out.push(task),
            }
        }
        self.len -= shares.waiting - self.newest.len();
        self.newest.slice = HANDED_OVER;
        if settled {
            self.newest.settled = Settled::Shared;
        }
        self.close_empty();
    }

    /// The batch that a thief takes from: the oldest one that is in reach.
    fn prey(&mut self, reach: Settled) -> Option<usize> {
        let at = self.older.iter().position(|batch| batch.settled <= reach);
        at.or((self.newest.settled <= reach).then_some(self.older.len()))
    }

    fn steal(&mut self, reach: Settled) -> Option<NonNull<Task>> {
        self.prey(reach).and_then(|at| self.steal_at(at))
    }

    fn steal_at(&mut self, at: usize) -> Option<NonNull<Task>> {
        let batch = self.older.get_mut(at).unwrap_or(&mut self.newest);
        let task = batch.give()?;
        self.len -= 1;
        if !batch.is_empty() {
            return Some(task);
        }
        if self.older.remove(at).is_none() {
            self.close_empty();
        }
        Some(task)
    }

    fn take_share(
        &mut self,
        workers: usize,
        already: usize,
        belongs: &impl Fn(NonNull<Task>) -> bool,
        out: &mut Vec<NonNull<Task>>,
    ) {
        let Some(at) = self.prey(Settled::No) else { return };
        let batch = if at == self.older.len() {
            &mut self.newest
        } else {
            &mut self.older[at]
        };
        if !batch.first().is_some_and(belongs) {
            return;
        }
        let shares = batch.shares();
        let all = shares.all();
        // The larger shares stay: the one who feeds them is there, and so is the first one to be started.
        let (each, others) = (all / workers, all - all.div_ceil(workers));
        let owed = each.saturating_sub(already).min(others.saturating_sub(shares.gone));
        let count = owed.min(shares.waiting);
        if shares.gone + owed >= others {
            batch.settled = Settled::Shared;
        }
        out.extend((0..count).map_while(|_| self.steal_at(at)));
    }

    fn oldest_sequence(&self) -> u64 {
        match self.older.front() {
            Some(batch) => batch.first,
            None if self.newest.is_empty() => self.next_sequence,
            None => self.newest.first,
        }
    }
}

impl std::fmt::Debug for Unstarted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.look().fmt(f)
    }
}
