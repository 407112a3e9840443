//! Synchronisation whose waiting is an operation.

#[cfg(not(loom))]
mod pool;
#[cfg(not(loom))]
mod single_flight;
mod wait_group;

#[cfg(not(loom))]
pub use pool::{Pool, Pooled};
#[cfg(not(loom))]
pub use single_flight::{Flight, SingleFlight};
pub use wait_group::{WaitGroup, WaitGroupOp};
