//! Semaphore, Barrier, WaitGroup, Once and what Go says of its `sync`.
#![cfg(not(loom))]
