//! A worker's own stacks: the one last used is the first to be used again, since its pages are mapped and warm.
//!
//! The cache may be told of a stack while the code that tells is still running on it. So pushing touches nothing but the
//! cache itself, and trimming passes over the stack that it runs on.

use std::io;
use std::sync::Arc;

use super::{Stack, StackPool};

/// Stacks that [`StackCache::trim`] frees at a time before it asks whether there are more.
#[cfg(test)]
const TRIM_BATCH: usize = 64;

/// The stacks of one worker that no fiber uses.
#[derive(Debug)]
pub(crate) struct StackCache {
    pool: Arc<StackPool>,
    /// How many stacks survive trimming.
    keep: usize,
    /// Last used at the end.
    stacks: Vec<Stack>,
    /// Stacks with a mapping of their own, which are not used again.
    retired: Vec<Stack>,
}

impl StackCache {
    /// A cache that keeps `keep` stacks (at least one) when it is trimmed.
    pub(crate) fn new(pool: Arc<StackPool>, keep: usize) -> StackCache {
        StackCache {
            pool,
            keep: keep.max(1),
            stacks: Vec::new(),
            retired: Vec::new(),
        }
    }

    /// The stack last used, or one from the pool.
    ///
    /// # Errors
    /// As [`StackPool::alloc`].
    #[inline]
    pub(crate) fn pop(&mut self) -> io::Result<Stack> {
        match self.stacks.pop() {
            Some(stack) => Ok(stack),
            None => self.pool.alloc(),
        }
    }

    /// Keeps a stack for the next fiber. The caller may still be running on it, until the next `pop`.
    #[inline]
    pub(crate) fn push(&mut self, stack: Stack) {
        if stack.has_own_mapping() {
            return self.retire(stack);
        }
        self.stacks.push(stack);
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

    /// As [`StackCache::trim`], at most `count` stacks, of about half a microsecond each; true if there are more.
    pub(crate) fn trim_some(&mut self, count: usize) -> bool {
        self.free_retired();
        for _ in 0..count {
            let surplus = self.stacks.len().saturating_sub(self.keep);
            if surplus == 0 {
                self.stacks.shrink_to(2 * self.keep);
                return false;
            }
            // The hottest of the surplus: what moves down to fill its place are only those that are kept.
            let stack = self.stacks.remove(surplus - 1);
            if stack.is_under_our_feet() {
                self.stacks.push(stack);
            }
        }
        self.stacks.len() > self.keep
    }

    /// How many stacks trimming would free.
    #[cfg(test)]
    pub(crate) fn surplus(&self) -> usize {
        self.stacks.len().saturating_sub(self.keep) + self.retired.len()
    }

    fn free_retired(&mut self) {
        self.retired.retain(Stack::is_under_our_feet);
    }
}
