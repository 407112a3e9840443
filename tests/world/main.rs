//! Descriptors, sockets, files, processes and signals.
#![cfg(not(loom))]

mod descriptors;
