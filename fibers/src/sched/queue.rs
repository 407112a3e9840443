//! The two queues of fibers that may go on: the owner's own, and the inbox that everybody else pushes to.
//!
//! Both are linked through the fibers, so a wake allocates nothing. A fiber is in at most one queue at a time.
#![expect(unsafe_code, reason = "intrusive lists of raw pointers")]

use std::cell::Cell;
use std::ptr::{NonNull, null_mut};

use super::task::{PARKED, Task};
use crate::prim::plain::{AtomicPtr, Ordering};

/// First in, first out; the owner's alone, so without atomics (`link` is one, but Relaxed here).
#[derive(Debug)]
pub(super) struct Started {
    head: Cell<*mut Task>,
    /// Meaningful while `head` is not null.
    tail: Cell<*mut Task>,
}

impl Started {
    pub(super) const fn new() -> Started {
        Started {
            head: Cell::new(null_mut()),
            tail: Cell::new(null_mut()),
        }
    }

    #[inline(always)]
    pub(super) fn is_empty(&self) -> bool {
        self.head.get().is_null()
    }

    /// # Safety
    /// The fiber is alive and in no queue.
    #[inline(always)]
    pub(super) unsafe fn push(&self, task: NonNull<Task>) {
        // SAFETY: alive, as the caller says; the tail as well, since it is in the queue.
        unsafe {
            task.as_ref().link.store(null_mut(), Ordering::Relaxed);
            if self.head.get().is_null() {
                self.head.set(task.as_ptr());
            } else {
                (*self.tail.get()).link.store(task.as_ptr(), Ordering::Relaxed);
            }
        }
        self.tail.set(task.as_ptr());
    }

    /// # Safety
    /// As for `push`.
    pub(super) unsafe fn push_front(&self, task: NonNull<Task>) {
        let head = self.head.replace(task.as_ptr());
        // SAFETY: alive, as the caller says.
        unsafe { task.as_ref() }.link.store(head, Ordering::Relaxed);
        if head.is_null() {
            self.tail.set(task.as_ptr());
        }
    }

    #[inline(always)]
    pub(super) fn pop(&self) -> Option<NonNull<Task>> {
        let task = NonNull::new(self.head.get())?;
        // SAFETY: a fiber in the queue is alive.
        let next = unsafe { task.as_ref() }.link.swap_relaxed(PARKED);
        self.head.set(next);
        Some(task)
    }
}

/// A load and a store where nobody interferes.
trait SwapRelaxed {
    fn swap_relaxed(&self, value: *mut Task) -> *mut Task;
}

impl SwapRelaxed for AtomicPtr<Task> {
    #[inline(always)]
    fn swap_relaxed(&self, value: *mut Task) -> *mut Task {
        let before = self.load(Ordering::Relaxed);
        self.store(value, Ordering::Relaxed);
        before
    }
}

/// The head of an inbox that takes nothing more.
const CLOSED: *mut Task = std::ptr::without_provenance_mut(2);

/// Last in, first out for any number of pushers (Treiber); the owner takes everything at once.
#[derive(Debug)]
pub(super) struct Inbox {
    head: AtomicPtr<Task>,
}

impl Inbox {
    pub(super) const fn new() -> Inbox {
        Inbox {
            head: AtomicPtr::new(null_mut()),
        }
    }

    /// False if the inbox is closed. The exchange is SeqCst for the sake of the sleeper: see [`idle`](super::idle).
    ///
    /// # Safety
    /// The fiber is alive and in no queue. From the exchange on it belongs to the owner: it may be gone at once.
    pub(super) unsafe fn push(&self, task: NonNull<Task>) -> bool {
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            if head == CLOSED {
                return false;
            }
            // SAFETY: alive until the exchange succeeds.
            unsafe { task.as_ref() }.link.store(head, Ordering::Relaxed);
            match self
                .head
                .compare_exchange_weak(head, task.as_ptr(), Ordering::SeqCst, Ordering::Relaxed)
            {
                Ok(_) => return true,
                Err(now) => head = now,
            }
        }
    }

    /// A glance without order: what it misses, the next one sees.
    #[inline(always)]
    pub(super) fn is_empty(&self) -> bool {
        self.head.load(Ordering::Relaxed).is_null()
    }

    /// What a sleeper asks, ordered against its own announcement.
    pub(super) fn is_empty_ordered(&self) -> bool {
        self.head.load(Ordering::SeqCst).is_null()
    }

    /// Takes all, in the order of their arrival. For the owner.
    pub(super) fn drain(&self) -> Drained {
        // Acquire pairs with the pushes.
        Drained::reverse(self.head.swap(null_mut(), Ordering::Acquire))
    }

    /// Takes all, and what comes after that is refused.
    pub(super) fn close(&self) -> Drained {
        Drained::reverse(self.head.swap(CLOSED, Ordering::AcqRel))
    }
}

/// What was taken out of an inbox.
pub(super) struct Drained {
    head: *mut Task,
}

impl Drained {
    fn reverse(mut newest: *mut Task) -> Drained {
        let mut head = null_mut();
        while !newest.is_null() && newest != CLOSED {
            // SAFETY: the fibers of a drained list are alive and nobody else's; the exchange has ordered their links.
            let next = unsafe { &(*newest).link }.swap_relaxed(head);
            head = newest;
            newest = next;
        }
        Drained { head }
    }
}

impl Iterator for Drained {
    type Item = NonNull<Task>;

    fn next(&mut self) -> Option<NonNull<Task>> {
        let task = NonNull::new(self.head)?;
        // SAFETY: as above.
        self.head = unsafe { task.as_ref() }.link.swap_relaxed(PARKED);
        Some(task)
    }
}
