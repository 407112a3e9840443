//! Contexts, regions that must not suspend, and the watchdog.
#![cfg(not(loom))]
