//! Go-style concurrency for Rust without async colouring.
#![deny(unsafe_code)]

#[cfg(not(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
compile_error!(
    "fibers runs on Linux, on x86-64 and aarch64: the context switch and the poller know no other machine"
);

mod arch;
mod epoll;
mod prim;
mod sched;
mod stack;
mod sys;
mod timer;

pub use sched::{
    Deadlock, Fiber, Handle, Runtime, RuntimeBuilder, Shutdown, current, run, yield_now,
};

/// Makes system calls fail, for tests. Not part of the API.
#[cfg(any(test, feature = "fault-injection"))]
#[doc(hidden)]
pub use sys::fault;
