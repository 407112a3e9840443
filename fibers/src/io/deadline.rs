//! One end for a whole conversation: a moment, or a context.

use super::sealed::{TryRead, TryWrite};
use super::stream::{Place, timed_out, writing};
use super::{Readable, Writable};
use crate::context::Context;
use crate::file::Look;
use crate::op::{self, Op};
use crate::time;
use std::io::{self, Read, Write};
use std::os::fd::BorrowedFd;
use std::time::Instant;

/// What can end the calls of a [`Deadline`]: an [`Instant`], or a reference to a [`Context`]. Nobody else implements it.
pub trait Until: Copy + until::Until {}

mod until {
    use crate::op::Op;
    use std::io;

    pub trait Until {
        fn end_op(&self) -> impl Op<Output = io::Error>;
    }
}

impl Until for Instant {}

impl until::Until for Instant {
    fn end_op(&self) -> impl Op<Output = io::Error> {
        time::sleep_until_op(*self).wrap(|()| timed_out())
    }
}

impl Until for &Context {}

impl until::Until for &Context {
    fn end_op(&self) -> impl Op<Output = io::Error> {
        self.done_op().wrap(io::Error::from)
    }
}

/// A stream whose reads and writes fail from a moment on, however many there are: those that wait, and those that would not have to.
///
/// Made by `with_deadline` of a socket or of a connection through memory, or by [`new`](Deadline::new) of anything that is read or
/// written with operations. The end is an [`Instant`], after which the error is `TimedOut`; or a [`Context`]: once its deadline has
/// passed the error is `TimedOut`, once it is cancelled one of kind `Other`, and both carry the [`ContextError`](crate::context::ContextError).
///
/// ```
/// use fibers::context::{Context, ContextError};
/// use fibers::net::UnixStream;
/// use std::io::{ErrorKind, Read};
/// use std::time::{Duration, Instant};
/// fibers::run(|| {
///     let (stream, _far) = UnixStream::pair().unwrap();
///     let mut near = stream.with_deadline(Instant::now() + Duration::from_millis(1));
///     assert_eq!(near.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::TimedOut);
///
///     let (ctx, cancel) = Context::background().with_cancel();
///     cancel.cancel();
///     let error = stream.with_deadline(&ctx).read(&mut [0; 8]).unwrap_err();
///     assert_eq!(error.downcast::<ContextError>().unwrap(), ContextError::Cancelled);
/// });
/// ```
#[derive(Debug)]
pub struct Deadline<'a, S, U = Instant> {
    stream: &'a S,
    until: U,
}

impl<S, U: Copy> Clone for Deadline<'_, S, U> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S, U: Copy> Copy for Deadline<'_, S, U> {}

impl<'a, S, U: Until> Deadline<'a, S, U> {
    /// The stream, until then.
    pub fn new(stream: &'a S, until: U) -> Self {
        Deadline { stream, until }
    }

    /// The stream itself.
    pub fn get_ref(&self) -> &'a S {
        self.stream
    }

    /// When the time is over, or the context that ends it.
    pub fn deadline(&self) -> U {
        self.until
    }
}

impl<S: Readable, U: Until> Deadline<'_, S, U> {
    /// The operation that reads in time.
    pub fn read_op<'b>(&'b self, buffer: &'b mut [u8]) -> impl Op<Output = io::Result<usize>> {
        Readable::read_op(self, buffer)
    }
}

impl<S: Writable, U: Until> Deadline<'_, S, U> {
    /// The operation that writes in time.
    pub fn write_op<'b>(&'b self, buffer: &'b [u8]) -> impl Op<Output = io::Result<usize>> {
        Writable::write_op(self, buffer)
    }
}

impl<S: Readable, U: Until> TryRead for Deadline<'_, S, U> {
    fn read_place(&self) -> Place<'_> {
        self.stream.read_place()
    }

    fn try_read(&self, look: &mut Look<'_>, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.try_read(look, buffer)
    }

    fn source(&self) -> Option<BorrowedFd<'_>> {
        self.stream.source()
    }

    /// The end goes first: a peer that always has another byte must not win for ever.
    fn read_in_time<T>(&self, call: impl Op<Output = io::Result<T>>) -> impl Op<Output = io::Result<T>> {
        op::biased((self.until.end_op().wrap(Err), self.stream.read_in_time(call)))
    }
}

impl<S: Writable, U: Until> TryWrite for Deadline<'_, S, U> {
    fn write_place(&self) -> Place<'_> {
        self.stream.write_place()
    }

    fn try_write(&self, look: &mut Look<'_>, buffer: &[u8]) -> io::Result<usize> {
        self.stream.try_write(look, buffer)
    }

    fn try_flush(&self) -> io::Result<()> {
        self.stream.try_flush()
    }

    fn target(&self) -> Option<BorrowedFd<'_>> {
        self.stream.target()
    }

    fn write_in_time<T>(&self, call: impl Op<Output = io::Result<T>>) -> impl Op<Output = io::Result<T>> {
        op::biased((self.until.end_op().wrap(Err), self.stream.write_in_time(call)))
    }
}

impl<S: Readable, U: Until> Readable for Deadline<'_, S, U> {}
impl<S: Writable, U: Until> Writable for Deadline<'_, S, U> {}

impl<S: Readable, U: Until> Read for Deadline<'_, S, U> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_op(buffer).perform()
    }
}

impl<S: Writable, U: Until> Write for Deadline<'_, S, U> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.write_op(buffer).perform()
    }

    /// Writes what waits in a buffer, as that of standard output; most streams have none.
    fn flush(&mut self) -> io::Result<()> {
        match self.try_flush() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => writing(self, |_| self.try_flush()).perform(),
            result => result,
        }
    }
}
