//! Descriptors, sockets, files, processes and signals.
#![cfg(not(loom))]

mod datagrams;
mod descriptors;
mod faults;
mod kernel;
mod lines;
mod local;
mod memory;
mod tcp;
mod unchanged;
