//! Synchronisation whose waiting is an operation.

pub mod atomic;
mod barging;
mod barrier;
mod broadcast;
mod condvar;
mod error;
mod guards;
mod ivar;
mod lazy;
mod mailbox;
mod mutex;
mod mvar;
mod once;
mod once_cell;
#[cfg(not(loom))]
mod pool;
mod queued;
mod rwlock;
mod semaphore;
#[cfg(not(loom))]
mod single_flight;
mod swap;
mod until;
mod wait_group;
mod watch;

pub use crate::cond::{Cond, CondOp};
pub use barrier::{Barrier, BarrierOp, BarrierWaitResult};
pub use broadcast::{Broadcast, BroadcastRecvOp, BroadcastSendOp, Lag, Subscriber};
pub use condvar::{Condvar, CondvarOp, WaitTimeoutResult};
pub use error::{BroadcastRecvError, PutError, SwapError, WatchClosed};
pub use ivar::{IVar, IVarOp};
pub use lazy::Lazy;
pub use mailbox::{Mailbox, MailboxOp};
pub use mutex::{LockOp, MappedMutexGuard, Mutex, MutexGuard, OwnedMutexGuard};
pub use mvar::{MVar, PutOp, ReadVarOp, SwapVarOp, TakeOp};
pub use once::{Once, OnceOp};
pub use once_cell::{OnceCell, OnceCellOp};
#[cfg(not(loom))]
pub use pool::{Pool, Pooled};
pub use rwlock::{
    MappedRwLockReadGuard, MappedRwLockWriteGuard, OwnedRwLockReadGuard, OwnedRwLockWriteGuard, ReadOp, RwLock, RwLockReadGuard,
    RwLockWriteGuard, WriteOp,
};
pub use semaphore::{
    AcquireError, AcquireOp, AcquireOwnedOp, AcquireTimeoutError, OwnedPermit, Permit, Semaphore, TryAcquireError,
};
#[cfg(not(loom))]
pub use single_flight::{Flight, SingleFlight};
pub use swap::{Swap, SwapOp};
pub use wait_group::{DoneGuard, WaitGroup, WaitGroupOp};
pub use watch::{ChangedOp, WaitForOp, Watch, WatchRef, Watcher};
