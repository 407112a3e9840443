//! What happens when a fiber runs into its guard: a report of who it was, and the end of the process.
//!
//! The handler of SIGSEGV and SIGBUS runs on the thread's alternate stack, [`AltStack`], for the fiber's own has no room
//! left. It knows nothing of fibers: whoever installs it gives a function that recognises and describes the fiber that
//! runs on the thread. Every other fault goes to the handler that was there before, that of the standard library for
//! instance, which reports overflows of thread stacks.
//!
//! All that runs in the handler is async-signal-safe: it takes no lock, allocates nothing, and writes with `write(2)`.
#![expect(
    unsafe_code,
    reason = "a signal handler is installed, and works on what the kernel gives to it"
)]

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::sync::{Mutex, OnceLock, PoisonError};

use super::mapping::{Guards, Mapping};
use crate::sys::{self, AlternateStack, SignalAction};

/// Recognises an address: true if it lies in the guard of the fiber that runs on this thread, after having written a
/// description of that fiber. Runs in a signal handler.
pub(crate) type Describe = fn(usize, &mut dyn FnMut(&[u8])) -> bool;

struct Installed {
    describe: Describe,
    before_segv: SignalAction,
    before_bus: SignalAction,
}

/// Set before the handler is, and never changed: the handler reads it without a lock.
static INSTALLED: OnceLock<Installed> = OnceLock::new();

/// Held while the handler is installed, and true from then on.
static DONE: Mutex<bool> = Mutex::new(false);

/// Installs the handler, once per process; later calls do nothing, since the first `describe` serves all runtimes.
///
/// # Errors
/// When the system refuses; then the handlers are those that they were.
pub(crate) fn install_fault_handler(describe: Describe) -> io::Result<()> {
    let mut done = DONE.lock().unwrap_or_else(PoisonError::into_inner);
    if *done {
        return Ok(());
    }
    let before_segv = sys::signal_action(libc::SIGSEGV)?;
    let before_bus = sys::signal_action(libc::SIGBUS)?;
    // After a failure further down this is the second attempt, which finds the first one's notes: as good as its own.
    let before = INSTALLED.get_or_init(|| Installed {
        describe,
        before_segv,
        before_bus,
    });
    let ours = SignalAction::on_alternate_stack(on_fault);
    // SAFETY: `on_fault` is async-signal-safe, as is `describe` by its contract.
    unsafe {
        sys::set_action(libc::SIGSEGV, &ours)?;
        if let Err(e) = sys::set_action(libc::SIGBUS, &ours) {
            let _ = sys::set_action(libc::SIGSEGV, &before.before_segv);
            return Err(e);
        }
    }
    *done = true;
    Ok(())
}

unsafe extern "C" fn on_fault(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    sys::keep_errno(|| {
        let Some(installed) = INSTALLED.get() else {
            return;
        };
        // SAFETY: the kernel gave `info`; for faults, which have positive codes, it carries an address.
        let address = unsafe { ((*info).si_code > 0).then(|| (*info).si_addr().addr()) };
        if address.is_some_and(|address| (installed.describe)(address, &mut sys::write_stderr)) {
            sys::abort();
        }
        let before = if signal == libc::SIGBUS {
            &installed.before_bus
        } else {
            &installed.before_segv
        };
        // SAFETY: the arguments are those that the kernel gave to this handler of `signal`, which replaced `before`.
        unsafe { sys::forward_signal(before, signal, info, context) };
    });
}

/// The alternate signal stack of the thread that made it, with a guard of its own.
///
/// Keeps the one that the thread has already if that is large enough, and gives it back in the end if not.
pub(crate) struct AltStack {
    /// Ours, and what was before it; None if the thread's own is good enough.
    ours: Option<(Mapping, AlternateStack)>,
    /// It must end on its own thread.
    thread: PhantomData<*mut ()>,
}

impl AltStack {
    /// What the kernel does not need for itself, for the handler and the one that it forwards to.
    const ROOM: usize = 12 << 10;
    pub(super) const LEAST: usize = 16 << 10;

    /// Makes sure that handlers on this thread have a stack to run on.
    ///
    /// # Errors
    /// When the system refuses; then the thread has the alternate stack that it had.
    pub(crate) fn install() -> io::Result<AltStack> {
        let page = sys::page_size();
        let len = (sys::min_signal_stack() + Self::ROOM).max(Self::LEAST).next_multiple_of(page);
        let before = sys::alternate_stack()?;
        if before.len() >= len {
            return Ok(AltStack {
                ours: None,
                thread: PhantomData,
            });
        }
        let mapping = Mapping::new(page + len)?;
        // SAFETY: the range is the low end of the new mapping.
        unsafe { Guards::new().install(mapping.start(), page)? };
        // SAFETY: the rest of the mapping is ours, and lives until another alternate stack is set.
        unsafe { AlternateStack::new(mapping.start().add(page), len).set()? };
        Ok(AltStack {
            ours: Some((mapping, before)),
            thread: PhantomData,
        })
    }
}

impl fmt::Debug for AltStack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AltStack")
            .field("ours", &self.ours.is_some())
            .finish_non_exhaustive()
    }
}

impl Drop for AltStack {
    fn drop(&mut self) {
        let Some((mapping, before)) = self.ours.take() else {
            return;
        };
        let is_current = sys::alternate_stack().map_or(true, |now| mapping.holds(now.start()));
        // SAFETY: `before` was in force before this one, so whoever set it keeps its memory until it is replaced for good.
        if is_current && unsafe { before.set() }.is_err() {
            // The kernel goes on using our memory.
            mapping.into_raw();
        }
    }
}
