//! Go-style concurrency for Rust without async colouring.
#![deny(unsafe_code)]

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
compile_error!("fibers runs on Linux, on x86-64 and aarch64: the context switch and the poller know no other machine");

mod arch;
mod channel;
mod cond;
mod defer;
mod epoll;
pub mod fiber;
pub mod op;
mod prim;
mod queue;
mod sched;
mod stack;
pub mod sync;
mod sys;
pub mod time;
mod timer;

pub use channel::{
    IntoIter, IntoRecvOp, Iter, Receiver, RecvError, RecvOp, RecvTimeoutError, SendError, SendOp, SendSlotOp, SendTimeoutError,
    Sender, TryIter, TryRecvError, TrySendError, channel, unbounded,
};
pub use cond::Cond;
pub use defer::{Deferred, defer};
pub use fiber::{JoinError, JoinHandle, current, spawn, spawn_blocking, spawn_local, yield_now};
pub use op::{Elapsed, Op};
pub use queue::Queue;
pub use sched::{Handle, Runtime, RuntimeBuilder, Shutdown, run};
pub use sync::WaitGroup;
pub use time::sleep;

/// Makes system calls fail, for tests. Not part of the API.
#[cfg(any(test, feature = "fault-injection"))]
#[doc(hidden)]
pub use sys::fault;

/// What the macros expand into; not for direct use.
#[doc(hidden)]
pub mod __private {
    pub use crate::op::private::*;
    pub use crate::op::{Op, Receive, Transmit, biased, choice, never};
}
