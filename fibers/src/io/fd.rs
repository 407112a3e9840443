//! Any descriptor, made waitable.

use super::sealed::{TryRead, TryWrite};
use super::{Place, Readable, Writable};
use crate::Op;
use crate::file::{Direction, File, Look, io_op, unwatchable};
use crate::prim::Arc;
use crate::sys;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// A descriptor of any kind whose readers and writers suspend their fibers: a pipe, a socket, an eventfd, a device, or a type of
/// another crate that has a descriptor.
///
/// The descriptor is made non-blocking. Calls on it are made through [`read_with`](Fd::read_with) and
/// [`write_with`](Fd::write_with), which wait and try again when the call says `WouldBlock`, or after
/// [`readable`](Fd::readable) and [`writable`](Fd::writable). For descriptors that bytes go through there are `Read` and `Write`.
///
/// Any number of fibers and threads may wait for one descriptor, in both directions. All who wait in a direction are woken when
/// something comes; who is first takes it.
///
/// ```
/// use fibers::io::Fd;
/// use std::io::{Read, Write};
/// fibers::run(|| {
///     let (reader, writer) = std::io::pipe().unwrap();
///     let (reader, writer) = (Fd::new(reader).unwrap(), Fd::new(writer).unwrap());
///     let read = fibers::spawn(move || {
///         let mut text = String::new();
///         (&reader).read_to_string(&mut text).map(|_| text)
///     });
///     (&writer).write_all(b"hello").unwrap();
///     drop(writer);
///     assert_eq!(read.join().unwrap().unwrap(), "hello");
/// });
/// ```
pub struct Fd<T: AsFd> {
    watched: Watched,
    inner: T,
}

/// Ends the watch before the descriptor is closed: it stands, and so is dropped, before the descriptor.
struct Watched {
    file: Arc<File>,
    /// The descriptor was blocking when it came.
    was_blocking: bool,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.file.close();
    }
}

impl<T: AsFd> Fd<T> {
    /// Makes the descriptor non-blocking and waitable.
    ///
    /// It is the open file that becomes non-blocking: duplicates of the descriptor, in this process and others, become so as well.
    ///
    /// # Errors
    /// `InvalidInput` for regular files, directories and disks: they never say that they would block, and yet they do. Read them on
    /// the blocking pool ([`spawn_blocking`](crate::spawn_blocking)). Otherwise what setting its flags fails with.
    pub fn new(inner: T) -> io::Result<Fd<T>> {
        if sys::is_file(inner.as_fd())? {
            return Err(unwatchable());
        }
        let was_blocking = sys::set_nonblocking(inner.as_fd(), true)?;
        Ok(Fd {
            watched: Watched {
                file: File::new(),
                was_blocking,
            },
            inner,
        })
    }

    /// Of a descriptor that is non-blocking and no file, as those are that this crate has made. It blocks again when it is given
    /// away.
    pub(crate) fn of_nonblocking(inner: T) -> Fd<T> {
        Fd {
            watched: Watched {
                file: File::new(),
                was_blocking: true,
            },
            inner,
        }
    }

    /// What is inside.
    pub fn get_ref(&self) -> &T {
        &self.inner
    }

    /// What is inside. Do not put another descriptor into its place.
    pub fn get_mut(&mut self) -> &mut T {
        &mut self.inner
    }

    /// What was inside, blocking as it was before [`Fd::new`].
    ///
    /// # Errors
    /// If its flags cannot be set; the descriptor is closed then.
    pub fn into_inner(self) -> io::Result<T> {
        let Fd { watched, inner } = self;
        let was_blocking = watched.was_blocking;
        // The watch ends before an error closes the descriptor.
        drop(watched);
        if was_blocking {
            sys::set_nonblocking(inner.as_fd(), false)?;
        }
        Ok(inner)
    }

    /// The same, as well as it goes.
    pub(crate) fn give_back(self) -> T {
        let Fd { watched, inner } = self;
        if watched.was_blocking {
            let _ = sys::set_nonblocking(inner.as_fd(), false);
        }
        inner
    }

