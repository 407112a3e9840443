//! Synchronisation whose waiting is an operation.

mod wait_group;

pub use wait_group::{WaitGroup, WaitGroupOp};
