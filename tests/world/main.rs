//! Descriptors, sockets, files, processes and signals.
#![cfg(not(loom))]

mod crowd;
mod datagrams;
mod descriptors;
mod faults;
mod hogs;
mod interrupted;
mod kernel;
mod lines;
mod local;
mod memory;
mod shutdown;
mod slow_peers;
mod spread;
mod tcp;
mod unreachable;
