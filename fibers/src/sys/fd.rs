//! Descriptors: eventfd, epoll, reading, writing, closing.
#![expect(unsafe_code, reason = "buffers and descriptors are handed to the kernel")]

use std::fs::OpenOptions;
use std::io::{self, IsTerminal};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::ptr;
use std::time::Duration;

use super::{check, uninterrupted};

/// A readiness event as the kernel writes it: `events` are EPOLL bits, `u64` is the token.
pub(crate) type EpollEvent = libc::epoll_event;

/// A counter that can be waited for; never blocks.
pub(crate) fn eventfd() -> io::Result<OwnedFd> {
    seam!(Eventfd);
    // SAFETY: creates a descriptor and touches no memory.
    let fd = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
    // SAFETY: the kernel has just given the descriptor to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

pub(crate) fn epoll_create() -> io::Result<OwnedFd> {
    seam!(EpollCreate);
    // SAFETY: creates a descriptor and touches no memory.
    let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
    // SAFETY: the kernel has just given the descriptor to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

pub(crate) fn epoll_add(epoll: BorrowedFd<'_>, fd: BorrowedFd<'_>, events: u32, token: u64) -> io::Result<()> {
    epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, events, token)
}

pub(crate) fn epoll_modify(epoll: BorrowedFd<'_>, fd: BorrowedFd<'_>, events: u32, token: u64) -> io::Result<()> {
    epoll_ctl(epoll, libc::EPOLL_CTL_MOD, fd, events, token)
}

/// By number: whoever owns the descriptor may have closed it already, which is an error and nothing else.
pub(crate) fn epoll_delete(epoll: BorrowedFd<'_>, fd: RawFd) -> io::Result<()> {
    epoll_ctl(epoll, libc::EPOLL_CTL_DEL, fd, 0, 0)
}

fn epoll_ctl(epoll: BorrowedFd<'_>, call: i32, fd: impl AsRawFd, events: u32, token: u64) -> io::Result<()> {
    seam!(EpollCtl);
    let mut event = EpollEvent { events, u64: token };
    // SAFETY: `event` lives across the call; the kernel keeps a copy.
    check(unsafe { libc::epoll_ctl(epoll.as_raw_fd(), call, fd.as_raw_fd(), &mut event) }).map(drop)
}

/// Waits for events, at most for `timeout` (None: without a limit), and fills `events` from its beginning.
/// `fine`: with `epoll_pwait2`, to the nanosecond; otherwise with `epoll_wait`, rounded up to milliseconds.
pub(crate) fn epoll_wait(
    epoll: BorrowedFd<'_>,
    events: &mut [EpollEvent],
    timeout: Option<Duration>,
    fine: bool,
) -> io::Result<usize> {
    let count = if fine {
        wait_fine(epoll, events, timeout)?
    } else {
        wait_coarse(epoll, events, timeout)?
    };
    Ok(count as usize)
}

/// Through `syscall`, since the C library has a function for it only since glibc 2.35.
fn wait_fine(epoll: BorrowedFd<'_>, events: &mut [EpollEvent], timeout: Option<Duration>) -> io::Result<libc::c_long> {
    seam!(EpollPwait2);
    let limit = timeout.map(|t| libc::timespec {
        tv_sec: t.as_secs().min(libc::time_t::MAX as u64) as libc::time_t,
        tv_nsec: t.subsec_nanos().into(),
    });
    let limit = limit.as_ref().map_or(ptr::null(), ptr::from_ref);
    let room = i32::try_from(events.len()).unwrap_or(i32::MAX);
    // SAFETY: `events` has room for `room` events, `limit` is null or points to a time that lives across the call, and no
    // signal mask is given.
    check(unsafe {
        libc::syscall(
            libc::SYS_epoll_pwait2,
            epoll.as_raw_fd(),
            events.as_mut_ptr(),
            room,
            limit,
            ptr::null::<libc::sigset_t>(),
            0usize,
        )
    })
}

fn wait_coarse(epoll: BorrowedFd<'_>, events: &mut [EpollEvent], timeout: Option<Duration>) -> io::Result<libc::c_long> {
    seam!(EpollWait);
    let millis = timeout.map_or(-1, |t| i32::try_from(t.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX));
    let room = i32::try_from(events.len()).unwrap_or(i32::MAX);
    // SAFETY: `events` has room for `room` events.
    let count = check(unsafe { libc::epoll_wait(epoll.as_raw_fd(), events.as_mut_ptr(), room, millis) })?;
    Ok(count.into())
}

/// Reads into `buffer`; 0 is the end. Repeated when interrupted.
pub(crate) fn read(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    uninterrupted(|| {
        let len = seam_len!(Read, buffer.len());
        // SAFETY: `buffer` has room for `len` bytes.
        let count = check(unsafe { libc::read(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), len) })?;
        Ok(count as usize)
    })
}

