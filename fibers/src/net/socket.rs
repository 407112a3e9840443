//! What all sockets have in common: a descriptor, the time that a call may take, and the calls themselves.

use crate::file::{Direction, Look};
use crate::io::Fd;
pub(super) use crate::io::{timed_out, within};
use crate::op::Op;
use crate::prim::plain::{AtomicU64, Ordering};
use crate::sys::socket::{self, Received, Take};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

/// What the operations are called in reports.
pub(super) const READ: &str = "read from socket";
pub(super) const WRITE: &str = "write to socket";

/// For how long one call may wait. 0: for ever.
#[derive(Debug, Default)]
pub(super) struct Limit(AtomicU64);

impl Limit {
    pub(super) fn get(&self) -> Option<Duration> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            nanos => Some(Duration::from_nanos(nanos)),
        }
    }

    /// # Errors
    /// `InvalidInput` for zero, as in the standard library.
    pub(super) fn set(&self, limit: Option<Duration>) -> io::Result<()> {
        if limit == Some(Duration::ZERO) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a timeout of zero: use `None` for no limit, or try_perform on the operation for no wait",
            ));
        }
        let nanos = limit.map_or(0, |limit| u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX));
        self.0.store(nanos, Ordering::Relaxed);
        Ok(())
    }

    fn copy(&self) -> Limit {
        Limit(AtomicU64::new(self.0.load(Ordering::Relaxed)))
    }
}

/// What a call says that may be made again when the descriptor has changed.
fn would_block() -> io::Error {
    io::ErrorKind::WouldBlock.into()
}

/// A socket around that of the standard library.
#[derive(Debug)]
pub(super) struct Socket<T: AsFd> {
    pub(super) fd: Fd<T>,
    pub(super) read_limit: Limit,
    pub(super) write_limit: Limit,
}

impl<T: AsFd> Socket<T> {
    /// Of a socket that never blocks.
    pub(super) fn of_nonblocking(inner: T) -> Socket<T> {
        Socket::of(Fd::of_nonblocking(inner))
    }

    pub(super) fn new(inner: T) -> io::Result<Socket<T>> {
        Ok(Socket::of(Fd::new(inner)?))
    }

    pub(super) fn of(fd: Fd<T>) -> Socket<T> {
        Socket {
            fd,
            read_limit: Limit::default(),
            write_limit: Limit::default(),
        }
    }

    /// Around a duplicate of the descriptor, with the same limits.
    pub(super) fn duplicate(&self, duplicate: impl FnOnce(&T) -> io::Result<T>) -> io::Result<Socket<T>> {
        Ok(Socket {
            fd: Fd::of_nonblocking(duplicate(self.fd.get_ref())?),
            read_limit: self.read_limit.copy(),
            write_limit: self.write_limit.copy(),
        })
    }

    pub(super) fn inner(&self) -> &T {
        self.fd.get_ref()
    }

    #[inline]
    pub(super) fn receive_op<'a>(&'a self, buffer: &'a mut [u8], sort: Sort) -> impl Op<Output = io::Result<usize>> {
        self.fd
            .try_op(Direction::Read, READ, move |_, look| self.try_receive(look, buffer, sort))
    }

    #[inline]
    pub(super) fn try_receive(&self, look: &Look<'_>, buffer: &mut [u8], sort: Sort) -> io::Result<usize> {
        sort.receive(look, buffer.len(), || socket::receive(self.as_fd(), buffer, Take::Bytes))
    }

    pub(super) fn receive_vectored_op<'a>(
        &'a self,
        buffers: &'a mut [IoSliceMut<'_>],
        sort: Sort,
    ) -> impl Op<Output = io::Result<usize>> {
        let room = buffers.iter().map(|buffer| buffer.len()).sum();
        self.fd.try_op(Direction::Read, READ, move |fd, look| {
            sort.receive(look, room, || socket::receive_vectored(fd.as_fd(), buffers))
        })
    }

    /// A look takes nothing, so afterwards nothing is drained.
    pub(super) fn peek_op<'a>(&'a self, buffer: &'a mut [u8], sort: Sort) -> impl Op<Output = io::Result<usize>> {
        self.fd.try_op(Direction::Read, "peek at socket", move |fd, look| {
            sort.receive(look, buffer.len(), || {
                let received = socket::receive(fd.as_fd(), buffer, Take::Look)?;
                Ok(Received {
                    short: false,
                    ..received
                })
            })
        })
    }

    #[inline]
    pub(super) fn send_op<'a>(&'a self, buffer: &'a [u8]) -> impl Op<Output = io::Result<usize>> {
        self.fd
            .try_op(Direction::Write, WRITE, move |fd, _| socket::send(fd.as_fd(), buffer))
    }

    pub(super) fn send_vectored_op<'a>(&'a self, buffers: &'a [IoSlice<'_>]) -> impl Op<Output = io::Result<usize>> {
        self.fd.try_op(Direction::Write, WRITE, move |fd, _| {
            socket::send_vectored(fd.as_fd(), buffers)
        })
    }
}

