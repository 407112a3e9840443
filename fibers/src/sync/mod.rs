//! Synchronisation whose waiting is an operation.

mod barrier;
mod lazy;
mod once;
mod once_cell;
mod semaphore;
mod wait_group;

pub use crate::cond::{Cond, CondOp};
pub use barrier::{Barrier, BarrierOp, BarrierWaitResult};
pub use lazy::Lazy;
pub use once::{Once, OnceOp};
pub use once_cell::{OnceCell, OnceCellOp};
pub use semaphore::{
    AcquireError, AcquireOp, AcquireOwnedOp, AcquireTimeoutError, OwnedPermit, Permit, Semaphore, TryAcquireError,
};
pub use wait_group::{DoneGuard, WaitGroup, WaitGroupOp};