/// Reads from a file what is in memory already, at `offset` or (`None`) at its cursor, which moves. Where that is nothing, or the file
/// system cannot tell, this is an error, and where it is 0, it need not be the end (preadv2(2), bugs).
pub(crate) fn read_cached(fd: BorrowedFd<'_>, buffer: &mut [u8], offset: Option<u64>) -> io::Result<usize> {
    let len = seam_len!(ReadCached, buffer.len());
    let part = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: len,
    };
    let offset = match offset {
        None => -1,
        Some(offset) => i64::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?,
    };
    // On 64 bits the offset is in its lower half; the other one is shifted out.
    // SAFETY: `part` says where there is room for `len` bytes, and lives across the call.
    let count = check(unsafe { libc::syscall(libc::SYS_preadv2, fd.as_raw_fd(), &part, 1, offset, 0, libc::RWF_NOWAIT) })?;
    Ok(count as usize)
}

/// Writes from `buffer`, perhaps less than all of it. Repeated when interrupted.
pub(crate) fn write(fd: BorrowedFd<'_>, buffer: &[u8]) -> io::Result<usize> {
    uninterrupted(|| {
        let len = seam_len!(Write, buffer.len());
        // SAFETY: `buffer` holds `len` bytes.
        let count = check(unsafe { libc::write(fd.as_raw_fd(), buffer.as_ptr().cast(), len) })?;
        Ok(count as usize)
    })
}

/// Sends from a file, from `offset` on, without moving its cursor; 0 is its end. Repeated when interrupted.
pub(crate) fn send_file(to: BorrowedFd<'_>, file: BorrowedFd<'_>, offset: u64, len: usize) -> io::Result<usize> {
    let offset = i64::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
    uninterrupted(|| {
        let len = seam_len!(SendFile, len);
        let mut offset = offset;
        // SAFETY: `offset` is read and written during the call.
        let count = check(unsafe { libc::sendfile(to.as_raw_fd(), file.as_raw_fd(), &mut offset, len) })?;
        Ok(count as usize)
    })
}

/// Moves bytes between two descriptors, one of which is a pipe; 0 is the end. Does not wait for the pipe; whether it waits for the other one is
/// up to that. Repeated when interrupted.
pub(crate) fn splice(from: BorrowedFd<'_>, to: BorrowedFd<'_>, len: usize) -> io::Result<usize> {
    uninterrupted(|| {
        let len = seam_len!(Splice, len);
        let flags = libc::SPLICE_F_MOVE | libc::SPLICE_F_NONBLOCK;
        // SAFETY: no offsets are given, so no memory is involved.
        let count =
            check(unsafe { libc::splice(from.as_raw_fd(), ptr::null_mut(), to.as_raw_fd(), ptr::null_mut(), len, flags) })?;
        Ok(count as usize)
    })
}

/// What may be asked of a descriptor without waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ready {
    /// A read would not block: data, the end, or an error to be fetched.
    Read,
    /// A write would not block: room, or an error to be fetched.
    Write,
}

/// Whether a read or a write would not block now. Hang-ups and errors count as ready.
pub(crate) fn is_ready(fd: BorrowedFd<'_>, what: Ready) -> io::Result<bool> {
    uninterrupted(|| {
        seam!(Poll);
        poll(fd, what, 0)
    })
}

/// Waits for so many milliseconds, or (-1) for ever.
fn poll(fd: BorrowedFd<'_>, what: Ready, timeout: i32) -> io::Result<bool> {
    let events = match what {
        Ready::Read => libc::POLLIN | libc::POLLRDHUP | libc::POLLPRI,
        Ready::Write => libc::POLLOUT,
    };
    let mut asked = libc::pollfd {
        fd: fd.as_raw_fd(),
        events,
        revents: 0,
    };
    // SAFETY: `asked` is one place for an answer, and lives across the call.
    check(unsafe { libc::poll(&mut asked, 1, timeout) })?;
    Ok(asked.revents != 0)
}

