//! Copies that stay in the kernel: a file to a stream, and a stream to a stream.
//!
//! Where the system has no way to do it for the two in question (`EINVAL`, `ENOSYS`), the bytes go through a buffer instead: what is
//! asked for happens all the same.

use crate::fs::File;
use crate::io::{Readable, Writable, reading, within, writing};
use crate::op::{self, Op};
use crate::sys;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;

/// The most of a file that one call sends. That much is seen to be in memory before.
const CHUNK: usize = 128 * 1024;

/// Bytes that go through a buffer at a time.
const BUFFER: usize = 16 * 1024;

/// What a pipe holds: the most that one call moves from stream to stream.
const PIPE: usize = 64 * 1024;

/// Sends a part of a file, or (`..`) all of it, by `sendfile`, without copying it into this process. Returns how many bytes were sent:
/// fewer than the range has if the file ends before. The cursor of the file stays where it is.
///
/// ```
/// use fibers::{fs::File, net::{UnixStream, send_file}};
/// use std::io::Read;
/// fibers::run(|| {
///     let (near, mut far) = UnixStream::pair().unwrap();
///     let file = File::open("Cargo.toml").unwrap();
///     assert_eq!(send_file(&file, &near, 1..8).unwrap(), 7);
///     let mut text = [0; 7];
///     far.read_exact(&mut text).unwrap();
///     assert_eq!(&text, b"package");
/// });
/// ```
///
/// # Errors
/// Those of a write to the stream, and of reading the file. It is not known then how much was sent: where that matters, see
/// [`send_file_op`].
///
/// # Blocking
/// Suspends the fiber, or blocks the thread. The write timeout of a socket is for each 128 KiB. What is not in memory is read from
/// the disk by the blocking pool before it is sent.
///
/// Unlike the other calls of this module, this one waits in the kernel if the socket was made to block by way of a
/// [clone](super::TcpStream::into_std), and raises SIGPIPE if the peer is gone and the program has not left that signal ignored, as
/// Rust has it.
pub fn send_file<S: Writable>(file: &File, to: &S, range: impl RangeBounds<u64>) -> io::Result<u64> {
    let (begin, end) = bounds(&range);
    let mut at = begin;
    while at < end {
        let len = usize::try_from(end - at).unwrap_or(usize::MAX);
        match within(to.write_limit(), send_file_op(file, to, at, len))? {
            0 => break,
            count => at += count as u64,
        }
    }
    Ok(at - begin)
}

/// The operation that sends up to `len` bytes of a file from `offset` on: as many as there is room for, at most 128 KiB. Yields how many;
/// 0 at the end of the file, or if `len` is 0. If it loses, nothing was sent.
///
/// See [`send_file`]. Before anything else is tried the pool fetches what is not in memory, so another branch may have to wait for the
/// disk.
///
/// # Errors
/// Those of a write to the stream, and of reading the file.
pub fn send_file_op<'a, S: Writable>(
    file: &'a File,
    to: &'a S,
    offset: u64,
    len: usize,
) -> impl Op<Output = io::Result<usize>> + use<'a, S> {
    let len = len.min(CHUNK);
    op::guard(move || {
        file.fetch(offset, len);
        let mut direct = to.target();
        let mut buffer = Vec::new();
        writing(to, move |write| {
            if len == 0 {
                return Ok(0);
            }
            if let Some(fd) = direct {
                match sys::send_file(fd, file.as_fd(), offset, len) {
                    Err(error) if is_refused(&error) => direct = None,
                    result => return result,
                }
            }
            // Read at a place, so nothing is lost if the write would block.
            buffer.resize(len.min(BUFFER), 0);
            match file.get_ref().read_at(&mut buffer, offset)? {
                0 => Ok(0),
                count => write(&buffer[..count]),
            }
        })
    })
}

fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let begin = match range.start_bound() {
        Bound::Included(begin) => *begin,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    (begin, end)
}

/// Copies from one stream to another until the first one ends, by `splice`, through a pipe in the kernel instead of a buffer of this
/// process. Returns how many bytes that were. It is not passed on that the first one has ended.
///
/// For a proxy see [`copy_bidirectional`](super::copy_bidirectional), which needs no descriptors. This one needs two, for as long as it
/// lasts; it pays for streams that carry a lot.
///
/// ```
/// use fibers::net::{Shutdown, UnixStream, splice};
/// use std::io::{Read, Write};
/// fibers::run(|| {
///     let ((mut client, near), (far, mut server)) = (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
///     let passing = fibers::spawn(move || splice(&near, &far).unwrap());
///     client.write_all(b"hello").unwrap();
///     client.shutdown(Shutdown::Write).unwrap();
///     let mut text = String::new();
///     server.read_to_string(&mut text).unwrap();
///     assert_eq!((text.as_str(), passing.join().unwrap()), ("hello", 5));
/// });
/// ```
///
/// # Errors
/// Those of a read or a write; if there are no descriptors for a pipe. Of what was read, some may not have been written then.
///
/// # Blocking
/// Suspends the fiber, or blocks the thread. The timeouts of sockets are for each piece, of 64 KiB at most. What [`send_file`] says of
/// sockets that were made to block, and of SIGPIPE, holds here as well.
pub fn splice<A: Readable, B: Writable>(from: &A, to: &B) -> io::Result<u64> {
    let (Some(source), Some(target)) = (from.source(), to.target()) else {
        return copy(from, to, 0);
    };
    let (reader, writer) = io::pipe()?;
    let (reader, writer) = (reader.as_fd(), writer.as_fd());
    let mut total = 0;
    loop {
        let take = reading(from, |_| sys::splice(source, writer, PIPE));
        let mut inside = match within(from.read_limit(), take) {
            Ok(0) => return Ok(total),
            Ok(count) => count,
            Err(error) if is_refused(&error) => return copy(from, to, total),
            Err(error) => return Err(error),
        };
        while inside > 0 {
            let give = writing(to, |_| sys::splice(reader, target, inside));
            match within(to.write_limit(), give) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => (inside, total) = (inside - count, total + count as u64),
                Err(error) if is_refused(&error) => {
                    total += empty(reader, inside, to)?;
                    return copy(from, to, total);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// Writes what is in the pipe.
fn empty<B: Writable>(pipe: BorrowedFd<'_>, inside: usize, to: &B) -> io::Result<u64> {
    let mut bytes = vec![0; inside];
    let mut count = 0;
    while count < inside {
        count += sys::read(pipe, &mut bytes[count..])?;
    }
    write_all(to, &bytes)?;
    Ok(inside as u64)
}

/// Through a buffer. `total` bytes have been copied before.
fn copy<A: Readable, B: Writable>(from: &A, to: &B, mut total: u64) -> io::Result<u64> {
    let mut buffer = vec![0; BUFFER];
    loop {
        match within(from.read_limit(), Readable::read_op(from, &mut buffer))? {
            0 => return Ok(total),
            count => {
                write_all(to, &buffer[..count])?;
                total += count as u64;
            }
        }
    }
}

fn write_all<B: Writable>(to: &B, mut rest: &[u8]) -> io::Result<()> {
    within(to.write_limit(), Writable::write_all_op(to, &mut rest))
}

/// The system does not do it for these two.
fn is_refused(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EINVAL | libc::ENOSYS | libc::EOPNOTSUPP | libc::EOVERFLOW)
    )
}
