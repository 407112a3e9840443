//! Mutex, RwLock and Condvar.
#![cfg(not(loom))]

mod condvar;
mod mutex;
mod rwlock;
