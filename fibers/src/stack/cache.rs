//! A worker's own stacks: the one last used is the first to be used again, since its pages are mapped and warm.
//!
//! The cache may be told of a stack while the code that tells is still running on it. So pushing touches nothing but the
//! cache itself, and trimming passes over the stack that it runs on.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use super::{Stack, StackPool};

/// Stacks that [`StackCache::trim`] frees at a time before it asks whether there are more.
#[cfg(test)]
const TRIM_BATCH: usize = 64;

/// Whether nobody has touched a stack since it came from the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fresh(pub(crate) bool);

/// The stacks of one worker that no fiber uses.
#[derive(Debug)]
pub(crate) struct StackCache {
    pool: Arc<StackPool>,
    /// How many stacks survive trimming.
    keep: usize,
    /// Last used at the end.
    stacks: VecDeque<Stack>,
    /// Stacks with a mapping of their own, which are not used again.
    retired: Vec<Stack>,
}

impl StackCache {
    /// A cache that keeps `keep` stacks (at least one) when it is trimmed.
    pub(crate) fn new(pool: Arc<StackPool>, keep: usize) -> StackCache {
        StackCache {
            pool,
            keep: keep.max(1),
            stacks: VecDeque::new(),
            retired: Vec::new(),
        }
    }

    /// The stack last used, or one from the pool: then it is fresh, that is, all of it reads as zero, and had better be
    /// written first (to read it would map the kernel's page of zeros, and the write would fault again).
    ///
    /// # Errors
    /// As [`StackPool::alloc`].
    #[inline]
    pub(crate) fn take(&mut self) -> io::Result<(Stack, Fresh)> {
        match self.stacks.pop_back() {
            Some(stack) => Ok((stack, Fresh(false))),
            None => Ok((self.pool.alloc()?, Fresh(true))),
        }
    }

    #[cfg(test)]
    pub(crate) fn pop(&mut self) -> io::Result<Stack> {
        Ok(self.take()?.0)
    }

    /// Keeps a stack for the next fiber. The caller may still be running on it, until the next `take`.
    #[inline]
    pub(crate) fn push(&mut self, stack: Stack) {
        if stack.has_own_mapping() {
            return self.retire(stack);
        }
        self.stacks.push_back(stack);
        self.pool.forget_failure();
    }

    /// The new one cannot be unmapped yet; the one before it can.
    #[cold]
    fn retire(&mut self, stack: Stack) {
        self.free_retired();
        self.retired.push(stack);
    }

    /// Gives back all but the last used stacks, and their memory. To be called when there is nothing better to do, on any
    /// stack whatever.
    #[cfg(test)]
    pub(crate) fn trim(&mut self) {
        while self.trim_some(TRIM_BATCH) {}
    }

    /// As [`StackCache::trim`], at most `count` stacks, those first that were used longest ago; true if there are more. The
    /// memory goes back in one call, at about half a microsecond for each stack.
    pub(crate) fn trim_some(&mut self, count: usize) -> bool {
        self.free_retired();
        let surplus = self.stacks.len().saturating_sub(self.keep);
        if surplus == 0 {
            return false;
        }
        let mut cold = self.stacks.drain(..surplus.min(count)).collect::<Vec<_>>();
        if let Some(at) = cold.iter().position(Stack::is_under_our_feet) {
            self.stacks.push_back(cold.swap_remove(at));
        }
        self.pool.take_back(cold);
        if self.stacks.len() > self.keep {
            return true;
        }
        self.stacks.shrink_to(2 * self.keep);
        false
    }

    /// How many stacks trimming would free.
    pub(crate) fn surplus(&self) -> usize {
        self.stacks.len().saturating_sub(self.keep) + self.retired.len()
    }

    fn free_retired(&mut self) {
        self.retired.retain(Stack::is_under_our_feet);
    }
}
