//! The poller: waits for descriptors, a deadline, and for other threads that want its attention.
//!
//! Everything is edge-triggered: an event tells of a change since the last one, so whoever is woken by it has to try again
//! until the descriptor would block. [`Poller::wait`] belongs to one thread at a time; the rest may be called by any.
//!
//! [`Poller::notify`] goes through an eventfd. Since it is edge-triggered too, each write to it ends a wait, or the next
//! one if none is going on; it is not read after each write, only when its counter is full. So a wake from another thread
//! costs the woken one no further system call.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use crate::prim::plain::{AtomicBool, Ordering};
use crate::sys::{self, EpollEvent};

/// The token of the eventfd, which nobody else may use.
const NOTIFICATION: u64 = u64::MAX;

/// What is waited for on a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interest(u32);

impl Interest {
    pub(crate) const READ: Interest =
        Interest((libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLPRI) as u32);
    pub(crate) const WRITE: Interest = Interest(libc::EPOLLOUT as u32);
    pub(crate) const BOTH: Interest = Interest(Interest::READ.0 | Interest::WRITE.0);

    fn bits(self) -> u32 {
        self.0 | libc::EPOLLET as u32
    }
}

/// What has happened on a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) token: u64,
    bits: u32,
}

impl Event {
    /// A read would not block: data, the end, or an error to be fetched.
    pub(crate) fn is_readable(self) -> bool {
        self.has(
            libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLPRI | libc::EPOLLHUP | libc::EPOLLERR,
        )
    }

    /// A write would not block: room, or an error to be fetched.
    pub(crate) fn is_writable(self) -> bool {
        self.has(libc::EPOLLOUT | libc::EPOLLHUP | libc::EPOLLERR)
    }

    fn has(self, any: libc::c_int) -> bool {
        self.bits & any as u32 != 0
    }
}

/// Room for the events of one wait, allocated once.
pub(crate) struct Events {
    room: Box<[EpollEvent]>,
    filled: usize,
}

impl Events {
    /// Room for `capacity` events (at least one). What does not fit is reported by the next wait.
    pub(crate) fn with_capacity(capacity: usize) -> Events {
        Events {
            room: vec![EpollEvent { events: 0, u64: 0 }; capacity.max(1)].into(),
            filled: 0,
        }
    }

    /// What the last wait has seen, notifications aside.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Event> + '_ {
        self.all().filter(|event| event.token != NOTIFICATION)
    }

    /// Whether the last wait has seen a notification.
    pub(crate) fn notified(&self) -> bool {
        self.all().any(|event| event.token == NOTIFICATION)
    }

    fn all(&self) -> impl Iterator<Item = Event> + '_ {
        self.room[..self.filled].iter().map(|event| Event {
            token: event.u64,
            bits: event.events,
        })
    }
}

/// An epoll instance with an eventfd in it.
#[derive(Debug)]
pub(crate) struct Poller {
    epoll: OwnedFd,
    notification: OwnedFd,
    /// Cleared for good when the kernel turns out to have no `epoll_pwait2`. Relaxed: whoever misses that finds out itself.
    fine: AtomicBool,
}

impl Poller {
    pub(crate) fn new() -> io::Result<Poller> {
        let poller = Poller {
            epoll: sys::epoll_create()?,
            notification: sys::eventfd()?,
            fine: AtomicBool::new(true),
        };
        poller.add(
            poller.notification.as_fd(),
            NOTIFICATION,
            Interest(libc::EPOLLIN as u32),
        )?;
        Ok(poller)
    }

    /// Ends the wait that is going on, or the next one.
    pub(crate) fn notify(&self) -> io::Result<()> {
        loop {
            match sys::write(self.notification.as_fd(), &1u64.to_ne_bytes()) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.drain(),
                result => return result.map(drop),
            }
        }
    }

    /// The counter is full, after 2^64 - 2 writes. Reading resets it.
    #[cold]
    fn drain(&self) {
        let _ = sys::read(self.notification.as_fd(), &mut [0; 8]);
    }

    /// Waits for events, a notification or the end of `timeout` (None: without a limit), whichever is first, and returns
    /// the number of events. May end early, with none: after a notification, or interrupted by a signal.
    pub(crate) fn wait(&self, timeout: Option<Duration>, events: &mut Events) -> io::Result<usize> {
        events.filled = 0;
        events.filled = match self.wait_once(timeout, &mut events.room) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => 0,
            result => result?,
        };
        Ok(events.iter().count())
    }

    fn wait_once(&self, timeout: Option<Duration>, room: &mut [EpollEvent]) -> io::Result<usize> {
        let fine = self.fine.load(Ordering::Relaxed);
        match sys::epoll_wait(self.epoll.as_fd(), room, timeout, fine) {
            // EPERM is what filters for system calls say of those that they do not know yet.
            Err(e) if fine && matches!(e.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => {
                self.fine.store(false, Ordering::Relaxed);
                sys::epoll_wait(self.epoll.as_fd(), room, timeout, false)
            }
            result => result,
        }
    }

    /// Watches a descriptor. Its present state counts as the first change.
    ///
    /// # Errors
    /// `EPERM` for what cannot be waited for (regular files), `ENOSPC` when the user's limit of watches is reached.
    pub(crate) fn add(&self, fd: BorrowedFd<'_>, token: u64, interest: Interest) -> io::Result<()> {
        sys::epoll_add(self.epoll.as_fd(), fd, interest.bits(), token)
    }

    /// Changes what is watched for, and reports the present state once more.
    pub(crate) fn modify(
        &self,
        fd: BorrowedFd<'_>,
        token: u64,
        interest: Interest,
    ) -> io::Result<()> {
        sys::epoll_modify(self.epoll.as_fd(), fd, interest.bits(), token)
    }

    /// Stops watching. To be called before the descriptor is closed: a duplicate of it elsewhere would keep it watched.
    pub(crate) fn delete(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        sys::epoll_delete(self.epoll.as_fd(), fd)
    }
}
