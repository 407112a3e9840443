//! A batch: unstarted fibers in the order in which they came, linked through themselves, so that to queue one allocates nothing.
//!
//! Forward links are `Task::link`. Backward links lie where a started fiber keeps its stack, which an unstarted one has not.
//! The first one's backward link means nothing, and the last one's forward link is null.
#![expect(unsafe_code, reason = "intrusive lists of raw pointers")]

use std::ptr::{NonNull, null_mut};

use super::task::{PARKED, Task};
use super::unstarted::Shares;
use crate::prim::plain::Ordering;

/// How far a batch has been shared out among the workers: the further, the longer thieves leave it alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Settled {
    /// Whoever has time may take of it.
    No,
    /// The others have their share of it.
    Shared,
    /// They are a share, dealt out because the user said so.
    Dealt,
}

/// Fibers that wait for their first turn, oldest first.
#[derive(Debug)]
pub(super) struct Batch {
    /// The slice in which they were spawned.
    pub(super) slice: u64,
    /// The sequence number of the first one, or a smaller one.
    pub(super) first: u64,
    /// What `first` would be if the worker had started none.
    born: u64,
    /// How many other workers have taken out of it.
    gone: u32,
    /// How far it has been shared out.
    pub(super) settled: Settled,
    head: *mut Task,
    /// Meaningful while `head` is not null.
    tail: *mut Task,
    len: usize,
}

impl Batch {
    pub(super) const fn new(slice: u64, first: u64) -> Batch {
        Batch {
            slice,
            first,
            born: first,
            gone: 0,
            settled: Settled::No,
            head: null_mut(),
            tail: null_mut(),
            len: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline(always)]
    pub(super) fn is_empty(&self) -> bool {
        self.head.is_null()
    }

    pub(super) fn first(&self) -> Option<NonNull<Task>> {
        NonNull::new(self.head)
    }

    /// Adds one behind the others. Unstarted, alive and in no queue: that is what everybody here hands in.
    #[inline(always)]
    pub(super) fn push(&mut self, task: NonNull<Task>) {
        // SAFETY: alive, as above; the tail as well, since it is in the queue.
        unsafe {
            task.as_ref().link.store(null_mut(), Ordering::Relaxed);
            if self.head.is_null() {
                self.head = task.as_ptr();
            } else {
                task.as_ref().set_before(self.tail);
                (*self.tail).link.store(task.as_ptr(), Ordering::Relaxed);
            }
        }
        self.tail = task.as_ptr();
        self.len += 1;
    }

    #[inline(always)]
    pub(super) fn pop(&mut self) -> Option<NonNull<Task>> {
        let task = NonNull::new(self.head)?;
        // SAFETY: a fiber in the queue is alive.
        self.head = unsafe { task.as_ref() }.link.load(Ordering::Relaxed);
        self.first += 1;
        Some(self.leave(task))
    }

    /// As `pop`, for another worker.
    pub(super) fn give(&mut self) -> Option<NonNull<Task>> {
        let task = self.pop()?;
        self.born += 1;
        self.gone += 1;
        Some(task)
    }

    /// How it is divided so far.
    pub(super) fn shares(&self) -> Shares {
        Shares {
            started: (self.first - self.born) as usize,
            gone: self.gone as usize,
            waiting: self.len,
        }
    }

    /// The first one that is `wanted`, among so many at either end.
    pub(super) fn remove_near_ends(&mut self, ends: usize, wanted: impl Fn(NonNull<Task>) -> bool) -> Option<NonNull<Task>> {
        let mut at = self.first();
        for _ in 0..ends.min(self.len) {
            let task = at?;
            if wanted(task) {
                return Some(self.remove(task));
            }
            at = self.after(task);
        }
        let mut at = NonNull::new(self.tail);
        for _ in ends..self.len.min(2 * ends) {
            let task = at?;
            if wanted(task) {
                return Some(self.remove(task));
            }
            at = self.before(task);
        }
        None
    }

    /// Takes all but the first `keep`, in order.
    pub(super) fn split_off(&mut self, keep: usize, out: &mut Vec<NonNull<Task>>) {
        if keep >= self.len {
            return;
        }
        let mut at = match keep {
            0 => self.first(),
            _ => self.cut_after(keep),
        };
        if keep == 0 {
            self.head = null_mut();
        }
        while let Some(task) = at {
            at = self.after(task);
            out.push(self.leave(task));
        }
    }

    /// Ends the list with the fiber of that number, from 1, and returns what was behind it.
    fn cut_after(&mut self, keep: usize) -> Option<NonNull<Task>> {
        let last = (1..keep).fold(self.first(), |task, _| self.after(task?))?;
        let rest = self.after(last);
        // SAFETY: a fiber in the queue is alive.
        unsafe { last.as_ref() }.link.store(null_mut(), Ordering::Relaxed);
        self.tail = last.as_ptr();
        rest
    }

    fn remove(&mut self, task: NonNull<Task>) -> NonNull<Task> {
        let (before, after) = (self.before(task), self.after(task));
        let to_after = after.map_or(null_mut(), NonNull::as_ptr);
        match before {
            None => self.head = to_after,
            // SAFETY: a fiber in the queue is alive.
            Some(before) => unsafe { before.as_ref() }.link.store(to_after, Ordering::Relaxed),
        }
        match (after, before) {
            (None, None) => {}
            (None, Some(before)) => self.tail = before.as_ptr(),
            // SAFETY: a fiber in the queue is alive.
            (Some(after), _) => unsafe { after.as_ref() }.set_before(before.map_or(null_mut(), NonNull::as_ptr)),
        }
        self.leave(task)
    }

    fn after(&self, task: NonNull<Task>) -> Option<NonNull<Task>> {
        // SAFETY: a fiber in the queue is alive.
        NonNull::new(unsafe { task.as_ref() }.link.load(Ordering::Relaxed))
    }

    fn before(&self, task: NonNull<Task>) -> Option<NonNull<Task>> {
        if task.as_ptr() == self.head {
            return None;
        }
        // SAFETY: a fiber in the queue is alive.
        NonNull::new(unsafe { task.as_ref() }.before())
    }

    /// Says of a fiber whose neighbours do not know it any more that it is in no queue.
    #[inline(always)]
    fn leave(&mut self, task: NonNull<Task>) -> NonNull<Task> {
        // SAFETY: it was in the queue until now, so it is alive.
        unsafe { task.as_ref() }.link.store(PARKED, Ordering::Relaxed);
        self.len -= 1;
        task
    }
}
