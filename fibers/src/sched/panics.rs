//! Panics and fibers: the unwinding that ends a runtime, who is in the middle of a panic, and what messages say.
//!
//! The standard library counts panics per thread, so a fiber that is suspended in the middle of one makes all its siblings
//! look as if they panicked. Nothing may be raised into a fiber that really does (a second unwinding out of a destructor
//! aborts the process), so each fiber has a flag of its own: set by the panic hook, or when a shutdown raises; cleared when
//! the thread turns out not to panic at all. If no sibling is suspended in the middle of a panic the thread's word is the
//! fiber's, flag or not. A payload taken out of a join error sets the flag as well, since it is usually raised again. What is
//! not known: a fiber that calls `resume_unwind` with a payload of its own, or behind a hook that the program has set itself,
//! while a sibling is suspended in the middle of a panic, and that then waits in a destructor while the runtime ends.

use std::any::Any;
use std::panic::{self, PanicHookInfo};
use std::sync::Once;

use super::current::here;
use super::task::{Task, flag};
use super::worker::Core;
use crate::sys;

/// What a shutdown throws. Never seen by a panic hook.
#[derive(Debug)]
struct Ending {
    fiber: u64,
}

impl Drop for Ending {
    /// Whoever catches it drops it: the fiber is not unwinding any more.
    fn drop(&mut self) {
        if let Some(here) = here()
            && here.id() == self.fiber
        {
            here.header().clear(flag::PANICKING);
        }
    }
}

/// Unwinds the current fiber, because its runtime ends. For a performer that was told `Unwind` and has withdrawn.
///
/// # Panics
/// Always, with a payload that only [`is_unwind`] knows.
pub(crate) fn unwind() -> ! {
    let here = here().expect("only a fiber is unwound by a shutdown");
    let task = here.header();
    task.clear(flag::OFFERED);
    task.set(flag::PANICKING);
    here.count_raise();
    panic::resume_unwind(Box::new(Ending { fiber: task.id }))
}

/// Panics in the main fiber, because nothing will ever wake it. For a performer that was told `Deadlock` and has withdrawn.
///
/// # Panics
/// Always.
#[cold]
#[track_caller]
pub(crate) fn deadlock() -> ! {
    if let Some(here) = here() {
        here.header().clear(flag::OFFERED);
        here.count_raise();
    }
    panic!("deadlock: all fibers are asleep")
}

/// Whether a payload is the one of [`unwind`].
pub(crate) fn is_unwind(payload: &(dyn Any + Send)) -> bool {
    payload.is::<Ending>()
}

impl Core {
    /// Whether the running fiber is in the middle of a panic.
    pub(super) fn is_panicking(&self, task: &Task) -> bool {
        if !std::thread::panicking() {
            task.clear(flag::PANICKING);
            return false;
        }
        self.panicking.get() == 0 || task.has(flag::PANICKING)
    }
}

/// Makes panics in fibers say which fiber it was, and remember that it panics. Once for the process: the hook that was
/// there is called as before.
pub(super) fn install_hook() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info: &PanicHookInfo<'_>| {
            if let Some(here) = here() {
                here.header().set(flag::PANICKING);
                if !here.header().has(flag::MAIN) {
                    sys::write_stderr(format!("\n{} panics:\n", here.header()).as_bytes());
                }
            }
            before(info);
        }));
    });
}
