//! Contexts, regions that must not suspend, and the watchdog.
//!
//! What needs fibers, or leaves threads to themselves, stays away from Miri.
#![cfg(not(loom))]

#[cfg(not(miri))]
mod after;
#[cfg(not(miri))]
mod current;
mod go_docs;
#[cfg(not(miri))]
mod no_suspend;
mod ops;
mod tree;
#[cfg(not(miri))]
mod watchdog;
