//! What bytes come from, and what they go to.
//!
//! Everything of this crate that bytes go through can do one thing: try a read or a write that takes or gives something now, or says
//! `WouldBlock`. An operation is made of that by [`reading`] and [`writing`]. One that needs several reads (a line, so many bytes) makes
//! them in one attempt, keeps what it has got in a buffer of its reader, and is tried again when there is more.

use crate::file::{Direction, File, Look, io_op};
use crate::op::Op;
use crate::prim::Arc;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// Where bytes can be read from by an operation: sockets, [`Fd`](super::Fd), [`Duplex`](super::Duplex), [`Stdin`](super::Stdin),
/// reading halves, and references to these.
///
/// For functions that take any of them, and for [`BufReader`](super::BufReader). Nobody else implements it.
pub trait Readable: sealed::TryRead {
    /// The operation that reads what there is into `buffer`: 0 bytes at the end, or if there is no room. If it loses, no byte was
    /// taken.
    fn read_op<'a>(&'a self, buffer: &'a mut [u8]) -> impl Op<Output = io::Result<usize>> {
        reading(self, move |read| read(buffer))
    }
}

/// Where bytes can be written to by an operation: sockets, [`Fd`](super::Fd), [`Duplex`](super::Duplex), [`Stdout`](super::Stdout),
/// [`Stderr`](super::Stderr), writing halves, and references to these.
///
/// For functions that take any of them. Nobody else implements it.
pub trait Writable: sealed::TryWrite {
    /// The operation that writes what there is room for, from the beginning of `buffer`. If it loses, no byte was written.
    fn write_op<'a>(&'a self, buffer: &'a [u8]) -> impl Op<Output = io::Result<usize>> {
        writing(self, move |write| write(buffer))
    }

    /// The operation that writes all of `rest`. What has been written is taken off its beginning, also if the operation loses or
    /// fails: then `rest` is what is left.
    ///
    /// ```
    /// use fibers::io::{self, Writable};
    /// use fibers::Op;
    /// let (near, _far) = io::duplex(4);
    /// let mut rest = &b"more than four"[..];
    /// assert!(near.write_all_op(&mut rest).try_perform().is_none());
    /// assert_eq!(rest, b" than four");
    /// ```
    ///
    /// # Errors
    /// As a write; `WriteZero` if nothing more can be written.
    fn write_all_op<'a>(&'a self, rest: &'a mut &[u8]) -> impl Op<Output = io::Result<()>> {
        writing(self, move |write| {
            while !rest.is_empty() {
                match write(rest)? {
                    0 => return Err(io::ErrorKind::WriteZero.into()),
                    count => *rest = &rest[count..],
                }
            }
            Ok(())
        })
    }
}

/// A connection: a [`TcpStream`](crate::net::TcpStream), a [`UnixStream`](crate::net::UnixStream), or one through memory
/// ([`Duplex`](super::Duplex)).
///
/// For functions that take any of them. Nobody else implements it.
pub trait Stream: Read + Write + Send + Sync + Readable + Writable {
    /// Ends one direction of the connection, or both.
    ///
    /// # Errors
    /// If it is not connected.
    fn shutdown(&self, how: Shutdown) -> io::Result<()>;
}

/// Who waits, and for what.
#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct Place<'a> {
    pub(crate) file: &'a Arc<File>,
    pub(crate) fd: Option<BorrowedFd<'a>>,
    /// For reports.
    pub(crate) what: &'static str,
}

pub(crate) mod sealed {
    use super::{Look, Place};
    use crate::op::Op;
    use std::io;
    use std::os::fd::BorrowedFd;
    use std::time::Duration;

    pub trait TryRead {
        fn read_place(&self) -> Place<'_>;

        /// Reads what there is now. `WouldBlock`: nothing was taken, and a change of the place will tell of more.
        fn try_read(&self, look: &mut Look<'_>, buffer: &mut [u8]) -> io::Result<usize>;

        /// How long a blocking call may take.
        fn read_limit(&self) -> Option<Duration> {
            None
        }

        /// The descriptor that the kernel may read from by itself.
        fn source(&self) -> Option<BorrowedFd<'_>> {
            None
        }

        /// The read `call`, unless something ends it early.
        fn read_in_time<T>(&self, call: impl Op<Output = io::Result<T>>) -> impl Op<Output = io::Result<T>> {
            call
        }
    }

    pub trait TryWrite {
        fn write_place(&self) -> Place<'_>;