    /// Ends all waits for this descriptor with an error that carries [`Closed`](super::Closed), those of now and of later.
    ///
    /// The descriptor itself stays open until this is dropped, so that its number does not become another one's while somebody
    /// still uses it.
    pub fn close(&self) {
        self.watched.file.close();
    }

    /// Whether [`close`](Fd::close) has been called.
    pub fn is_closed(&self) -> bool {
        self.watched.file.is_closed()
    }

    /// Makes a system call that reads, until it does not say `WouldBlock`; waits in between until the descriptor is readable.
    ///
    /// `call` may be called any number of times, and also when the descriptor is not readable, so it has to be one that says
    /// `WouldBlock` then, and takes nothing when it does. After that it is called again once something has *changed*: one that says
    /// `WouldBlock` for another reason waits for ever.
    ///
    /// # Errors
    /// Those of `call`; what registering the descriptor fails with; [`Closed`](super::Closed).
    ///
    /// # Blocking
    /// Suspends the fiber, or blocks the thread.
    pub fn read_with<R>(&self, call: impl FnMut(&T) -> io::Result<R>) -> io::Result<R> {
        self.read_with_op(call).perform()
    }

    /// The operation of [`read_with`](Fd::read_with). If it loses against another branch, `call` has taken nothing.
    pub fn read_with_op<R>(&self, call: impl FnMut(&T) -> io::Result<R>) -> impl Op<Output = io::Result<R>> {
        self.call_op(Direction::Read, "read from descriptor", call)
    }

    /// Makes a system call that writes, until it does not say `WouldBlock`; waits in between until the descriptor is writable.
    /// The same holds for `call` as in [`read_with`](Fd::read_with).
    ///
    /// # Errors
    /// Those of `call`; what registering the descriptor fails with; [`Closed`](super::Closed).
    ///
    /// # Blocking
    /// Suspends the fiber, or blocks the thread.
    pub fn write_with<R>(&self, call: impl FnMut(&T) -> io::Result<R>) -> io::Result<R> {
        self.write_with_op(call).perform()
    }

    /// The operation of [`write_with`](Fd::write_with). If it loses against another branch, `call` has written nothing.
    pub fn write_with_op<R>(&self, call: impl FnMut(&T) -> io::Result<R>) -> impl Op<Output = io::Result<R>> {
        self.call_op(Direction::Write, "write to descriptor", call)
    }

    /// Who waits for the descriptor.
    pub(crate) fn place(&self, what: &'static str) -> Place<'_> {
        Place {
            file: &self.watched.file,
            fd: Some(self.as_fd()),
            what,
        }
    }

    fn call_op<R>(
        &self,
        direction: Direction,
        what: &'static str,
        mut call: impl FnMut(&T) -> io::Result<R>,
    ) -> impl Op<Output = io::Result<R>> {
        self.try_op(direction, what, move |fd, _| call(&fd.inner))
    }

    /// As above, with what the attempt knows of the descriptor.
    pub(crate) fn try_op<'a, R>(
        &'a self,
        direction: Direction,
        what: &'static str,
        mut call: impl FnMut(&'a Self, &mut Look<'_>) -> io::Result<R>,
    ) -> impl Op<Output = io::Result<R>> {
        io_op(
            &self.watched.file,
            Some(self.as_fd()),
            direction,
            what,
            move |look: &mut Look<'_>| call(self, look),
        )
    }

