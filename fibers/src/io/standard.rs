//! A standard descriptor of the process, and how it is used without blocking a worker.
//!
//! The open file behind it is shared with the parent, a shell for instance, and with siblings. To make it non-blocking would make it so
//! for all of them, so that is never done. What is done depends on what it is:
//!
//! - A pipe or a terminal is opened anew, through `/proc/self/fd`: the same pipe or terminal, but an open file of our own, which never
//!   blocks. (libuv does so with terminals.)
//! - A socket is told with each call not to wait.
//! - A regular file never lets anybody wait but for the disk: before a read, the blocking pool fetches what is not in memory.
//! - Anything else, or what cannot be opened anew, is asked with `poll` before each call. `/dev/null` is always ready. For terminals and
//!   pipes this is second best: if another process takes the bytes between the question and the read, or the room before the write,
//!   the worker blocks.
//!
//! A standard descriptor that is closed is empty, and takes everything, as in the standard library.

use super::stream::Place;
use crate::blocking::call;
use crate::file::{self, Direction};
use crate::prim::Arc;
use crate::sched;
use crate::sys::socket::{self, Take};
use crate::sys::{self, Kind};
use std::fs::File;
use std::io::{self, Seek};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

/// The most that is written at a time where nobody but `poll` says that there is room: a pipe that is ready has room for that.
const PIECE: usize = libc::PIPE_BUF;

/// How much of a file is fetched at a time.
const FETCHED: usize = 128 * 1024;

/// `T` is the handle of std.
pub(super) struct Standard<T> {
    inner: T,
    way: Way,
    waiters: Arc<file::File>,
    direction: Direction,
}

enum Way {
    /// A duplicate of the descriptor, which shares its cursor.
    File(File),
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
            waiters: file::File::new(),
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
            Way::File(file) => file.as_fd(),
            Way::Own(fd) => fd.as_fd(),
            Way::Socket | Way::Ask => self.inner.as_fd(),
        }
    }

    pub(super) fn place(&self, what: &'static str) -> Place<'_> {
        Place {
            file: &self.waiters,
            fd: Some(self.fd()),
            what,
        }
    }

    /// There is something for those who wait that no event will tell of.
    pub(super) fn changed(&self) {
        self.waiters.changed(self.direction);
    }

    /// Whether a read may have to wait for the disk.
    pub(super) fn is_file(&self) -> bool {
        matches!(self.way, Way::File(_))
    }

    /// Has the pool read what comes next in a file, unless it is in memory already.
    pub(super) fn fetch(&'static self) {
        let Way::File(file) = &self.way else { return };
        if sched::here().is_none() {
            return;
        }
        let mut cursor = file;
        let Ok(at) = cursor.stream_position() else { return };
        if sys::read_cached(file.as_fd(), &mut [0], Some(at)).is_err() {
            // An error is found again by the read.
            let _ = call(move || file.read_at(&mut vec![0; FETCHED], at));
        }
    }

    pub(super) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let result = match &self.way {
            Way::Socket => socket::receive(self.fd(), buffer, Take::Bytes).map(|received| received.count),
            Way::File(_) | Way::Own(_) => sys::read(self.fd(), buffer),
            Way::Ask => self.ask().and_then(|()| sys::read(self.fd(), buffer)),
        };
        unless_closed(result, 0)
    }

    pub(super) fn write(&self, buffer: &[u8]) -> io::Result<usize> {
        let result = match &self.way {
            Way::Socket => socket::send(self.fd(), buffer),
            Way::File(_) | Way::Own(_) => sys::write(self.fd(), buffer),
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
            Ok(Kind::File) => fd.try_clone_to_owned().map_or(Way::Ask, |fd| Way::File(fd.into())),
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
