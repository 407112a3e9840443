//! The handles to a channel: two sides, each counted, around one block of memory.
//!
//! A pair of `Arc`s could do the same with three blocks, and two pointers between a handle and its channel.
//!
//! # Invariants
//! - `counts[side]` is the number of handles of that side. Once it is 0 it stays 0: a handle is cloned from a living one only.
//! - `sides` is the number of sides that have handles, or whose last handle is still closing the channel. Whoever takes it to 0
//!   is the last to know the block, and frees it.
#![expect(unsafe_code, reason = "the block is freed by the last handle of either side")]

use crate::prim::{AtomicUsize, Ordering};
use std::marker::PhantomData;
use std::ops::Deref;
use std::process;
use std::ptr::NonNull;

/// What the last handle of a side does before it goes.
pub(super) trait Close {
    fn close(&self, side: usize);
}

struct Block<C> {
    counts: [AtomicUsize; 2],
    sides: AtomicUsize,
    channel: C,
}

/// A handle of side 0 or 1. Dropping the last one of its side closes the channel; the other side keeps it alive.
pub(super) struct End<C: Close, const SIDE: usize> {
    block: NonNull<Block<C>>,
    _owner: PhantomData<C>,
}

// SAFETY: handles on several threads share the channel, hence `Sync`, and the last one drops it, hence `Send`.
unsafe impl<C: Close + Send + Sync, const SIDE: usize> Send for End<C, SIDE> {}
// SAFETY: as above.
unsafe impl<C: Close + Send + Sync, const SIDE: usize> Sync for End<C, SIDE> {}

/// The first handle of each side.
pub(super) fn ends<C: Close>(channel: C) -> (End<C, 0>, End<C, 1>) {
    let block = Box::new(Block {
        counts: [AtomicUsize::new(1), AtomicUsize::new(1)],
        sides: AtomicUsize::new(2),
        channel,
    });
    let block = NonNull::from(Box::leak(block));
    (End::new(block), End::new(block))
}

impl<C: Close, const SIDE: usize> End<C, SIDE> {
    fn new(block: NonNull<Block<C>>) -> Self {
        End {
            block,
            _owner: PhantomData,
        }
    }

    fn block(&self) -> &Block<C> {
        // SAFETY: this handle is counted, so its side is, and the block lives as long as a side does.
        unsafe { self.block.as_ref() }
    }

    pub(super) fn same(&self, other: &Self) -> bool {
        self.block == other.block
    }

    #[cold]
    fn last(&self) {
        self.block().channel.close(SIDE);
        // AcqRel: the last side sees all that the other one did to the channel before it is freed.
        if self.block().sides.fetch_sub(1, Ordering::AcqRel) == 1 {
            // SAFETY: it comes from a box, and by the invariants nobody else knows it any more.
            drop(unsafe { Box::from_raw(self.block.as_ptr()) });
        }
    }
}

impl<C: Close, const SIDE: usize> Deref for End<C, SIDE> {
    type Target = C;

    #[inline]
    fn deref(&self) -> &C {
        &self.block().channel
    }
}

impl<C: Close, const SIDE: usize> Clone for End<C, SIDE> {
    fn clone(&self) -> Self {
        // Relaxed: this handle keeps the count above 0, and hands on the right to the channel by ordinary means.
        let before = self.block().counts[SIDE].fetch_add(1, Ordering::Relaxed);
        if before > isize::MAX as usize {
            // Only leaked handles get here; a count that wraps around would free a channel in use.
            process::abort();
        }
        End::new(self.block)
    }
}

impl<C: Close, const SIDE: usize> Drop for End<C, SIDE> {
    fn drop(&mut self) {
        // AcqRel: what was done through the other handles of the side happens before it is closed.
        if self.block().counts[SIDE].fetch_sub(1, Ordering::AcqRel) == 1 {
            self.last();
        }
    }
}
