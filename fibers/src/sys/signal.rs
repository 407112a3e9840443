//! Signal handlers, alternate stacks, and the little that a handler may do.
//!
//! [`write_stderr`], [`poke`], [`forward_signal`], [`default_again`] and [`abort`] are async-signal-safe and so do not pass the fault seam, which locks.
#![expect(unsafe_code, reason = "signal handlers are installed and called through raw pointers")]

use std::io;
use std::mem::{self, MaybeUninit};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull};

use super::check;

/// A signal's disposition: handler, flags, mask.
#[derive(Clone, Copy)]
pub(crate) struct SignalAction(pub(crate) libc::sigaction);

/// The type of a handler that is told where the fault happened.
pub(crate) type Handler = unsafe extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);

impl SignalAction {
    /// Runs `handler` on the alternate stack, with the same signal blocked meanwhile.
    pub(crate) fn on_alternate_stack(handler: Handler) -> SignalAction {
        let mut action = SignalAction::default_action();
        action.0.sa_sigaction = handler as *const () as usize;
        action.0.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        action
    }

    /// Runs `handler` like that; what it has interrupted goes on where possible, instead of failing with `EINTR`.
    pub(crate) fn restarting(handler: Handler) -> SignalAction {
        let mut action = SignalAction::on_alternate_stack(handler);
        action.0.sa_flags |= libc::SA_RESTART;
        action
    }

    fn default_action() -> SignalAction {
        // SAFETY: all zeros is SIG_DFL with no flags and an empty mask.
        SignalAction(unsafe { MaybeUninit::<libc::sigaction>::zeroed().assume_init() })
    }
}

/// What happens on `signal` now.
pub(crate) fn signal_action(signal: libc::c_int) -> io::Result<SignalAction> {
    seam!(Sigaction);
    let mut now = SignalAction::default_action();
    // SAFETY: only asks; `now` is a valid place for the answer.
    check(unsafe { libc::sigaction(signal, ptr::null(), &mut now.0) })?;
    Ok(now)
}

/// Sets what happens on `signal` from now on.
///
/// # Safety
/// The handler of `action` is async-signal-safe and sound to run between any two instructions of the process.
pub(crate) unsafe fn set_action(signal: libc::c_int, action: &SignalAction) -> io::Result<()> {
    seam!(Sigaction);
    // SAFETY: the caller vouches for the handler.
    check(unsafe { libc::sigaction(signal, &action.0, ptr::null_mut()) }).map(drop)
}

/// Treats a signal that has arrived as `action` would have done. For the default action that means to restore it and to
/// return: the faulting instruction then faults again and the kernel does the rest.
///
/// # Safety
/// To be called from a handler of `signal`, with the arguments the kernel gave to it; `action` was in force before.
pub(crate) unsafe fn forward_signal(
    action: &SignalAction,
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    let handler = action.0.sa_sigaction;
    // SAFETY: the kernel gave `info`. Positive codes are the kernel's own: a fault, not somebody's `kill`.
    let is_fault = unsafe { (*info).si_code } > 0;
    match handler {
        libc::SIG_IGN if !is_fault => {}
        // A fault cannot be ignored: the kernel kills the process for it.
        libc::SIG_DFL | libc::SIG_IGN => restore_default(signal, is_fault),
        _ if action.0.sa_flags & libc::SA_SIGINFO != 0 => {
            // SAFETY: with SA_SIGINFO in its flags the handler takes these three arguments.
            let handler = unsafe { mem::transmute::<usize, Handler>(handler) };
            // SAFETY: the arguments are the kernel's, as if it had called the handler itself.
            unsafe { handler(signal, info, context) };
        }
        _ => {
            // SAFETY: without SA_SIGINFO the handler takes the number alone.
            let handler = unsafe { mem::transmute::<usize, extern "C" fn(libc::c_int)>(handler) };
            handler(signal);
        }
    }
}

/// A fault happens again when the handler returns; a signal that was sent must be sent again (it is blocked until then).
fn restore_default(signal: libc::c_int, is_fault: bool) {
    let default = SignalAction::default_action();
    // SAFETY: the default action runs no code of the process; `raise` only marks the signal as pending.
    unsafe {
        libc::sigaction(signal, &default.0, ptr::null_mut());
        if !is_fault {
            libc::raise(signal);
        }
    }
}

