//! What a connection is, whatever it goes through.

use crate::Op;
use std::io::{self, Read, Write};
use std::net::Shutdown;

pub(super) mod sealed {
    pub trait Sealed {}
}

/// A connection: a [`TcpStream`](super::TcpStream) or a [`UnixStream`](super::UnixStream).
///
/// For functions that take either. Nobody else implements it.
pub trait Stream: Read + Write + Send + Sync + sealed::Sealed {
    /// The operation that reads what there is into `buffer`. If it loses, no byte was taken.
    fn read_op<'a>(&'a self, buffer: &'a mut [u8]) -> impl Op<Output = io::Result<usize>>;

    /// The operation that writes what there is room for. If it loses, no byte was written.
    fn write_op<'a>(&'a self, buffer: &'a [u8]) -> impl Op<Output = io::Result<usize>>;

    /// Ends one direction of the connection, or both.
    ///
    /// # Errors
    /// If it is not connected.
    fn shutdown(&self, how: Shutdown) -> io::Result<()>;
}
