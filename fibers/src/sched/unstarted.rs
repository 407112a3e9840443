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
        self.with(|b| (!b.newest.is_empty()).then_some(b.newest.slice % HANDED_OVER))
    }

    /// Something about the fiber that the owner would start next, asked under the lock.
    pub(super) fn peek_newest<R>(&self, ask: impl FnOnce(NonNull<Task>) -> R) -> Option<R> {
        if self.is_empty() {
            None
        } else {
            self.with(|b| b.newest.first().map(ask))
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

    fn split_newest(&mut self, keep: impl FnOnce(usize) -> usize, out: &mut Vec<NonNull<Task>>) {
        if self.newest.slice == HANDED_OVER {
            return;
        }
        let before = out.len();
        self.newest.split_off(keep(self.newest.len()), out);
        self.newest.slice = HANDED_OVER;
        self.len -= out.len() - before;
        self.close_empty();
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
