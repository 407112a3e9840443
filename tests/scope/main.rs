//! Scopes, error groups, races, single flights, pools and parallel maps.
#![cfg(not(loom))]

mod borrowing;
mod deadlock;
mod panics;
mod shutdown;
