//! The primitives that every other file builds on: atomics, interior cells and the spin-wait.
//!
//! Everything that takes part in a protocol between threads comes from here, so that a build with `--cfg loom`
//! model-checks the very code that ships. What is not part of such a protocol (counters, statistics, statics) comes from
//! [`plain`], which is the standard library in every build.

/// Atomics that the model checker does not track: statistics, statics, and what only the scheduler touches.
pub(crate) mod plain {
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
}

#[cfg(not(loom))]
pub(crate) use std::sync::Arc;
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
#[cfg(not(loom))]
pub(crate) use std::thread::{Thread, current as current_thread, park, park_timeout};

#[cfg(loom)]
pub(crate) use loom::sync::Arc;
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
#[cfg(loom)]
pub(crate) use loom::thread::{Thread, current as current_thread, park};

/// The model has no clock: a timed park is a park that may return at once.
#[cfg(loom)]
pub(crate) fn park_timeout(_: std::time::Duration) {
    loom::thread::yield_now();
}

/// A bounded wait for another thread that is about to finish a few instructions.
///
/// Spins first, doubling up to 64 pauses, and yields to the operating system after that: the other thread may have been
/// descheduled in the middle of what it is doing.
#[derive(Debug, Default)]
pub(crate) struct Backoff(u32);

impl Backoff {
    const SPIN_LIMIT: u32 = 6;

    pub(crate) const fn new() -> Self {
        Backoff(0)
    }

    /// Waits a little longer than the last time.
    #[cold]
    pub(crate) fn wait(&mut self) {
        #[cfg(loom)]
        loom::thread::yield_now();
        #[cfg(not(loom))]
        if self.0 <= Self::SPIN_LIMIT && !cfg!(miri) {
            for _ in 0..1u32 << self.0 {
                std::hint::spin_loop();
            }
            self.0 += 1;
        } else {
            std::thread::yield_now();
        }
    }
}
