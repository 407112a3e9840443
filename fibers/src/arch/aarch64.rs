//! The context switch on aarch64 (AAPCS64).
//!
//! # The stack of a suspended context
//!
//! [`switch`] leaves four words on the stack that it leaves. `Sp` is the address of the lowest:
//!
//! ```text
//!            |  frames of the context           |
//!            +----------------------------------+
//!   Sp + 24  |  padding: sp stays aligned to 16 |
//!   Sp + 16  |  x19                             |
//!   Sp +  8  |  resume address: label 2 below   |  loaded into x16 and jumped to by whoever switches here
//!   Sp      >|  x29, the frame pointer          |
//!            +----------------------------------+
//!            |  free                            |
//!            v  lower addresses                 v
//! ```
//!
//! # The stack of a fresh context
//!
//! [`init`] writes such a frame and, above it, what [`entry_point`] loads:
//!
//! ```text
//!       top  +----------------------------------+  16-byte aligned; not written, may be unmapped
//!   Sp + 40  |  arg                             |  loaded into x0 by entry_point
//!   Sp + 32  |  entry                           |  loaded into x1 by entry_point
//!            +----------------------------------+
//!   Sp + 24  |  0, padding                      |
//!   Sp + 16  |  0 for x19                       |
//!   Sp +  8  |  entry_point                     |
//!   Sp      >|  0 for x29: no frame above       |
//!            +----------------------------------+
//! ```
//!
//! With all of it loaded sp is `top` again, where the frame of `entry` begins. Its return address lies in x30 and points
//! into `entry_point`, whose own return address is undefined: unwinding ends there.
//!
//! # Registers
//!
//! All that the compiler can name is declared as clobbered, x20 to x28, x30 and v8 to v15 included: it spills what is live
//! at this very switch, and saves those registers once in the function around it. x19 and x29 cannot be named (LLVM keeps
//! them for itself), so the assembly saves them.
//!
//! # Branch prediction
//!
//! The switch ends in `br`, not in `ret`, for the same reason as on x86-64: the return stack of the predictor stays in
//! step with the calls and returns around the switch.
//!
//! # Not switched
//!
//! FPCR: Rust requires it to hold its default wherever Rust code runs, so it does at every switch. C code that changes the
//! rounding mode has to change it back before its thread switches. TPIDR_EL0 (thread-local storage) belongs to the thread.
//!
//! # Branch protection
//!
//! BTI: both targets of the jump carry a landing pad (`hint` numbers, so that any assembler and any processor takes
//! them); the jump goes through x16, which also is allowed to land on the pad of a call. PAC: return addresses that
//! functions signed stay on their own stacks and are authenticated with the same sp as modifier, so signed code may
//! suspend; the resume address that the switch itself stores is not signed. Keys are per process. Shadow stacks (GCS, or
//! the software one in x18) are not supported: the returns after a switch would not match them.
#![expect(unsafe_code, reason = "only assembly can exchange stacks")]

use std::arch::{asm, naked_asm};
use std::ptr::null;

/// See [`super::init`].
///
/// # Safety
/// As there.
pub(super) unsafe fn init(top: *mut u8, entry: unsafe extern "C" fn(*mut ()) -> !, arg: *mut ()) -> *mut u8 {
    let frame: [*const (); 6] = [null(), entry_point as *const (), null(), null(), entry as *const (), arg];
    // SAFETY: the caller guarantees writable memory below `top` for far more than six words, and the alignment.
    unsafe {
        let sp = top.cast::<[*const (); 6]>().sub(1);
        sp.write(frame);
        sp.cast()
    }
}

/// See [`super::switch`].
///
/// # Safety
/// As there.
#[inline(always)]
pub(super) unsafe fn switch(save: *mut *mut u8, to: *mut u8) {
    // SAFETY: the caller guarantees that `save` is writable and that `to` is a suspended context, whose stack has the
    // layout drawn above. Of this context sp, x19 and x29 are restored, by the drawing, by whoever switches back; every
    // other register is declared as clobbered (flags, vector and predicate registers by default and by the ABI's list).
    unsafe {
        asm!(
            "adr x16, 2f",
            "stp x29, x16, [sp, #-32]!",
            "str x19, [sp, #16]",
            "mov x17, sp",
            "str x17, [x0]",
            "mov sp, x1",
            "ldr x19, [sp, #16]",
            "ldp x29, x16, [sp], #32",
            "br x16",
            // Here a context goes on, with everything restored.
            "2:",
            "hint #36", // bti j
            inlateout("x0") save => _,
            inlateout("x1") to => _,
            out("x20") _,
            out("x21") _,
            out("x22") _,
            out("x23") _,
            out("x24") _,
            out("x25") _,
            out("x26") _,
            out("x27") _,
            out("x28") _,
            out("x30") _,
            out("v8") _,
            out("v9") _,
            out("v10") _,
            out("v11") _,
            out("v12") _,
            out("v13") _,
            out("v14") _,
            out("v15") _,
            clobber_abi("C"),
        );
    }
}

/// The first instructions of every context and the last frame of its backtraces.
///
/// Its return address is declared undefined, which is how DWARF spells "outermost frame": panics, `Backtrace` and gdb stop
/// here. The first switch has set x29 to zero for those who walk frame pointers.
///
/// # Safety
/// Not to be called: only [`switch`] jumps here, to a stack that [`init`] prepared.
#[unsafe(naked)]
unsafe extern "C" fn entry_point() {
    naked_asm!(
        ".cfi_startproc",
        ".cfi_undefined x30",
        ".cfi_def_cfa sp, 16",
        "hint #38", // bti jc
        "ldp x1, x0, [sp], #16",
        ".cfi_def_cfa_offset 0",
        "blr x1",
        // `entry` does not return. The instruction also keeps the return address inside this function.
        "brk #1",
        ".cfi_endproc",
    )
}

/// A hint; no address is wrong.
#[inline(always)]
pub(super) fn prefetch(at: *const u8) {
    // SAFETY: a prefetch neither faults nor changes anything that a program sees.
    unsafe { asm!("prfm pldl1keep, [{at}]", at = in(reg) at, options(nostack, preserves_flags, readonly)) }
}