impl<T: AsFd> AsFd for Socket<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// What a receive that gets less than it has room for says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    /// It has got all there is. The next one spares itself a system call that would say so.
    Tcp,
    /// Nothing: a read ends at each message that descriptors came with.
    Local,
    /// Nothing: each receive gets one datagram, of which the rest is lost.
    Datagrams,
}

impl Sort {
    #[inline]
    fn receive(self, look: &Look<'_>, room: usize, call: impl FnOnce() -> io::Result<Received>) -> io::Result<usize> {
        match self {
            // The kernel would wait for a byte.
            Sort::Tcp | Sort::Local if room == 0 => Ok(0),
            Sort::Tcp if look.is_drained() => Err(would_block()),
            _ => {
                let received = call()?;
                if received.short && self == Sort::Tcp {
                    look.drained();
                }
                Ok(received.count)
            }
        }
    }
}

/// What every socket type has: what is inside, closing, and the conversions.
///
/// `$Name` is a tuple of one `Socket<$Std>`.
macro_rules! socket_type {
    ($Name:ident, $Std:ty, $std:literal) => {
        impl $Name {
            /// Ends all calls that wait for this socket with an error that carries [`Closed`](crate::io::Closed), those of now and
            /// of later, by whichever fiber or thread.
            ///
            /// The peer of a connection reads the end of it, and a listener accepts nothing any more. The descriptor itself is given
            /// back when this value is dropped, so that its number does not become another one's while somebody still uses it.
            pub fn close(&self) {
                self.0.fd.close();
                $crate::net::socket::shut_down(self.0.inner());
            }

            /// Whether [`close`](Self::close) has been called.
            pub fn is_closed(&self) -> bool {
                self.0.fd.is_closed()
            }

            #[doc = concat!("The socket as [`", $std, "`], for options that this type does not have. Its calls say `WouldBlock`.")]
            pub fn get_ref(&self) -> &$Std {
                self.0.inner()
            }

            #[doc = concat!("The socket as [`", $std, "`], which blocks its thread again.")]
            ///
            /// It is the open socket that blocks. Clones of it that are left suspend their fibers as before where they send and
            /// receive bytes, but calls that take a connection, or name an address of the file system, may block then.
            ///
            /// # Errors
            /// If it cannot be made to block; it is closed then.
            pub fn into_std(self) -> std::io::Result<$Std> {
                self.0.fd.into_inner()
            }

            /// The error that came in since the last call, if one did (`SO_ERROR`).
            ///
            /// # Errors
            /// If the socket cannot be asked.
            pub fn take_error(&self) -> std::io::Result<Option<std::io::Error>> {
                self.0.inner().take_error()
            }

            /// A second handle to the same socket, with the same timeouts to begin with. The socket lives until both are dropped.
            ///
            /// # Errors
            /// If the descriptor cannot be duplicated.
            pub fn try_clone(&self) -> std::io::Result<$Name> {
                self.0.duplicate(|socket| socket.try_clone()).map($Name)
            }
        }

        impl std::os::fd::AsFd for $Name {
            fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
                self.0.as_fd()
            }
        }

        impl std::os::fd::AsRawFd for $Name {
            fn as_raw_fd(&self) -> std::os::fd::RawFd {
                std::os::fd::AsRawFd::as_raw_fd(&self.0.fd)
            }
        }

        /// The socket becomes non-blocking, if it is not.
        impl TryFrom<$Std> for $Name {
            type Error = std::io::Error;

            fn try_from(socket: $Std) -> std::io::Result<$Name> {
                $crate::net::socket::Socket::new(socket).map($Name)
            }
        }

        /// The socket becomes non-blocking, if it is not.
        ///
        /// # Panics
        /// If the descriptor is no socket, or one opened with `O_PATH`.
        impl From<std::os::fd::OwnedFd> for $Name {
            fn from(fd: std::os::fd::OwnedFd) -> $Name {
                match $Name::try_from(<$Std>::from(fd)) {
                    Ok(socket) => socket,
                    Err(error) => panic!("a descriptor that cannot be made non-blocking is no socket: {error}"),
                }
            }
        }

        /// The socket blocks again.
        impl From<$Name> for std::os::fd::OwnedFd {
            fn from(socket: $Name) -> std::os::fd::OwnedFd {
                socket.0.fd.give_back().into()
            }
        }

        impl std::fmt::Debug for $Name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Debug::fmt(self.0.inner(), f)
            }
        }
    };
}
pub(super) use socket_type;

