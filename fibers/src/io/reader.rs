//! A buffered reader whose lines, fields and blocks are operations.

use super::Readable;
use super::buffer::Buffer;
use super::stream::{reading, within};
use crate::op::Op;
use std::error::Error;
use std::fmt;
use std::io::{self, BufRead, Read};

/// Room for bytes that were read and not taken, unless it is chosen.
const CAPACITY: usize = 8 * 1024;

/// Bytes that a line may have, unless it is chosen.
const LONGEST: usize = 1 << 20;

/// A buffered reader over a socket, a [`Fd`](super::Fd), a [`Duplex`](super::Duplex) or a reading half: as [`std::io::BufReader`], and
/// with operations for lines, fields and blocks.
///
/// An operation of it that loses, or times out, costs no byte: what it has read stays in the buffer for the next one. So "a line from
/// the peer, or something else" is a `select!`, again and again, however the line comes in.
///
/// A line (or what else ends with a delimiter) has at most 1 MiB, or what [`set_max_line`](BufReader::set_max_line) says: a peer that
/// never ends its line gets an error ([`TooLong`]), not the memory. Beside such a line the buffer holds 8 KiB, allocated at the first
/// read.
///
/// The blocking calls are those of [`BufRead`] and [`Read`]. The read timeout of a socket is for each of them as a whole.
///
#[cfg_attr(feature = "macros", doc = "```")]
#[cfg_attr(not(feature = "macros"), doc = "```ignore")]
/// use fibers::io::BufReader;
/// use fibers::net::UnixStream;
/// use fibers::{select, time};
/// use std::io::Write;
/// use std::time::Duration;
/// fibers::run(|| {
///     let (near, far) = UnixStream::pair().unwrap();
///     let talking = fibers::spawn(move || {
///         for piece in ["hel", "lo\nwo", "rld\n"] {
///             (&far).write_all(piece.as_bytes()).unwrap();
///             time::sleep(Duration::from_millis(2));
///         }
///     });
///     let (mut lines, mut ticks) = (Vec::new(), 0);
///     let mut reader = BufReader::new(near);
///     loop {
///         select! {
///             line = reader.line_op() => match line.unwrap() {
///                 Some(line) => lines.push(line),
///                 None => break,
///             },
///             _ = time::sleep_op(Duration::from_millis(1)) => ticks += 1,
///         }
///     }
///     assert_eq!(lines, ["hello", "world"]);
///     talking.join().unwrap();
/// });
/// ```
pub struct BufReader<S> {
    inner: S,
    buffer: Buffer,
    limit: usize,
}

impl<S> BufReader<S> {
    /// Nothing is read yet.
    pub fn new(inner: S) -> BufReader<S> {
        BufReader::with_capacity(CAPACITY, inner)
    }

    /// With a buffer of so many bytes, at least one.
    pub fn with_capacity(capacity: usize, inner: S) -> BufReader<S> {
        BufReader {
            inner,
            buffer: Buffer::new(capacity),
            limit: LONGEST,
        }
    }

    /// How many bytes a line may have, with its end.
    pub fn max_line(&self) -> usize {
        self.limit
    }

    /// Sets how many bytes a line may have, with its end; and how many [`fill_op`](BufReader::fill_op) collects.
    pub fn set_max_line(&mut self, bytes: usize) {
        self.limit = bytes;
    }

    /// What is read from.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// What is read from. Bytes that are read from it directly are those behind the [buffered](BufReader::buffer) ones.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// What has been read and not taken.
    pub fn buffer(&self) -> &[u8] {
        self.buffer.unread()
    }

    /// What is read from. Bytes in the buffer are lost: see [`into_parts`](BufReader::into_parts).
    pub fn into_inner(self) -> S {
        self.inner
    }

    /// What is read from, and the bytes that were read from it and not taken.
    pub fn into_parts(self) -> (S, Vec<u8>) {
        (self.inner, self.buffer.into_unread())
    }
}

