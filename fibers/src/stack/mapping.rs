//! A mapping that is taken away when its owner goes, and the two ways of guarding a part of it.
#![expect(unsafe_code, reason = "mappings are raw memory")]

use std::io;
use std::ptr::NonNull;

use crate::prim::plain::{AtomicBool, Ordering};
use crate::sys::{self, Advice};

/// Memory mapped for us alone.
pub(super) struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: mapped memory belongs to no thread.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Maps `len` bytes, whole pages, never to be backed by huge ones.
    pub(super) fn new(len: usize) -> io::Result<Mapping> {
        let mapping = Mapping {
            start: sys::map(len)?,
            len,
        };
        // SAFETY: the advice destroys nothing.
        match unsafe { sys::advise(mapping.start, len, Advice::NoHugePage) } {
            // A kernel built without huge pages knows no such advice.
            Err(e) if e.raw_os_error() != Some(libc::EINVAL) => Err(e),
            _ => Ok(mapping),
        }
    }

    /// # Safety
    /// The range is one whole mapping, made here and given out by `into_raw`, and nothing uses it any more.
    pub(super) unsafe fn from_raw(start: NonNull<u8>, len: usize) -> Mapping {
        Mapping { start, len }
    }

    /// Gives the mapping out of our care.
    pub(super) fn into_raw(self) -> NonNull<u8> {
        let start = self.start;
        std::mem::forget(self);
        start
    }

    pub(super) fn start(&self) -> NonNull<u8> {
        self.start
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn holds(&self, address: *const u8) -> bool {
        address.addr().wrapping_sub(self.start.addr().get()) < self.len
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: whoever lets the mapping go vouches that nothing uses it. If the kernel cannot unmap it, it stays: there
        // is nobody who could do better.
        let _ = unsafe { sys::unmap(self.start, self.len) };
    }
}

/// How guards are made.
#[derive(Debug)]
pub(super) struct Guards {
    /// Set for good when the kernel turns out to have no guard marks. Relaxed: whoever misses that finds out itself.
    split: AtomicBool,
}

impl Guards {
    pub(super) fn new() -> Guards {
        Guards {
            split: AtomicBool::new(!sys::refuses_unknown_advice()),
        }
    }

    /// Whether each guard splits its mapping, which costs two of the mappings that the kernel allows a process.
    pub(super) fn split_mappings(&self) -> bool {
        self.split.load(Ordering::Relaxed)
    }

    /// Makes every access to the range fault: by guard marks in the page tables (Linux 6.13), else by `mprotect`.
    ///
    /// # Safety
    /// The range, whole pages, lies within a mapping that the caller owns, and nothing uses it.
    pub(super) unsafe fn install(&self, start: NonNull<u8>, len: usize) -> io::Result<()> {
        if !self.split_mappings() {
            // SAFETY: the caller owns the range.
            match unsafe { sys::advise(start, len, Advice::GuardInstall) } {
                // The kernel does not know the advice (or not for locked memory).
                Err(e) if e.raw_os_error() == Some(libc::EINVAL) => self.split.store(true, Ordering::Relaxed),
                result => return result,
            }
        }
        // SAFETY: as above.
        unsafe { sys::protect_none(start, len) }
    }
}
