//! Contexts, regions that must not suspend, and the watchdog.
#![cfg(not(loom))]

mod after;
mod current;
mod go_docs;
mod no_suspend;
mod ops;
mod tree;
mod watchdog;
