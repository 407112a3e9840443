//! Mutex, RwLock and Condvar.
#![cfg(not(loom))]
