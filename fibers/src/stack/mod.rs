//! The stacks on which fibers run.
//!
//! ```text
//!   slab   | guard | usable ........ | | guard | usable ........ | | guard | usable ........ | |  not carved yet
//!          ^       ^                 ^ ^
//!          base    limit             top next   one slot = guard + usable; a stack grows from top down to limit;
//!                                               next - base is an odd number of pages
//! ```
//!
//! - [`StackPool`] carves slots out of large mappings, slabs, one pool per runtime. A slot gets its guard once, when it is
//!   carved, and keeps it for as long as the slab lives.
//! - [`Stack`] owns one slot. Dropping it gives the memory back to the system and the slot to the pool.
//! - [`StackCache`] belongs to one worker and keeps the stacks last used, whose pages and cache lines are warm.
//! - [`overflow`] is what happens when a fiber runs into its guard.
//!
//! Invariants:
//! 1. A guarded slot never loses its guard: no stack exists without one.
//! 2. A slab is unmapped only by the end of its pool, which every stack keeps alive; not even then if one of its stacks
//!    was leaked, that is, is still in use by a suspended fiber.
//! 3. A step that fails leaves the pool as it was before.
#![expect(unsafe_code, reason = "stacks are raw memory, given back by hand")]

mod cache;
mod exhausted;
mod mapping;
mod overflow;
mod pool;

pub(crate) use cache::{Fresh, StackCache};
pub(crate) use overflow::{AltStack, install_fault_handler};
pub(crate) use pool::StackPool;

use std::fmt;
use std::io;
use std::mem::ManuallyDrop;
use std::ops::Range;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use crate::sys;

/// The sizes of a pool's stacks, in bytes. Both are rounded up to whole pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StackConfig {
    /// A whole slot, with its guard.
    pub size: usize,
    /// The inaccessible part at the low end.
    pub guard: usize,
}

impl StackConfig {
    /// What a fiber can use at least. A panic that prints its message needs about half of it.
    pub(crate) const MIN_USABLE: usize = 16 << 10;
    /// More than this is taken for a mistake.
    pub(crate) const MAX_SIZE: usize = 64 << 30;

    /// The same in whole pages, if a stack can be made of it.
    pub(crate) fn checked(self) -> io::Result<StackConfig> {
        let page = sys::page_size();
        let (size, guard) = (self.size, self.guard);
        if size > Self::MAX_SIZE || guard > Self::MAX_SIZE {
            let max = Self::MAX_SIZE;
            return invalid(format!(
                "a stack of {size} bytes with a guard of {guard} is too large: at most {max} bytes"
            ));
        }
        if guard == 0 {
            return invalid(format!("a stack needs a guard: give at least one page of {page} bytes"));
        }
        let rounded = StackConfig {
            size: size.next_multiple_of(page),
            guard: guard.next_multiple_of(page),
        };
        if rounded.size < rounded.guard + Self::MIN_USABLE {
            let least = rounded.guard + Self::MIN_USABLE.next_multiple_of(page);
            return invalid(format!(
                "a stack of {size} bytes is too small: with its guard of {} bytes it needs at least {least}",
                rounded.guard
            ));
        }
        Ok(rounded)
    }

    fn usable(self) -> usize {
        self.size - self.guard
    }

    /// From one slot of a slab to the next: an odd number of pages. What a fiber touches first is the topmost page of its
    /// stack; were these a power of two apart, all of them would fall into the same few sets of the address-translation
    /// caches, which are chosen by the low bits of the page's number.
    fn stride(self) -> usize {
        let page = sys::page_size();
        ((self.size / page) | 1) * page
    }
}

impl Default for StackConfig {
    /// The guard is as large as it is because frames of C code do not touch each of their pages: they could step over a
    /// smaller one. Untouched memory costs nothing but page tables.
    fn default() -> StackConfig {
        StackConfig {
            size: 256 << 10,
            guard: 64 << 10,
        }
    }
}

fn invalid<T>(message: String) -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::InvalidInput, message))
}

/// A stack with a guard below it, owned.
pub(crate) struct Stack {
    top: NonNull<u8>,
    /// Bytes between limit and top. More than the pool's own: the stack has a mapping to itself.
    usable: usize,
    pool: Arc<StackPool>,
}

// SAFETY: a stack owns its memory, which belongs to no thread.
unsafe impl Send for Stack {}
// SAFETY: a shared stack tells nothing but addresses.
unsafe impl Sync for Stack {}

impl Stack {
    /// The upper end, aligned to a page: one past the last usable byte.
    pub(crate) fn top(&self) -> *mut u8 {
        self.top.as_ptr()
    }

    /// The lowest usable byte.
    pub(crate) fn limit(&self) -> *mut u8 {
        self.top.as_ptr().wrapping_sub(self.usable)
    }

    /// Usable bytes.
    pub(crate) fn size(&self) -> usize {
        self.usable
    }

    /// The addresses that fault, below the limit.
    pub(crate) fn guard_range(&self) -> Range<usize> {
        let limit = self.limit().addr();
        limit - self.pool.config().guard..limit
    }

    /// Gives the stack up for ever without touching it: a fiber is suspended on it, and whoever still has pointers into
    /// its frames must find them as they are. The memory stays mapped until the process ends.
    pub(crate) fn leak(self) {
        if !self.has_own_mapping() {
            self.pool.keep_slab_of(self.base());
        }
        self.dissolve();
    }

    /// Ends the ownership of the memory, whatever becomes of that.
    fn dissolve(self) {
        let stack = ManuallyDrop::new(self);
        // SAFETY: `stack` is not dropped and not used any more, so the count it held passes to the result.
        drop(unsafe { ptr::read(&stack.pool) });
    }

    fn base(&self) -> NonNull<u8> {
        let whole = self.usable + self.pool.config().guard;
        // SAFETY: guard and usable part lie below the top in one mapping.
        unsafe { self.top.sub(whole) }
    }

    fn has_own_mapping(&self) -> bool {
        self.usable > self.pool.config().usable()
    }

    /// Whether the caller's own frame lies on this stack.
    fn is_under_our_feet(&self) -> bool {
        let frame = 0u8;
        let here = ptr::from_ref(std::hint::black_box(&frame)).addr();
        (self.limit().addr()..self.top().addr()).contains(&here)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        debug_assert!(!self.is_under_our_feet(), "a stack is freed by code that runs on it");
        let whole = self.usable + self.pool.config().guard;
        if self.has_own_mapping() {
            // SAFETY: the mapping was made for this stack and given to it whole.
            drop(unsafe { mapping::Mapping::from_raw(self.base(), whole) });
            self.pool.forget_own();
        } else {
            // SAFETY: the slot is one of this pool's, guarded, and its owner ends here.
            unsafe { self.pool.give_back(self.base()) };
        }
    }
}

impl fmt::Debug for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stack({:p}..{:p})", self.limit(), self.top())
    }
}

#[cfg(test)]
mod tests;