/// Sends a signal that has arrived once more, to be treated as if there were no handler. To be called from its handler.
pub(crate) fn default_again(signal: libc::c_int) {
    restore_default(signal, false);
}

/// The number of this process, by a call that a handler may make.
pub(crate) fn process_id() -> libc::pid_t {
    // SAFETY: async-signal-safe, has no requirement.
    unsafe { libc::getpid() }
}

/// Makes an eventfd readable, from a handler.
pub(crate) fn poke(eventfd: BorrowedFd<'_>) {
    let one = 1_u64.to_ne_bytes();
    // SAFETY: `one` is valid for its length. The write fails only if the counter is full: then it is readable already.
    unsafe { libc::write(eventfd.as_raw_fd(), one.as_ptr().cast(), one.len()) };
}

/// Runs `body` with `errno` kept as it is: a handler returns into code that may be about to read it.
pub(crate) fn keep_errno<R>(body: impl FnOnce() -> R) -> R {
    // SAFETY: always the address of the calling thread's own `errno`.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: valid for as long as the thread lives; `body` changes it through calls, not through a reference.
    let before = unsafe { errno.read() };
    let result = body();
    // SAFETY: as above.
    unsafe { errno.write(before) };
    result
}

/// Writes to the standard error output, as far as it goes.
pub(crate) fn write_stderr(mut bytes: &[u8]) {
    while !bytes.is_empty() {
        // SAFETY: `bytes` is valid for its length.
        let count = unsafe { libc::write(libc::STDERR_FILENO, bytes.as_ptr().cast(), bytes.len()) };
        match usize::try_from(count) {
            Ok(count) if count > 0 => bytes = &bytes[count..],
            _ => return,
        }
    }
}

/// Ends the process by SIGABRT.
pub(crate) fn abort() -> ! {
    // SAFETY: async-signal-safe, has no requirement.
    unsafe { libc::abort() }
}

/// The stack on which the thread's signal handlers run.
#[derive(Clone, Copy)]
pub(crate) struct AlternateStack(libc::stack_t);

impl AlternateStack {
    /// The memory from `start`, `len` bytes.
    pub(crate) fn new(start: NonNull<u8>, len: usize) -> AlternateStack {
        AlternateStack(libc::stack_t {
            ss_sp: start.as_ptr().cast(),
            ss_flags: 0,
            ss_size: len,
        })
    }

    /// None: handlers run on the stack of what they interrupt.
    pub(crate) fn none() -> AlternateStack {
        AlternateStack(libc::stack_t {
            ss_sp: ptr::null_mut(),
            ss_flags: libc::SS_DISABLE,
            ss_size: 0,
        })
    }

    pub(crate) fn start(&self) -> *mut u8 {
        self.0.ss_sp.cast()
    }

    /// Its size in bytes, 0 if there is none.
    pub(crate) fn len(&self) -> usize {
        if self.0.ss_flags & libc::SS_DISABLE != 0 {
            0
        } else {
            self.0.ss_size
        }
    }

    /// Makes this the alternate stack of the calling thread.
    ///
    /// # Safety
    /// The memory stays valid and unused until the thread has another alternate stack, or none.
    pub(crate) unsafe fn set(&self) -> io::Result<()> {
        seam!(Sigaltstack);
        // SAFETY: the caller vouches for the memory.
        check(unsafe { libc::sigaltstack(&self.0, ptr::null_mut()) }).map(drop)
    }
}

/// The alternate stack of the calling thread.
pub(crate) fn alternate_stack() -> io::Result<AlternateStack> {
    seam!(Sigaltstack);
    let mut now = AlternateStack::none();
    // SAFETY: only asks; `now` is a valid place for the answer.
    check(unsafe { libc::sigaltstack(ptr::null(), &mut now.0) })?;
    Ok(now)
}

/// Bytes that the kernel itself needs to deliver a signal on this CPU, with its registers as wide as they are.
pub(crate) fn min_signal_stack() -> usize {
    const AT_MINSIGSTKSZ: libc::c_ulong = 51;
    // SAFETY: looks up a number that the kernel gave to the process; 0 if it did not.
    let size = unsafe { libc::getauxval(AT_MINSIGSTKSZ) };
    (size as usize).max(libc::MINSIGSTKSZ)
}