/// The two timeouts of a socket that reads and writes.
macro_rules! timeouts {
    ($Name:ident) => {
        impl $Name {
            /// How long one read may wait; then it fails with `TimedOut`. `None`: for ever. Of this handle alone, and of blocking
            /// calls: operations have [`Op::timeout`](crate::Op::timeout).
            ///
            /// # Errors
            /// `InvalidInput` for a timeout of zero.
            pub fn set_read_timeout(&self, limit: Option<std::time::Duration>) -> std::io::Result<()> {
                self.0.read_limit.set(limit)
            }

            /// How long one read may wait.
            pub fn read_timeout(&self) -> Option<std::time::Duration> {
                self.0.read_limit.get()
            }

            /// How long one write may wait; then it fails with `TimedOut`. `None`: for ever. Of this handle alone, and of blocking
            /// calls: operations have [`Op::timeout`](crate::Op::timeout).
            ///
            /// # Errors
            /// `InvalidInput` for a timeout of zero.
            pub fn set_write_timeout(&self, limit: Option<std::time::Duration>) -> std::io::Result<()> {
                self.0.write_limit.set(limit)
            }

            /// How long one write may wait.
            pub fn write_timeout(&self) -> Option<std::time::Duration> {
                self.0.write_limit.get()
            }
        }
    };
}
pub(super) use timeouts;

