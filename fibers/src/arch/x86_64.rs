//! The context switch on x86-64 (System V).
//!
//! # The stack of a suspended context
//!
//! [`switch`] leaves three words on the stack that it leaves. `Sp` is the address of the lowest:
//!
//! ```text
//!            |  frames of the context           |
//!            +----------------------------------+
//!   Sp + 16  |  rbp                             |  popped at the resume address
//!   Sp +  8  |  rbx                             |  popped at the resume address
//!   Sp      >|  resume address: label 2 below   |  popped and jumped to by whoever switches here
//!            +----------------------------------+
//!            |  free                            |
//!            v  lower addresses                 v
//! ```
//!
//! # The stack of a fresh context
//!
//! [`init`] writes what the switch and then [`entry_point`] pop, nothing else:
//!
//! ```text
//!       top  +----------------------------------+  16-byte aligned; not written, may be unmapped
//!   Sp + 16  |  arg                             |  popped into rdi by entry_point
//!   Sp +  8  |  entry                           |  popped into rax by entry_point
//!   Sp      >|  entry_point                     |  popped and jumped to by the first switch
//!            +----------------------------------+
//! ```
//!
//! With all three popped rsp is `top` again, and `call rax` puts its return address into the first word below:
//!
//! ```text
//!       top  +----------------------------------+
//!            |  return address into entry_point |  rip of the caller is undefined: unwinding ends here
//!            +----------------------------------+
//!            |  frame of entry, as after a call |
//!            v                                  v
//! ```
//!
//! # Registers
//!
//! All that the compiler can name is declared as clobbered: it spills what is live at this very switch, and saves r12 to r15
//! once in the function around it, which often does so anyway. rbx and rbp cannot be named (LLVM keeps them for itself),
//! so the assembly saves them. The red zone needs no care: around an `asm!` without `nostack` the compiler keeps nothing
//! below rsp.
//!
//! # Branch prediction
//!
//! The switch ends in an indirect jump, and has neither a call nor a return, so the predictor's return stack stays in step
//! with the calls and returns around it. On a Zen 4 a switch takes 1.1 ns, and a `call`/`ret` pair in its place 6.8 ns as
//! soon as the two contexts suspend at different instructions: a `ret` is predicted to go back to its own `call`, whereas
//! the target of a jump is predicted from the jumps before it. No scheme helps the *functions around* a switch: a
//! `ret` to a caller that the other context does not share is mispredicted, once per switch (about 7 ns). What suspends
//! often should be inlined into one place.
//!
//! # Not switched
//!
//! MXCSR and the x87 control word. Rust requires them to hold their defaults wherever Rust code runs, so they do at every
//! switch. C code that changes the rounding mode has to change it back before its thread switches, or all contexts of the
//! thread see it. Saving and loading both takes 4 ns more, four times the switch. The segment bases (thread-local storage) belong to the
//! thread. Shadow stacks (CET) are not supported: a thread that has one enabled faults at the first return after a switch.
#![expect(unsafe_code, reason = "only assembly can exchange stacks")]

use std::arch::{asm, naked_asm};

/// See [`super::init`].
///
/// # Safety
/// As there.
pub(super) unsafe fn init(top: *mut u8, entry: unsafe extern "C" fn(*mut ()) -> !, arg: *mut ()) -> *mut u8 {
    // SAFETY: the caller guarantees writable memory below `top` for far more than three words, and the alignment.
    unsafe {
        let sp = top.cast::<*const ()>().sub(3);
        sp.write(entry_point as *const ());
        sp.add(1).write(entry as *const ());
        sp.add(2).write(arg);
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
    // layout drawn above. Of this context rsp, rbp and rbx are restored at label 2 by the drawing; every other register
    // is declared as clobbered (flags, vector, mask and x87 registers by default and by the ABI's list).
    unsafe {
        asm!(
            "push rbp",
            "push rbx",
            "lea rax, [rip + 2f]",
            "push rax",
            "mov [rdi], rsp",
            "mov rsp, rsi",
            "pop rax",
            "jmp rax",
            // Here a context goes on. Whoever resumed it has popped the address of this line.
            "2:",
            "pop rbx",
            "pop rbp",
            inlateout("rdi") save => _,
            inlateout("rsi") to => _,
            out("r12") _,
            out("r13") _,
            out("r14") _,
            out("r15") _,
            clobber_abi("sysv64"),
        );
    }
}

/// The first instructions of every context and the last frame of its backtraces.
///
/// Its caller's rip is declared undefined, which is how DWARF spells "outermost frame": panics, `Backtrace` and gdb stop
/// here. rbp is zero for those who walk frame pointers.
///
/// # Safety
/// Not to be called: only [`switch`] jumps here, to a stack that [`init`] prepared.
#[unsafe(naked)]
unsafe extern "C" fn entry_point() {
    naked_asm!(
        ".cfi_startproc",
        ".cfi_undefined rip",
        ".cfi_def_cfa rsp, 16",
        "pop rax",
        ".cfi_adjust_cfa_offset -8",
        "pop rdi",
        ".cfi_adjust_cfa_offset -8",
        "xor ebp, ebp",
        "call rax",
        // `entry` does not return. The instruction also keeps the return address inside this function.
        "ud2",
        ".cfi_endproc",
    )
}

/// A hint; no address is wrong.
#[inline(always)]
pub(super) fn prefetch(at: *const u8) {
    // SAFETY: a prefetch neither faults nor changes anything that a program sees.
    unsafe { std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(at.cast()) }
}
