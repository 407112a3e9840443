//! The operating system: the pool for blocking calls, files, child processes, signals, the wall clock.
#![cfg(not(loom))]

mod children;
mod deadlocks;
mod files;
mod pool;
mod signals;
mod stdio;
mod wall_clock;