/// A stream: `Read` and `Write` for it and for references to it, and the operations behind them.
macro_rules! stream {
    ($Name:ident, $sort:expr) => {
        impl $Name {
            /// The operation that reads what there is into `buffer`: 0 bytes at the end of the stream, or if there is no room. If it
            /// loses, no byte was taken. The read timeout does not apply.
            pub fn read_op<'a>(&'a self, buffer: &'a mut [u8]) -> impl $crate::Op<Output = std::io::Result<usize>> {
                self.0.receive_op(buffer, $sort)
            }

            /// The operation that writes what there is room for, from the beginning of `buffer`. If it loses, no byte was written.
            /// The write timeout does not apply.
            pub fn write_op<'a>(&'a self, buffer: &'a [u8]) -> impl $crate::Op<Output = std::io::Result<usize>> {
                self.0.send_op(buffer)
            }

            /// Reads without taking: the next read sees the same bytes.
            ///
            /// # Errors
            /// As a read.
            ///
            /// # Blocking
            /// Suspends the fiber, or blocks the thread.
            pub fn peek(&self, buffer: &mut [u8]) -> std::io::Result<usize> {
                $crate::net::socket::within(self.0.read_limit.get(), self.peek_op(buffer))
            }

            /// The operation that reads without taking.
            pub fn peek_op<'a>(&'a self, buffer: &'a mut [u8]) -> impl $crate::Op<Output = std::io::Result<usize>> {
                self.0.peek_op(buffer, $sort)
            }

            /// The operation that is ready when a read would not wait.
            pub fn readable_op(&self) -> impl $crate::Op<Output = std::io::Result<()>> + Clone {
                self.0.fd.readable_op()
            }

            /// The operation that is ready when a write would not wait.
            pub fn writable_op(&self) -> impl $crate::Op<Output = std::io::Result<()>> + Clone {
                self.0.fd.writable_op()
            }

            /// Ends one direction of the connection, or both: the peer reads the end, or cannot write any more.
            ///
            /// # Errors
            /// If it is not connected.
            pub fn shutdown(&self, how: std::net::Shutdown) -> std::io::Result<()> {
                self.0.inner().shutdown(how)
            }

            /// This stream, with one end for all reads and writes that are made through the result: a moment, after which they fail with
            /// `TimedOut`, or a reference to a [context](crate::Context). So a peer that sends a byte now and then cannot hold up a
            /// request for ever, as it can with a [read timeout](Self::set_read_timeout).
            pub fn with_deadline<U: $crate::io::Until>(&self, until: U) -> $crate::net::Deadline<'_, $Name, U> {
                $crate::net::Deadline::new(self, until)
            }

            /// The two directions, for two fibers that share the stream for a while (see [`scope`](std::thread::scope)).
            pub fn split(&self) -> ($crate::net::ReadHalf<'_, $Name>, $crate::net::WriteHalf<'_, $Name>) {
                $crate::net::split::split(self)
            }

            /// The two directions, for two fibers that each keep theirs. When the writing half is dropped, the peer reads the end.
            pub fn into_split(self) -> ($crate::net::OwnedReadHalf<$Name>, $crate::net::OwnedWriteHalf<$Name>) {
                $crate::net::split::into_split(self)
            }

            #[inline]
            fn read_some(&self, buffer: &mut [u8]) -> std::io::Result<usize> {
                $crate::net::socket::within(self.0.read_limit.get(), self.0.receive_op(buffer, $sort))
            }

            fn read_some_vectored(&self, buffers: &mut [std::io::IoSliceMut<'_>]) -> std::io::Result<usize> {
                $crate::net::socket::within(self.0.read_limit.get(), self.0.receive_vectored_op(buffers, $sort))
            }

            #[inline]
            fn write_some(&self, buffer: &[u8]) -> std::io::Result<usize> {
                $crate::net::socket::within(self.0.write_limit.get(), self.0.send_op(buffer))
            }

            fn write_some_vectored(&self, buffers: &[std::io::IoSlice<'_>]) -> std::io::Result<usize> {
                $crate::net::socket::within(self.0.write_limit.get(), self.0.send_vectored_op(buffers))
            }
        }

        impl $crate::io::sealed::TryRead for $Name {
            fn read_place(&self) -> $crate::io::Place<'_> {
                self.0.fd.place($crate::net::socket::READ)
            }

            fn try_read(&self, look: &mut $crate::file::Look<'_>, buffer: &mut [u8]) -> std::io::Result<usize> {
                self.0.try_receive(look, buffer, $sort)
            }

            fn read_limit(&self) -> Option<std::time::Duration> {
                self.0.read_limit.get()
            }

            fn source(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
                Some(std::os::fd::AsFd::as_fd(self))
            }
        }

        impl $crate::io::sealed::TryWrite for $Name {
            fn write_place(&self) -> $crate::io::Place<'_> {
                self.0.fd.place($crate::net::socket::WRITE)
            }

            fn try_write(&self, _: &mut $crate::file::Look<'_>, buffer: &[u8]) -> std::io::Result<usize> {
                $crate::sys::socket::send(std::os::fd::AsFd::as_fd(self), buffer)
            }

            fn write_limit(&self) -> Option<std::time::Duration> {
                self.0.write_limit.get()
            }

            fn target(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
                Some(std::os::fd::AsFd::as_fd(self))
            }
        }

        impl $crate::io::Readable for $Name {}
        impl $crate::io::Writable for $Name {}

        impl $crate::net::Stream for $Name {
            fn shutdown(&self, how: std::net::Shutdown) -> std::io::Result<()> {
                self.0.inner().shutdown(how)
            }
        }

        $crate::net::socket::read_write!($Name);
        $crate::net::socket::read_write!(&$Name);
    };
}
pub(super) use stream;

macro_rules! read_write {
    ($($Type:tt)+) => {
        impl std::io::Read for $($Type)+ {
            #[inline]
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                self.read_some(buffer)
            }

            fn read_vectored(&mut self, buffers: &mut [std::io::IoSliceMut<'_>]) -> std::io::Result<usize> {
                self.read_some_vectored(buffers)
            }
        }

        impl std::io::Write for $($Type)+ {
            #[inline]
            fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
                self.write_some(buffer)
            }

            fn write_vectored(&mut self, buffers: &[std::io::IoSlice<'_>]) -> std::io::Result<usize> {
                self.write_some_vectored(buffers)
            }

            #[inline]
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
    };
}
pub(super) use read_write;

/// Ends a connection in both directions, and nothing at all of a socket that has none.
pub(super) fn shut_down(socket: &impl AsFd) {
    socket::shut_down(socket.as_fd());
}