/// Makes calls on the open file fail with `EAGAIN` instead of blocking, or block again. Returns whether they blocked before.
pub(crate) fn set_nonblocking(fd: BorrowedFd<'_>, nonblocking: bool) -> io::Result<bool> {
    seam!(Fcntl);
    // SAFETY: asks for flags; no memory is involved.
    let flags = check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) })?;
    let wanted = match nonblocking {
        true => flags | libc::O_NONBLOCK,
        false => flags & !libc::O_NONBLOCK,
    };
    if wanted != flags {
        // SAFETY: sets flags; no memory is involved.
        check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, wanted) })?;
    }
    Ok(flags & libc::O_NONBLOCK == 0)
}

/// Waits until a read or a write would not block. For threads that run no fibers.
pub(crate) fn wait_ready(fd: BorrowedFd<'_>, what: Ready) -> io::Result<()> {
    uninterrupted(|| {
        seam!(Poll);
        poll(fd, what, -1).map(drop)
    })
}

/// What a descriptor is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A regular file, a directory or a disk: what cannot be waited for, although it may block.
    File,
    Pipe,
    Socket,
    /// Of a terminal, the side of the programs that run in it.
    Terminal,
    Other,
}

pub(crate) fn kind(fd: BorrowedFd<'_>) -> io::Result<Kind> {
    seam!(Fstat);
    let mut stat = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: `stat` has room for the answer.
    check(unsafe { libc::fstat(fd.as_raw_fd(), stat.as_mut_ptr()) })?;
    // SAFETY: the call has succeeded, so it has filled `stat`.
    let kind = unsafe { stat.assume_init() }.st_mode & libc::S_IFMT;
    Ok(match kind {
        libc::S_IFREG | libc::S_IFDIR | libc::S_IFBLK => Kind::File,
        libc::S_IFIFO => Kind::Pipe,
        libc::S_IFSOCK => Kind::Socket,
        libc::S_IFCHR if fd.is_terminal() && !is_terminal_master(fd) => Kind::Terminal,
        _ => Kind::Other,
    })
}

/// Whether it is a regular file, a directory or a disk.
pub(crate) fn is_file(fd: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(kind(fd)? == Kind::File)
}

/// Of a pseudoterminal, the side of the program that shows it. To open that anew makes another terminal.
fn is_terminal_master(fd: BorrowedFd<'_>) -> bool {
    let mut number: libc::c_uint = 0;
    // SAFETY: `number` is the place for the answer.
    unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCGPTN, &mut number) == 0 }
}

/// Opens a pipe or a terminal anew, to read or to write it: another open file, which never blocks.
///
/// # Errors
/// If the system does not allow it, such as without `/proc`; `ENXIO` to write to a pipe that nobody reads.
pub(crate) fn reopen(fd: BorrowedFd<'_>, what: Ready) -> io::Result<OwnedFd> {
    seam!(Open);
    let file = OpenOptions::new()
        .read(what == Ready::Read)
        .write(what == Ready::Write)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(format!("/proc/self/fd/{}", fd.as_raw_fd()))?;
    Ok(file.into())
}

/// Closes a descriptor and tells how that went. It is closed even if an error is reported, and so never tried again.
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "for whoever wants to know how closing went; the others drop")
)]
pub(crate) fn close(fd: OwnedFd) -> io::Result<()> {
    seam!(Close);
    // SAFETY: the descriptor was owned and is given up here.
    check(unsafe { libc::close(fd.into_raw_fd()) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fault::{Call, Fault, scoped};
    use std::os::fd::AsFd;

    #[test]
    fn interrupted_reads_are_repeated() {
        let (reader, writer) = io::pipe().unwrap();
        assert_eq!(write(writer.as_fd(), b"hello").unwrap(), 5);
        let _fault = scoped(
            Call::Read,
            Fault {
                after: 0,
                times: 3,
                errno: libc::EINTR,
            },
        );
        let mut buffer = [0; 8];
        assert_eq!(read(reader.as_fd(), &mut buffer).unwrap(), 5);
        assert_eq!(&buffer[..5], b"hello");
    }

    #[test]
    fn short_transfers() {
        let (reader, writer) = io::pipe().unwrap();
        let _fault = scoped(Call::Write, Fault::short(2));
        assert_eq!(write(writer.as_fd(), b"hello").unwrap(), 2);
        let _fault = scoped(Call::Read, Fault::short(1));
        let mut buffer = [0; 8];
        assert_eq!(read(reader.as_fd(), &mut buffer).unwrap(), 1);
    }

    #[test]
    fn a_failed_close_closes_nonetheless() {
        let (reader, writer) = io::pipe().unwrap();
        let _fault = scoped(Call::Close, Fault::always(libc::EIO));
        assert!(close(writer.into()).is_err());
        assert_eq!(read(reader.as_fd(), &mut [0; 8]).unwrap(), 0, "the writing end is closed");
    }
}
