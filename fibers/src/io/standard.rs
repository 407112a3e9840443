//! A standard descriptor of the process, and how it is used without blocking a worker.
//!
//! The open file behind it is shared with the parent, a shell for instance, and with siblings. To make it non-blocking would make it so
//! for all of them, so that is never done. What is done depends on what it is:
//!
//! - A pipe or a terminal is opened anew, through `/proc/self/fd`: the same pipe or terminal, but an open file of our own, which never
//!   blocks. (libuv does so with terminals.)
//! - A socket is told with each call not to wait.
//! - Anything else, or what cannot be opened anew, is asked with `poll` before each call. Files and `/dev/null` are always ready; that
//!   a read of a file may have to wait for the disk is put up with. For terminals and pipes this is second best: if another process
//!   takes the bytes between the question and the read, or the room before the write, the worker blocks.
//!
//! A standard descriptor that is closed is empty, and takes everything, as in the standard library.

use super::stream::Place;
use crate::file::{Direction, File};
use crate::prim::Arc;
use crate::sys::socket::{self, Take};
use crate::sys::{self, Kind};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The most that is written at a time where nobody but `poll` says that there is room: a pipe that is ready has room for that.
const PIECE: usize = libc::PIPE_BUF;

/// `T` is the handle of std.
pub(super) struct Standard<T> {
    inner: T,
    way: Way,
    file: Arc<File>,
    direction: Direction,
}

enum Way {
    /// An open file of our own, which never blocks.
    Own(OwnedFd),
    Socket,
    /// To be asked before each call.
    Ask,
}

impl<T: AsFd> Standard<T> {
    pub(super) fn new(inner: T, direction: Direction) -> Standard<T> {
        Standard {
            way: Way::of(inner.as_fd(), direction),
            inner,
            file: File::new(),
            direction,
        }
    }

    /// The standard descriptor itself.
    pub(super) fn inner(&self) -> &T {
        &self.inner
    }

    /// The descriptor of the calls.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        match &self.way {
            Way::Own(fd) => fd.as_fd(),
            Way::Socket | Way::Ask => self.inner.as_fd(),
        }
    }

    pub(super) fn place(&self, what: &'static str) -> Place<'_> {
        Place {
            file: &self.file,
            fd: Some(self.fd()),
            what,
        }
    }

    /// There is something for those who wait that no event will tell of.
    pub(super) fn changed(&self) {
        self.file.changed(self.direction);
    }

    pub(super) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let result = match &self.way {
            Way::Socket => socket::receive(self.fd(), buffer, Take::Bytes).map(|received| received.count),
            Way::Own(fd) => sys::read(fd.as_fd(), buffer),
            Way::Ask => self.ask().and_then(|()| sys::read(self.fd(), buffer)),
        };
        unless_closed(result, 0)
    }

    pub(super) fn write(&self, buffer: &[u8]) -> io::Result<usize> {
        let result = match &self.way {
            Way::Socket => socket::send(self.fd(), buffer),
            Way::Own(fd) => sys::write(fd.as_fd(), buffer),
            Way::Ask => {
                let piece = &buffer[..buffer.len().min(PIECE)];
                self.ask().and_then(|()| sys::write(self.fd(), piece))
            }
        };
        unless_closed(result, buffer.len())
    }

    fn ask(&self) -> io::Result<()> {
        match sys::is_ready(self.fd(), self.direction)? {
            true => Ok(()),
            false => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl Way {
    fn of(fd: BorrowedFd<'_>, direction: Direction) -> Way {
        match sys::kind(fd) {
            Ok(Kind::Socket) => Way::Socket,
            Ok(Kind::Pipe | Kind::Terminal) => sys::reopen(fd, direction).map_or(Way::Ask, Way::Own),
            _ => Way::Ask,
        }
    }
}

fn unless_closed(result: io::Result<usize>, count: usize) -> io::Result<usize> {
    match result {
        Err(error) if error.raw_os_error() == Some(libc::EBADF) => Ok(count),
        result => result,
    }
}
