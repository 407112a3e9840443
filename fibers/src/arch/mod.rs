//! The context switch: all that this crate knows about registers.
//!
//! A *context* is a stack with what is needed to go on with the code that was running on it. Contexts are symmetric: the
//! operating system's own stack of a thread is one as well, and any context may switch to any other that is suspended.
//!
//! ```text
//!    init(top, entry, arg)         switch(&mut a, b)            switch(&mut b, a)
//!    ---------------------> fresh -----------------> running ---------------------> suspended
//!                                                       ^                               |
//!                                                       +-------- switch(.., b) --------+
//! ```
//!
//! Invariants:
//! - An [`Sp`] is good for one switch: resuming uses it up, suspending makes a new one.
//! - A suspended context is nothing but memory. Nobody else writes to it, and it goes on where it suspended with all that
//!   was live there intact. Its drawings are in the file of each machine.
//! - Each context ends at its entry: panics, backtraces and debuggers never see the context that resumed it.
//!
//! What it does not do: it does not allocate, guard or free stacks; it does not switch thread-local storage, signal masks
//! or the floating-point environment (see the machines for why not); nothing unwinds through `entry`. A profiler that
//! unwinds by DWARF tables from a signal sees a wrong frame during the ten instructions of a switch, since the tables of
//! the surrounding function know nothing of them; what unwinds from calls never looks there.
#![expect(unsafe_code, reason = "only assembly can exchange stacks")]

#[cfg(target_arch = "aarch64")]
mod aarch64;
pub(crate) mod asan;
#[cfg(all(test, not(miri)))]
mod tests;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "aarch64")]
use aarch64 as machine;
use std::ptr::null_mut;
#[cfg(target_arch = "x86_64")]
use x86_64 as machine;

/// The stack pointer of a suspended context. What the machine keeps there is drawn in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Sp(*mut u8);

impl Sp {
    /// No context: the value of a place that a switch will fill.
    pub(crate) const NULL: Sp = Sp(null_mut());
}

/// Bytes of a cache line, on all machines here.
const LINE: usize = 64;

/// Asks for the `lines` cache lines from `at` on, which are about to be used. The address need not be valid.
#[inline(always)]
pub(crate) fn prefetch(at: *const u8, lines: usize) {
    if cfg!(not(miri)) {
        (0..lines).for_each(|line| machine::prefetch(at.wrapping_add(line * LINE)));
    }
}

impl Sp {
    /// Asks for the innermost frames of a suspended context, which is about to go on. A stale one does no harm.
    #[inline(always)]
    pub(crate) fn prefetch(self, lines: usize) {
        prefetch(self.0, lines);
    }
}

/// Prepares a fresh context on a stack: the first switch to the result calls `entry(arg)` there.
///
/// `entry` is called on an aligned, otherwise empty stack, and its backtraces end with it. Whatever lay on the stack is
/// overwritten, so a stack whose context has ended, or was given up, can be used again.
///
/// # Safety
/// - `top` is aligned to 16 bytes and is the upper end of a stack: memory that is readable and writable, that nothing else
///   uses, and that stays so until the context has been switched away from for the last time.
/// - The stack is large enough for `entry` and all that it calls, or something below it faults on access.
/// - `entry` may be called with `arg` by whatever thread makes the first switch.
pub(crate) unsafe fn init(top: *mut u8, entry: unsafe extern "C" fn(*mut ()) -> !, arg: *mut ()) -> Sp {
    debug_assert!(top.addr().is_multiple_of(16), "a stack must end at a multiple of 16");
    // SAFETY: the machine needs what this function asks of its caller.
    Sp(unsafe { machine::init(top, entry, arg) })
}

/// Suspends the running context, stores where in `*save`, and goes on with `to`.
///
/// Returns when a context switches to what was stored. `*save` is written before the stack is left, and nothing is read
/// through `save` after that, so the place may be read, moved or freed by whoever runs next. It may lie on either stack.
///
/// # Safety
/// - `save` is valid for a write.
/// - `to` was made by [`init`] or stored by `switch`, no switch has gone to it since, and its stack is still there.
/// - `to` is fresh, or was suspended by this very OS thread: compilers keep addresses of thread-locals across calls.
/// - The context that is left behind is either resumed, or given up for good while no reference into its stack is in use
///   and nothing on it relies on its destructor being run (pinned or scoped data).
/// - Rounding modes and the like are at their defaults, as Rust asks for everywhere.
#[inline(always)]
pub(crate) unsafe fn switch(save: *mut Sp, to: Sp) {
    // SAFETY: the caller keeps the contract above, which is that of the machine. `Sp` is a transparent `*mut u8`.
    unsafe { machine::switch(save.cast::<*mut u8>(), to.0) }
}
