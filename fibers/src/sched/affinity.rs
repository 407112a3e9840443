//! Placement rule 1: each of several workers has a CPU of its own.
//!
//! Without that, Linux tends to put a woken watcher behind the busy worker that woke it, on the same CPU, where it waits
//! for 1.7 to 5 ms. (A hint is not enough: the kernel places the thread anew at every wake.) So worker `i` is bound to the
//! `i`-th CPU that the thread may use. If there are more workers than CPUs it begins again with the first one: the first
//! workers do what there is to do, and must not meet on one CPU (pools beside other load took 1.9 times the ideal, unbound).
//!
//! It is not done if the builder says so, if there is only one CPU, or while another runtime of the process does it: two
//! runtimes on the same CPUs would be worse off than with none bound.
//!
//! Also here, since it is lent to a thread in the same way: timers that are exact to the microsecond.

use super::shared::Shared;
use crate::prim::plain::{AtomicBool, Ordering};
use crate::sys::{self, CpuSet};

/// Some runtime of the process has bound its workers.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The right to bind threads, which one runtime of the process has at a time.
#[derive(Debug)]
pub(super) struct Claim(());

impl Claim {
    /// For a runtime of so many workers, and for those CPUs.
    pub(super) fn new(workers: usize, cpus: &CpuSet) -> Option<Claim> {
        // Acquire and Release: one runtime's claim ends before the next one's begins. Nothing else hangs on it.
        let granted = workers > 1 && cpus.len() > 1 && !TAKEN.swap(true, Ordering::AcqRel);
        granted.then_some(Claim(()))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        TAKEN.store(false, Ordering::Release);
    }
}

/// The calling thread is bound for as long as this lives, and gets back what it had after that.
#[derive(Debug)]
pub(super) struct Pinned {
    before: CpuSet,
}

impl Pinned {
    /// Binds the calling thread, which is this worker, if the runtime does that at all.
    pub(super) fn new(shared: &Shared, index: usize) -> Option<Pinned> {
        let cpus = shared.cpus.as_ref()?;
        let cpu = cpus.iter().nth(index % cpus.len())?;
        let before = sys::affinity().ok()?;
        // A thread that may not use this CPU (the caller's own affinity is narrower) stays as it is.
        if !before.contains(cpu) {
            return None;
        }
        sys::set_affinity(&CpuSet::only(cpu)).ok()?;
        Some(Pinned { before })
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // It fails only if the CPUs are gone, and then the kernel has moved the thread by itself.
        let _ = sys::set_affinity(&self.before);
    }
}

/// While this lives the calling thread is woken on time; otherwise the kernel may be 50 µs late, to save wakes.
#[derive(Debug)]
pub(super) struct Punctual(());

impl Punctual {
    pub(super) fn new() -> Punctual {
        // Without it everything works, later.
        let _ = sys::set_timer_slack(1);
        Punctual(())
    }
}

impl Drop for Punctual {
    fn drop(&mut self) {
        // 0 stands for the thread's default.
        let _ = sys::set_timer_slack(0);
    }
}
