//! Mutex, RwLock and Condvar.
#![cfg(not(loom))]

mod mutex;
