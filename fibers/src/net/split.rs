//! The two directions of a connection, apart.

use super::{Shutdown, Stream};
use crate::Op;
use crate::file::Look;
use crate::io::sealed::{TryRead, TryWrite};
use crate::io::{Place, Readable, Writable};
use crate::prim::Arc;
use std::error::Error;
use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// The reading direction of a borrowed stream.
#[derive(Clone, Copy, Debug)]
pub struct ReadHalf<'a, S>(&'a S);

/// The writing direction of a borrowed stream.
#[derive(Clone, Copy, Debug)]
pub struct WriteHalf<'a, S>(&'a S);

/// The reading direction of a stream. The descriptor is closed when both halves are dropped.
#[derive(Debug)]
pub struct OwnedReadHalf<S>(Arc<S>);

/// The writing direction of a stream. Dropping it ends this direction: the peer reads the end.
#[derive(Debug)]
pub struct OwnedWriteHalf<S: Stream> {
    /// Taken only where this half ends without being dropped.
    stream: Option<Arc<S>>,
}

pub(super) fn split<S: Stream>(stream: &S) -> (ReadHalf<'_, S>, WriteHalf<'_, S>) {
    (ReadHalf(stream), WriteHalf(stream))
}

pub(super) fn into_split<S: Stream>(stream: S) -> (OwnedReadHalf<S>, OwnedWriteHalf<S>) {
    let stream = Arc::new(stream);
    (OwnedReadHalf(stream.clone()), OwnedWriteHalf { stream: Some(stream) })
}

impl<S: Stream> OwnedReadHalf<S> {
    /// The stream.
    pub fn get_ref(&self) -> &S {
        &self.0
    }

    /// The stream again.
    ///
    /// # Errors
    /// Gives both back if they are not halves of one stream.
    pub fn reunite(self, mut writer: OwnedWriteHalf<S>) -> Result<S, ReuniteError<S>> {
        match writer.stream.take() {
            Some(stream) if Arc::ptr_eq(&self.0, &stream) => {
                drop(self);
                Ok(Arc::into_inner(stream).expect("a stream has two halves, and both are here"))
            }
            stream => {
                writer.stream = stream;
                Err(ReuniteError(self, writer))
            }
        }
    }
}

impl<S: Stream> OwnedWriteHalf<S> {
    /// The stream.
    pub fn get_ref(&self) -> &S {
        self.stream.as_deref().expect("only `reunite` and `drop` take it")
    }
}

impl<S: Stream> Drop for OwnedWriteHalf<S> {
    fn drop(&mut self) {
        if let Some(stream) = &self.stream {
            // Fails if the connection is over already.
            let _ = stream.shutdown(Shutdown::Write);
        }
    }
}

macro_rules! reading {
    ($($Type:ty),*) => {$(
        impl<S: Stream> $Type
        where
            for<'b> &'b S: Read,
        {
            /// The operation that reads what there is into `buffer`. If it loses, no byte was taken.
            pub fn read_op<'b>(&'b self, buffer: &'b mut [u8]) -> impl Op<Output = io::Result<usize>> {
                Readable::read_op(&*self.0, buffer)
            }
        }

        impl<S: Stream> TryRead for $Type {
            fn read_place(&self) -> Place<'_> {
                self.0.read_place()
            }

            fn try_read(&self, look: &mut Look<'_>, buffer: &mut [u8]) -> io::Result<usize> {
                self.0.try_read(look, buffer)
            }

            fn read_limit(&self) -> Option<Duration> {
                self.0.read_limit()
            }

            fn source(&self) -> Option<BorrowedFd<'_>> {
                self.0.source()
            }

            fn read_in_time<T>(&self, call: impl Op<Output = io::Result<T>>) -> impl Op<Output = io::Result<T>> {
                self.0.read_in_time(call)
            }
        }

        impl<S: Stream> Readable for $Type {}

        impl<S: Stream> Read for $Type
        where
            for<'b> &'b S: Read,
        {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                (&*self.0).read(buffer)
            }

            fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
                (&*self.0).read_vectored(buffers)
            }
        }
    )*};
}
reading!(ReadHalf<'_, S>, OwnedReadHalf<S>);

impl<S: Stream> WriteHalf<'_, S> {
    fn get_ref(&self) -> &S {
        self.0
    }
}

macro_rules! writing {
    ($($Type:ty),*) => {$(
        impl<S: Stream> $Type
        where
            for<'b> &'b S: Write,
        {
            /// The operation that writes what there is room for. If it loses, no byte was written.
            pub fn write_op<'b>(&'b self, buffer: &'b [u8]) -> impl Op<Output = io::Result<usize>> {
                Writable::write_op(self.get_ref(), buffer)
            }
        }

        impl<S: Stream> TryWrite for $Type {
            fn write_place(&self) -> Place<'_> {
                self.get_ref().write_place()
            }

            fn try_write(&self, look: &mut Look<'_>, buffer: &[u8]) -> io::Result<usize> {
                self.get_ref().try_write(look, buffer)
            }

            fn write_limit(&self) -> Option<Duration> {
                self.get_ref().write_limit()
            }

            fn target(&self) -> Option<BorrowedFd<'_>> {
                self.get_ref().target()
            }

            fn write_in_time<T>(&self, call: impl Op<Output = io::Result<T>>) -> impl Op<Output = io::Result<T>> {
                self.get_ref().write_in_time(call)
            }
        }

        impl<S: Stream> Writable for $Type {}

        impl<S: Stream> Write for $Type
        where
            for<'b> &'b S: Write,
        {
            fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
                self.get_ref().write(buffer)
            }

            fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
                self.get_ref().write_vectored(buffers)
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
    )*};
}
writing!(WriteHalf<'_, S>, OwnedWriteHalf<S>);

/// Halves of two different streams were to be one again. Holds both.
pub struct ReuniteError<S: Stream>(pub OwnedReadHalf<S>, pub OwnedWriteHalf<S>);

impl<S: Stream> fmt::Debug for ReuniteError<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReuniteError").finish_non_exhaustive()
    }
}

impl<S: Stream> fmt::Display for ReuniteError<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the halves are not of one stream")
    }
}

impl<S: Stream> Error for ReuniteError<S> {}
