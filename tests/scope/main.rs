//! Scopes, error groups, races, single flights, pools and parallel maps.
#![cfg(not(loom))]

mod borrowing;
mod deadlock;
mod go_docs;
mod groups;
mod joins;
mod panics;
mod par;
mod pools;
mod races;
mod shutdown;
mod single_flights;