    /// As above, of a call that needs nothing of its own: the operation can be performed many times.
    pub(crate) fn retry_op<'a, R>(
        &'a self,
        direction: Direction,
        what: &'static str,
        call: impl Fn(&'a Self, &mut Look<'_>) -> io::Result<R> + Clone,
    ) -> impl Op<Output = io::Result<R>> + Clone {
        io_op(
            &self.watched.file,
            Some(self.as_fd()),
            direction,
            what,
            move |look: &mut Look<'_>| call(self, look),
        )
    }

    /// Waits until a read would not block: until there is data, the end of it, or an error to be fetched.
    ///
    /// # Errors
    /// What registering the descriptor fails with; [`Closed`](super::Closed).
    ///
    /// # Blocking
    /// Suspends the fiber, or blocks the thread.
    pub fn readable(&self) -> io::Result<()> {
        self.readable_op().perform()
    }

    /// The operation that is ready when a read would not block. It takes nothing, so others may be faster.
    pub fn readable_op(&self) -> impl Op<Output = io::Result<()>> + Clone {
        self.ready_op(Direction::Read, "descriptor readable:")
    }

    /// Waits until a write would not block: until there is room, or an error to be fetched.
    ///
    /// # Errors
    /// What registering the descriptor fails with; [`Closed`](super::Closed).
    ///
    /// # Blocking
    /// Suspends the fiber, or blocks the thread.
    pub fn writable(&self) -> io::Result<()> {
        self.writable_op().perform()
    }

    /// The operation that is ready when a write would not block. It takes nothing, so others may be faster.
    pub fn writable_op(&self) -> impl Op<Output = io::Result<()>> + Clone {
        self.ready_op(Direction::Write, "descriptor writable:")
    }

    /// Asks the kernel, which knows better than any note of an event.
    fn ready_op(&self, direction: Direction, what: &'static str) -> impl Op<Output = io::Result<()>> + Clone {
        io_op(
            &self.watched.file,
            Some(self.as_fd()),
            direction,
            what,
            move |_: &mut Look<'_>| match sys::is_ready(self.as_fd(), direction)? {
                true => Ok(()),
                false => Err(io::ErrorKind::WouldBlock.into()),
            },
        )
    }

    /// The operation that reads what there is into `buffer`, 0 bytes at the end. If it loses, no byte was taken.
    pub fn read_op<'a>(&'a self, buffer: &'a mut [u8]) -> impl Op<Output = io::Result<usize>> {
        Readable::read_op(self, buffer)
    }

    /// The operation that writes from `buffer` what there is room for. If it loses, no byte was written.
    pub fn write_op<'a>(&'a self, buffer: &'a [u8]) -> impl Op<Output = io::Result<usize>> {
        Writable::write_op(self, buffer)
    }
}

impl<T: AsFd> TryRead for Fd<T> {
    fn read_place(&self) -> Place<'_> {
        self.place("read from descriptor")
    }

    fn try_read(&self, _: &mut Look<'_>, buffer: &mut [u8]) -> io::Result<usize> {
        sys::read(self.as_fd(), buffer)
    }

    fn source(&self) -> Option<BorrowedFd<'_>> {
        Some(self.as_fd())
    }
}

impl<T: AsFd> TryWrite for Fd<T> {
    fn write_place(&self) -> Place<'_> {
        self.place("write to descriptor")
    }

    fn try_write(&self, _: &mut Look<'_>, buffer: &[u8]) -> io::Result<usize> {
        sys::write(self.as_fd(), buffer)
    }

    fn target(&self) -> Option<BorrowedFd<'_>> {
        Some(self.as_fd())
    }
}

impl<T: AsFd> Readable for Fd<T> {}
impl<T: AsFd> Writable for Fd<T> {}

impl<T: AsFd> io::Read for &Fd<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_op(buffer).perform()
    }
}

impl<T: AsFd> io::Write for &Fd<T> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.write_op(buffer).perform()
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<T: AsFd> io::Read for Fd<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buffer)
    }
}

impl<T: AsFd> io::Write for Fd<T> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        (&*self).write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<T: AsFd> AsFd for Fd<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

impl<T: AsFd> AsRawFd for Fd<T> {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl TryFrom<OwnedFd> for Fd<OwnedFd> {
    type Error = io::Error;

    fn try_from(fd: OwnedFd) -> io::Result<Self> {
        Fd::new(fd)
    }
}

impl<T: AsFd + fmt::Debug> fmt::Debug for Fd<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fd")
            .field("inner", &self.inner)
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}
