//! Synchronisation whose waiting is an operation.

mod barging;
mod condvar;
mod guards;
mod mutex;
mod queued;
mod rwlock;
mod wait_group;

pub use condvar::{Condvar, CondvarOp, WaitTimeoutResult};
pub use mutex::{LockOp, MappedMutexGuard, Mutex, MutexGuard, OwnedMutexGuard};
pub use rwlock::{
    MappedRwLockReadGuard, MappedRwLockWriteGuard, OwnedRwLockReadGuard, OwnedRwLockWriteGuard, ReadOp, RwLock, RwLockReadGuard,
    RwLockWriteGuard, WriteOp,
};
pub use wait_group::{WaitGroup, WaitGroupOp};
