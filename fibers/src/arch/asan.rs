//! What AddressSanitizer has to be told about switches. Without `--cfg fibers_asan` every function here is empty.
//!
//! The sanitizer keeps the bounds of the running stack, for throwing exceptions and for reports, and a *fake stack* of
//! heap cells that hold locals (to find uses after return). Both belong to a context, so each switch is announced:
//!
//! ```text
//! let mut fake = null_mut();
//! start_switch(Some(&mut fake), bottom and size of the stack to go to);    // None: this context ends here
//! switch(&mut here, to);
//! finish_switch(fake, &mut bottom, &mut size);                            // bounds of the stack we came from
//! ```
//!
//! A fresh context begins with `finish_switch(null_mut(), ..)`. That is also how one learns the bounds of a thread's own
//! stack: from the first switch away from it.
//!
//! Build with `RUSTFLAGS="-Zsanitizer=address --cfg fibers_asan"` and an explicit `--target`.
#![expect(unsafe_code, reason = "the sanitizer is told by foreign functions")]

use std::ffi::c_void;

#[cfg(fibers_asan)]
unsafe extern "C" {
    fn __sanitizer_start_switch_fiber(fake_save: *mut *mut c_void, bottom: *const c_void, size: usize);
    fn __sanitizer_finish_switch_fiber(fake: *mut c_void, old_bottom: *mut *const c_void, old_size: *mut usize);
    fn __asan_unpoison_memory_region(bottom: *const c_void, size: usize);
}

/// Announces a switch to the stack of `size` bytes that begins (lowest address) at `bottom`.
///
/// The fake stack of the running context is kept in `fake_save` until it is resumed. `None` says that it never will be,
/// and frees it.
///
/// # Safety
/// The very next thing that this thread does is that switch.
#[inline(always)]
pub(crate) unsafe fn start_switch(fake_save: Option<&mut *mut c_void>, bottom: *const c_void, size: usize) {
    #[cfg(fibers_asan)]
    // SAFETY: the caller switches next; an `Option` of a reference is a pointer that may be null.
    unsafe {
        __sanitizer_start_switch_fiber(fake_save.map_or(std::ptr::null_mut(), std::ptr::from_mut), bottom, size);
    }
    #[cfg(not(fibers_asan))]
    let _ = (fake_save, bottom, size);
}

/// Completes a switch on its far side: brings back the fake stack of the context that now runs (null if it is fresh) and
/// tells the bounds of the stack that was left.
///
/// # Safety
/// The last thing that this thread did was a switch that [`start_switch`] announced, and `fake` is what it stored when
/// this context suspended.
#[inline(always)]
pub(crate) unsafe fn finish_switch(fake: *mut c_void, old_bottom: &mut *const c_void, old_size: &mut usize) {
    #[cfg(fibers_asan)]
    // SAFETY: the caller has just arrived, and `fake` belongs to this context.
    unsafe {
        __sanitizer_finish_switch_fiber(fake, old_bottom, old_size);
    }
    #[cfg(not(fibers_asan))]
    let _ = (fake, old_bottom, old_size);
}

/// Forgets what the frames of an ended context have marked as out of bounds, before its stack is used again.
///
/// # Safety
/// No context lives on these bytes.
#[inline(always)]
pub(crate) unsafe fn unpoison(bottom: *const c_void, size: usize) {
    #[cfg(fibers_asan)]
    // SAFETY: the caller owns the memory and no frame on it is alive.
    unsafe {
        __asan_unpoison_memory_region(bottom, size);
    }
    #[cfg(not(fibers_asan))]
    let _ = (bottom, size);
}
