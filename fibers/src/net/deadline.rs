//! One deadline for a whole conversation.

use super::Stream;
use super::socket::timed_out;
use crate::{Op, op, time};
use std::io::{self, Read, Write};
use std::time::Instant;

/// A stream whose reads and writes fail with `TimedOut` from a moment on, however many there are; see
/// [`TcpStream::with_deadline`](super::TcpStream::with_deadline).
///
/// ```
/// use fibers::net::UnixStream;
/// use std::io::{ErrorKind, Read};
/// use std::time::{Duration, Instant};
/// fibers::run(|| {
///     let (near, _far) = UnixStream::pair().unwrap();
///     let mut near = near.with_deadline(Instant::now() + Duration::from_millis(1));
///     assert_eq!(near.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::TimedOut);
/// });
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Deadline<'a, S> {
    stream: &'a S,
    deadline: Instant,
}

impl<'a, S: Stream> Deadline<'a, S> {
    pub(super) fn new(stream: &'a S, deadline: Instant) -> Self {
        Deadline { stream, deadline }
    }

    /// The stream itself.
    pub fn get_ref(&self) -> &'a S {
        self.stream
    }

    /// When the time is over.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The operation that reads in time.
    pub fn read_op<'b>(&'b self, buffer: &'b mut [u8]) -> impl Op<Output = io::Result<usize>> {
        self.in_time(self.stream.read_op(buffer))
    }

    /// The operation that writes in time.
    pub fn write_op<'b>(&'b self, buffer: &'b [u8]) -> impl Op<Output = io::Result<usize>> {
        self.in_time(self.stream.write_op(buffer))
    }

    /// The deadline goes first: a peer that always has another byte must not win for ever.
    fn in_time<T>(&self, call: impl Op<Output = io::Result<T>>) -> impl Op<Output = io::Result<T>> {
        let late = time::sleep_until_op(self.deadline).wrap(|()| Err(timed_out()));
        op::biased((late, call))
    }
}

impl<S: Stream> Read for Deadline<'_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_op(buffer).perform()
    }
}

impl<S: Stream> Write for Deadline<'_, S> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.write_op(buffer).perform()
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
