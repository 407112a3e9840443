//! Go-style concurrency for Rust without async colouring: stackful fibers that meet through Concurrent ML operations.
//!
#![cfg_attr(feature = "macros", doc = "```")]
#![cfg_attr(not(feature = "macros"), doc = "```ignore")]
//! use fibers::{channel, go, select, time};
//! use std::time::Duration;
//!
//! fibers::run(|| {
//!     let (tx, rx) = channel::<String>(0);
//!     go!(tx <- "hello".into());
//!     select! {
//!         v = <-rx => assert_eq!(v.unwrap(), "hello"),
//!         _ = time::sleep_op(Duration::from_secs(5)) => panic!("nobody spoke"),
//!     }
//! });
//! ```
//!
//! - [`run`] and [`Runtime`] run fibers on all cores; [`spawn`] starts one, [`JoinHandle`] waits for it. A fiber that waits
//!   costs its worker nothing, and a blocking call looks like one.
//! - [`channel`] hands values from fiber to fiber, and to and from plain threads.
//! - [`Op`] is a communication as a value: operations are combined ([`op`]) and then performed. `select!` is made of them.
//! - [`scope()`] has children that may borrow, since it ends after them; on it stand error groups, races and parallel maps
//!   (module [`mod@scope`]).
//! - [`time`] sleeps and ticks, [`sync`] waits for groups, [`spawn_blocking`] keeps blocking calls off the workers.
//!
//! A fiber stays on one thread from its first instruction on, so nothing that runs in it needs to know that it is a fiber.
//! Linux on x86-64 and aarch64.
//!
//! Feature `macros` (on by default): `select!`, `go!`, `defer!`, `#[fibers::main]`, `#[fibers::test]`. Without it the crate
//! depends on `libc` and `slab` alone.
#![deny(unsafe_code)]

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
compile_error!("fibers runs on Linux, on x86-64 and aarch64: the context switch and the poller know no other machine");

#[cfg(not(loom))]
mod arch;
#[cfg(not(loom))]
mod blocking;
#[cfg(not(loom))]
mod blocks;
#[cfg(not(loom))]
mod caretaker;
mod channel;
mod cond;
#[cfg(not(loom))]
pub mod context;
#[cfg(not(loom))]
mod defer;
#[cfg(not(loom))]
mod epoll;
#[cfg(not(loom))]
pub mod fiber;
#[cfg(not(loom))]
mod file;
#[cfg(not(loom))]
pub mod fs;
#[cfg(not(loom))]
pub mod io;
#[cfg(not(loom))]
mod local;
#[cfg(all(feature = "macros", not(loom)))]
mod macros;
#[cfg(not(loom))]
pub mod net;
#[cfg(not(loom))]
mod no_suspend;
pub mod op;
mod prim;
#[cfg(not(loom))]
pub mod process;
#[cfg(not(loom))]
mod queue;
#[cfg_attr(loom, path = "sched_model.rs")]
mod sched;
#[cfg(not(loom))]
pub mod scope;
#[cfg(not(loom))]
pub mod signal;
#[cfg(not(loom))]
mod stack;
pub mod sync;
#[cfg(not(loom))]
mod sys;
pub mod time;
mod timer;

#[cfg(not(loom))]
pub use blocking::{BlockingOp, blocking_op, spawn_blocking};
pub use channel::{
    IntoIter, IntoRecvOp, Iter, Receiver, RecvError, RecvOp, RecvTimeoutError, SendError, SendOp, SendSlotOp, SendTimeoutError,
    Sender, TryIter, TryRecvError, TrySendError, channel, unbounded,
};
pub use cond::Cond;
#[cfg(not(loom))]
pub use context::Context;
#[cfg(not(loom))]
pub use defer::{Deferred, defer};
#[cfg(not(loom))]
pub use fiber::{JoinError, JoinHandle, current, spawn, spawn_local, yield_now};
#[cfg(all(feature = "macros", not(loom)))]
pub use macros::{main, test};
#[cfg(not(loom))]
pub use no_suspend::no_suspend;
pub use op::{Elapsed, Op};
#[cfg(not(loom))]
pub use queue::Queue;
#[cfg(not(loom))]
pub use sched::{BlockingPool, Deadlock, Fiber, Handle, Runtime, RuntimeBuilder, Shutdown, Stall, run};
#[cfg(not(loom))]
pub use scope::{Scope, ScopedJoinHandle, scope};
pub use sync::WaitGroup;
pub use time::sleep;

/// Makes system calls fail, for tests. Not part of the API.
#[cfg(all(any(test, feature = "fault-injection"), not(loom)))]
#[doc(hidden)]
pub use sys::fault;

/// Fibers of the model: `run` makes the calling thread one, `shut_down` one whose runtime ends while it waits.
#[cfg(loom)]
pub use sched::{run, shut_down};

/// What the macros expand into; not for direct use.
#[doc(hidden)]
pub mod __private {
    #[cfg(all(feature = "macros", not(loom)))]
    pub use crate::macros::entries as macros;
    pub use crate::op::private::*;
    pub use crate::op::{Op, Receive, Transmit, biased, choice, never};
}
