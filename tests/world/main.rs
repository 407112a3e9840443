//! Descriptors, sockets, files, processes and signals.
#![cfg(not(loom))]

mod datagrams;
mod descriptors;
mod faults;
mod local;
mod memory;
mod tcp;
