//! The commit protocol, model-checked: loom runs each scenario under the schedules and the weak-memory reads that can make a
//! difference, and the crate is compiled so that its atomics, its locks and its parking are loom's (`fibers/src/prim.rs`).
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test -p fibers-tests --test model --release -- --nocapture
//! ```
#![cfg(loom)]

mod counts;
mod events;
mod locks;
mod meet;
mod variables;
mod world;