impl<S: Readable> BufReader<S> {
    /// The operation that takes what there is into `buffer`: 0 bytes at the end, or if there is no room. If it loses, nothing was
    /// taken.
    pub fn read_op<'a>(&'a mut self, buffer: &'a mut [u8]) -> impl Op<Output = io::Result<usize>> {
        let BufReader { inner, buffer: own, .. } = self;
        reading(inner, move |read| {
            if own.unread().is_empty() {
                if buffer.len() >= own.capacity() || buffer.is_empty() {
                    return read(buffer);
                }
                own.fill(0, read)?;
            }
            Ok(own.take(buffer))
        })
    }

    /// The operation that reads more, behind what is in the [buffer](BufReader::buffer): for parsers that find it incomplete. Yields
    /// how many bytes more there are; 0 at the end.
    ///
    /// # Errors
    /// As a read; [`TooLong`] if there are as many as a line [may have](BufReader::set_max_line) already.
    pub fn fill_op(&mut self) -> impl Op<Output = io::Result<usize>> {
        let BufReader { inner, buffer, limit } = self;
        reading(inner, move |read| match buffer.unread().len() >= *limit {
            true => Err(too_long(*limit)),
            false => buffer.fill(*limit, read),
        })
    }

    /// The operation that fills all of `buffer`. If it loses, nothing was taken.
    ///
    /// What comes in is collected in the buffer of the reader first, which becomes as large as `buffer` for that.
    ///
    /// # Errors
    /// As a read; `UnexpectedEof` if there are not so many bytes: nothing was taken then either.
    pub fn read_exact_op<'a>(&'a mut self, buffer: &'a mut [u8]) -> impl Op<Output = io::Result<()>> {
        let BufReader { inner, buffer: own, .. } = self;
        reading(inner, move |read| own.read_exact(buffer, read))
    }

    /// The operation that appends to `bytes` what comes up to the next `delimiter`, with it, or up to the end. Yields how many bytes
    /// that are; 0 at the end. If it loses, nothing was taken.
    ///
    /// # Errors
    /// As a read; [`TooLong`].
    pub fn read_until_op<'a>(&'a mut self, delimiter: u8, bytes: &'a mut Vec<u8>) -> impl Op<Output = io::Result<usize>> {
        let BufReader { inner, buffer, limit } = self;
        reading(inner, move |read| buffer.read_until(delimiter, *limit, bytes, read))
    }

    /// The operation that appends the next line to `line`, with its `\n`, which the last one may lack. Yields how many bytes that are;
    /// 0 at the end. If it loses, nothing was taken.
    ///
    /// # Errors
    /// As a read; [`TooLong`]; `InvalidData` for a line that is no UTF-8, which is taken, and inside the error as a
    /// [`FromUtf8Error`](std::string::FromUtf8Error).
    pub fn read_line_op<'a>(&'a mut self, line: &'a mut String) -> impl Op<Output = io::Result<usize>> {
        let BufReader { inner, buffer, limit } = self;
        reading(inner, move |read| buffer.read_line(*limit, line, read))
    }

    /// The operation that yields the next line, without its `\n` or `\r\n`; `None` at the end. If it loses, nothing was taken.
    ///
    /// # Errors
    /// As [`read_line_op`](BufReader::read_line_op).
    pub fn line_op(&mut self) -> impl Op<Output = io::Result<Option<String>>> {
        let BufReader { inner, buffer, limit } = self;
        reading(inner, move |read| buffer.line(*limit, read))
    }
}

impl<S: Readable> Read for BufReader<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        within(self.inner.read_limit(), self.read_op(buffer))
    }

    fn read_exact(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        within(self.inner.read_limit(), self.read_exact_op(buffer))
    }
}

impl<S: Readable> BufRead for BufReader<S> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.buffer.unread().is_empty() {
            let BufReader { inner, buffer, .. } = self;
            within(inner.read_limit(), reading(inner, |read| buffer.fill(0, read)))?;
        }
        Ok(self.buffer.unread())
    }

    fn consume(&mut self, count: usize) {
        self.buffer.consume(count);
    }

    fn read_until(&mut self, delimiter: u8, bytes: &mut Vec<u8>) -> io::Result<usize> {
        within(self.inner.read_limit(), self.read_until_op(delimiter, bytes))
    }

    fn read_line(&mut self, line: &mut String) -> io::Result<usize> {
        within(self.inner.read_limit(), self.read_line_op(line))
    }
}

impl<S: fmt::Debug> fmt::Debug for BufReader<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufReader")
            .field("inner", &self.inner)
            .field("buffered", &self.buffer.unread().len())
            .finish_non_exhaustive()
    }
}

/// What an [`io::Error`] of kind `InvalidData` carries when a line had no end within the bytes that it may have.
///
/// Nothing was taken, so the next call finds the same, unless what is in the buffer is [consumed](BufRead::consume).
///
/// ```
/// use fibers::io::{self, BufReader, TooLong};
/// use std::io::{BufRead, Write};
/// let (mut near, far) = io::duplex(100);
/// near.write_all(b"and so on and on").unwrap();
/// let mut reader = BufReader::new(far);
/// reader.set_max_line(10);
/// let error = reader.read_line(&mut String::new()).unwrap_err();
/// let cause = error.get_ref().unwrap().downcast_ref::<TooLong>().unwrap();
/// assert_eq!(cause.limit(), 10);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TooLong {
    limit: usize,
}

impl TooLong {
    /// How many bytes it might have had.
    pub fn limit(&self) -> usize {
        self.limit
    }
}

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a line is longer than the {} bytes that it may have", self.limit)
    }
}

impl Error for TooLong {}

#[cold]
pub(super) fn too_long(limit: usize) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, TooLong { limit })
}
