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

use super::task::Task;
use crate::prim::Backoff;
use crate::prim::plain::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// How many buffers of emptied batches are kept for new ones, and how large they may be.
const SPARE_BUFFERS: usize = 16;
const SPARE_CAPACITY: usize = 256;

/// The slice of a batch that was handed over, or split: nobody's, so that no child joins it. It is not split (again).
const HANDED_OVER: u64 = u64::MAX;

/// The fibers of one slice, oldest first.
struct Batch {
    slice: u64,
    /// The sequence number of the first one.
    first: u64,
    tasks: VecDeque<NonNull<Task>>,
}

#[derive(Default)]
struct Batches {
    /// Oldest batch first. None is empty.
    order: VecDeque<Batch>,
    spare: Vec<VecDeque<NonNull<Task>>>,
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
            batches: UnsafeCell::default(),
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

    /// Up to `count` of the oldest, in order.
    pub(super) fn take_oldest(&self, count: usize, out: &mut Vec<NonNull<Task>>) {
        self.with(|b| {
            let taken = std::iter::from_fn(|| b.pop_oldest()).take(count);
            out.extend(taken);
        });
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

    /// The first one of the newest batch that `wanted` accepts, among the few at its two ends.
    pub(super) fn pop_where(&self, wanted: impl Fn(NonNull<Task>) -> bool) -> Option<NonNull<Task>> {
        if self.is_empty() {
            None
        } else {
            self.with(|b| b.pop_where(&wanted))
        }
    }

    /// Takes all but the first `keep(len)` of the newest batch, in order, unless that batch was handed over by another
    /// worker.
    pub(super) fn split_newest(&self, keep: impl FnOnce(usize) -> usize, out: &mut Vec<NonNull<Task>>) {
        self.with(|b| b.split_newest(keep, out));
    }

    /// The slice whose child the owner would start next.
    pub(super) fn newest_slice(&self) -> Option<u64> {
        self.with(|b| b.order.back().map(|batch| batch.slice % HANDED_OVER))
    }

    /// Something about the fiber that the owner would start next, asked under the lock.
    pub(super) fn peek_newest<R>(&self, ask: impl FnOnce(NonNull<Task>) -> R) -> Option<R> {
        if self.is_empty() {
            None
        } else {
            self.with(|b| b.order.back()?.tasks.front().copied().map(ask))
        }
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

    #[inline]
    fn with<R>(&self, f: impl FnOnce(&mut Batches) -> R) -> R {
        if self.shared {
            let mut backoff = Backoff::new();
            // Acquire pairs with the release below.
            while self.locked.swap(true, Ordering::Acquire) {
                backoff.wait();
            }
        }
        // SAFETY: under the lock, or by the only user.
        let batches = unsafe { &mut *self.batches.get() };
        let result = f(batches);
        self.len.store(batches.len, Ordering::Relaxed);
        self.next.store(batches.next_sequence, Ordering::Relaxed);
        let oldest = batches.order.front().map_or(batches.next_sequence, |batch| batch.first);
        self.oldest.store(oldest, Ordering::Relaxed);
        if self.shared {
            self.locked.store(false, Ordering::Release);
        }
        result
    }
}

impl Batches {
    fn push(&mut self, slice: u64, task: NonNull<Task>) {
        self.len += 1;
        self.next_sequence += 1;
        if let Some(batch) = self.order.back_mut()
            && batch.slice == slice
        {
            batch.tasks.push_back(task);
            return;
        }
        let mut tasks = self.spare.pop().unwrap_or_default();
        tasks.push_back(task);
        self.order.push_back(Batch {
            slice,
            first: self.next_sequence - 1,
            tasks,
        });
    }

    fn push_oldest(&mut self, tasks: impl ExactSizeIterator<Item = NonNull<Task>>) {
        if tasks.len() == 0 {
            return;
        }
        // They count as pushed now.
        let batch = Batch {
            slice: HANDED_OVER,
            first: self.next_sequence,
            tasks: tasks.collect(),
        };
        self.len += batch.tasks.len();
        self.next_sequence += batch.tasks.len() as u64;
        self.order.push_front(batch);
    }

    fn pop_newest(&mut self) -> Option<NonNull<Task>> {
        let batch = self.order.back_mut()?;
        let task = batch.tasks.pop_front()?;
        batch.first += 1;
        self.len -= 1;
        if batch.tasks.is_empty() {
            let batch = self.order.pop_back();
            self.recycle(batch);
        }
        Some(task)
    }

    fn pop_oldest(&mut self) -> Option<NonNull<Task>> {
        let batch = self.order.front_mut()?;
        let task = batch.tasks.pop_front()?;
        batch.first += 1;
        self.len -= 1;
        if batch.tasks.is_empty() {
            let batch = self.order.pop_front();
            self.recycle(batch);
        }
        Some(task)
    }

    fn pop_where(&mut self, wanted: &impl Fn(NonNull<Task>) -> bool) -> Option<NonNull<Task>> {
        const ENDS: usize = 4;
        let batch = self.order.back_mut()?;
        let len = batch.tasks.len();
        let mut ends = (0..len.min(ENDS)).chain((len.min(ENDS).max(len.saturating_sub(ENDS))..len).rev());
        let at = ends.find(|&i| wanted(batch.tasks[i]))?;
        let task = batch.tasks.remove(at)?;
        self.len -= 1;
        if batch.tasks.is_empty() {
            let batch = self.order.pop_back();
            self.recycle(batch);
        }
        Some(task)
    }

    fn split_newest(&mut self, keep: impl FnOnce(usize) -> usize, out: &mut Vec<NonNull<Task>>) {
        let Some(batch) = self.order.back_mut().filter(|batch| batch.slice != HANDED_OVER) else {
            return;
        };
        let keep = keep(batch.tasks.len()).min(batch.tasks.len());
        out.extend(batch.tasks.drain(keep..));
        batch.slice = HANDED_OVER;
        self.len -= out.len();
        if batch.tasks.is_empty() {
            let batch = self.order.pop_back();
            self.recycle(batch);
        }
    }

    fn recycle(&mut self, batch: Option<Batch>) {
        if let Some(batch) = batch
            && self.spare.len() < SPARE_BUFFERS
            && batch.tasks.capacity() <= SPARE_CAPACITY
        {
            self.spare.push(batch.tasks);
        }
    }
}

impl std::fmt::Debug for Unstarted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.look().fmt(f)
    }
}