        /// Writes what there is room for now. `WouldBlock`: nothing was written, and a change of the place will tell of more room.
        fn try_write(&self, look: &mut Look<'_>, buffer: &[u8]) -> io::Result<usize>;

        /// Passes on what was written and has not been given to the system yet. `WouldBlock`: as for a write.
        fn try_flush(&self) -> io::Result<()> {
            Ok(())
        }

        /// How long a blocking call may take.
        fn write_limit(&self) -> Option<Duration> {
            None
        }

        /// The descriptor that the kernel may write to by itself.
        fn target(&self) -> Option<BorrowedFd<'_>> {
            None
        }

        /// The write `call`, unless something ends it early.
        fn write_in_time<T>(&self, call: impl Op<Output = io::Result<T>>) -> impl Op<Output = io::Result<T>> {
            call
        }
    }

    impl<S: TryRead + ?Sized> TryRead for &S {
        fn read_place(&self) -> Place<'_> {
            (**self).read_place()
        }

        fn try_read(&self, look: &mut Look<'_>, buffer: &mut [u8]) -> io::Result<usize> {
            (**self).try_read(look, buffer)
        }

        fn read_limit(&self) -> Option<Duration> {
            (**self).read_limit()
        }

        fn source(&self) -> Option<BorrowedFd<'_>> {
            (**self).source()
        }

        fn read_in_time<T>(&self, call: impl Op<Output = io::Result<T>>) -> impl Op<Output = io::Result<T>> {
            (**self).read_in_time(call)
        }
    }

    impl<S: TryWrite + ?Sized> TryWrite for &S {
        fn write_place(&self) -> Place<'_> {
            (**self).write_place()
        }

        fn try_write(&self, look: &mut Look<'_>, buffer: &[u8]) -> io::Result<usize> {
            (**self).try_write(look, buffer)
        }

        fn try_flush(&self) -> io::Result<()> {
            (**self).try_flush()
        }

        fn write_limit(&self) -> Option<Duration> {
            (**self).write_limit()
        }

        fn target(&self) -> Option<BorrowedFd<'_>> {
            (**self).target()
        }

        fn write_in_time<T>(&self, call: impl Op<Output = io::Result<T>>) -> impl Op<Output = io::Result<T>> {
            (**self).write_in_time(call)
        }
    }
}
use sealed::{TryRead, TryWrite};

impl<S: Readable + ?Sized> Readable for &S {}
impl<S: Writable + ?Sized> Writable for &S {}

/// One read of an attempt.
pub(crate) type ReadCall<'a> = dyn FnMut(&mut [u8]) -> io::Result<usize> + 'a;

/// One write of an attempt.
pub(crate) type WriteCall<'a> = dyn FnMut(&[u8]) -> io::Result<usize> + 'a;

/// The operation that is tried by `attempt`, which reads by its argument until it has what it wants or that says `WouldBlock`. What it
/// has read before, it keeps.
pub(crate) fn reading<S: TryRead + ?Sized, R>(
    source: &S,
    mut attempt: impl FnMut(&mut ReadCall<'_>) -> io::Result<R>,
) -> impl Op<Output = io::Result<R>> {
    let Place { file, fd, what } = source.read_place();
    let call = io_op(file, fd, Direction::Read, what, move |look: &mut Look<'_>| {
        attempt(&mut |buffer| source.try_read(look, buffer))
    });
    source.read_in_time(call)
}

/// As [`reading`], for writes.
pub(crate) fn writing<S: TryWrite + ?Sized, R>(
    target: &S,
    mut attempt: impl FnMut(&mut WriteCall<'_>) -> io::Result<R>,
) -> impl Op<Output = io::Result<R>> {
    let Place { file, fd, what } = target.write_place();
    let call = io_op(file, fd, Direction::Write, what, move |look: &mut Look<'_>| {
        attempt(&mut |buffer| target.try_write(look, buffer))
    });
    target.write_in_time(call)
}

/// Performs within the time; otherwise the error is `TimedOut`.
#[inline]
pub(crate) fn within<T>(limit: Option<Duration>, op: impl Op<Output = io::Result<T>>) -> io::Result<T> {
    match limit {
        None => op.perform(),
        Some(limit) => op.timeout(limit).perform().unwrap_or_else(|_| Err(timed_out())),
    }
}

#[cold]
pub(crate) fn timed_out() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the time for this call is over")
}
