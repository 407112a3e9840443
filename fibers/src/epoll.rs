//! The poller: waits for descriptors, a deadline, and for other threads that want its attention.
//!
//! Everything is edge-triggered: an event tells of a change since the last one, so whoever is woken by it has to try again
//! until the descriptor would block. [`Poller::wait`] belongs to one thread at a time; the rest may be called by any.
//!
//! [`Poller::notify`] goes through an eventfd. Since it is edge-triggered too, each write to it ends a wait, or the next
//! one if none is going on; it is not read after each write, only when its counter is full. So a wake from another thread
//! costs the woken one no further system call.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use crate::prim::plain::{AtomicBool, Ordering};
use crate::sys::{self, EpollEvent};

/// The token of the eventfd, which nobody else may use.
const NOTIFICATION: u64 = u64::MAX;

/// What is waited for on a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interest(u32);

impl Interest {
    pub(crate) const READ: Interest = Interest((libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLPRI) as u32);
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
        self.has(libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLPRI | libc::EPOLLHUP | libc::EPOLLERR)
    }

    /// A write would not block: room, or an error to be fetched.
    pub(crate) fn is_writable(self) -> bool {
        self.has(libc::EPOLLOUT | libc::EPOLLHUP | libc::EPOLLERR)
    }

    /// Something else than data has come: the end of it, urgent data, or an error.
    pub(crate) fn is_special(self) -> bool {
        self.has(libc::EPOLLRDHUP | libc::EPOLLPRI | libc::EPOLLHUP | libc::EPOLLERR)
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
        poller.add(poller.notification.as_fd(), NOTIFICATION, Interest(libc::EPOLLIN as u32))?;
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
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "descriptors are watched for everything from the beginning")
    )]
    pub(crate) fn modify(&self, fd: BorrowedFd<'_>, token: u64, interest: Interest) -> io::Result<()> {
        sys::epoll_modify(self.epoll.as_fd(), fd, interest.bits(), token)
    }

    /// Stops watching. To be called before the descriptor is closed: a duplicate of it elsewhere would keep it watched.
    pub(crate) fn delete(&self, fd: impl AsRawFd) -> io::Result<()> {
        sys::epoll_delete(self.epoll.as_fd(), fd.as_raw_fd())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fault::{Call, Fault, scoped};
    use std::sync::Arc;
    use std::thread;
    use std::time::Instant;

    const LONG: Option<Duration> = Some(Duration::from_secs(20));
    const NOW: Option<Duration> = Some(Duration::ZERO);

    fn wait(poller: &Poller, timeout: Option<Duration>) -> (Vec<Event>, bool, Duration) {
        let mut events = Events::with_capacity(8);
        let start = Instant::now();
        let count = poller.wait(timeout, &mut events).unwrap();
        assert_eq!(count, events.iter().count());
        (events.iter().collect(), events.notified(), start.elapsed())
    }

    #[test]
    fn a_notification_ends_one_wait() {
        let poller = Poller::new().unwrap();
        for _ in 0..3 {
            poller.notify().unwrap();
            poller.notify().unwrap();
            let (events, notified, took) = wait(&poller, LONG);
            assert!(events.is_empty() && notified && took < Duration::from_secs(10));
            assert!(!wait(&poller, NOW).1, "seen once");
        }
    }

    #[test]
    fn a_notification_from_another_thread_ends_an_endless_wait() {
        let poller = Arc::new(Poller::new().unwrap());
        for limit in [None, Some(Duration::MAX)] {
            let notifier = Arc::clone(&poller);
            let thread = thread::spawn(move || {
                thread::sleep(Duration::from_millis(20));
                notifier.notify().unwrap();
            });
            while !wait(&poller, limit).1 {}
            thread.join().unwrap();
        }
    }

    #[test]
    fn no_notification_is_lost() {
        const ROUNDS: usize = 20_000;
        let there = Arc::new(Poller::new().unwrap());
        let back = Arc::new(Poller::new().unwrap());
        let (its_there, its_back) = (Arc::clone(&there), Arc::clone(&back));
        let echo = thread::spawn(move || {
            for _ in 0..ROUNDS {
                while !wait(&its_there, LONG).1 {}
                its_back.notify().unwrap();
            }
        });
        for _ in 0..ROUNDS {
            there.notify().unwrap();
            let (_, notified, took) = wait(&back, LONG);
            assert!(notified && took < Duration::from_secs(10));
        }
        echo.join().unwrap();
    }

    #[test]
    fn a_full_counter_still_notifies() {
        let poller = Poller::new().unwrap();
        sys::write(poller.notification.as_fd(), &(u64::MAX - 1).to_ne_bytes()).unwrap();
        assert!(wait(&poller, NOW).1);
        poller.notify().unwrap();
        assert!(wait(&poller, NOW).1);
    }

    #[test]
    fn timeouts_are_never_early_and_finer_than_milliseconds() {
        let poller = Poller::new().unwrap();
        let mut best = Duration::MAX;
        for _ in 0..50 {
            let (events, notified, took) = wait(&poller, Some(Duration::from_micros(200)));
            assert!(events.is_empty() && !notified);
            assert!(took >= Duration::from_micros(200), "{took:?}");
            best = best.min(took);
        }
        let coarse = !poller.fine.load(Ordering::Relaxed);
        assert!(coarse || best < Duration::from_millis(1), "{best:?}");
        assert!(wait(&poller, NOW).2 < Duration::from_millis(100));
    }

    #[test]
    fn older_kernels_wait_in_milliseconds() {
        for errno in [libc::ENOSYS, libc::EPERM] {
            let _fault = scoped(Call::EpollPwait2, Fault::always(errno));
            let poller = Poller::new().unwrap();
            let (_, _, took) = wait(&poller, Some(Duration::from_micros(200)));
            assert!(took >= Duration::from_micros(200), "{took:?}");
            poller.notify().unwrap();
            assert!(wait(&poller, Some(Duration::MAX)).1);
            poller.notify().unwrap();
            assert!(wait(&poller, None).1);
        }
    }

    #[test]
    fn an_interrupted_wait_is_an_early_one() {
        let poller = Poller::new().unwrap();
        let _fault = scoped(
            Call::EpollPwait2,
            Fault {
                after: 0,
                times: 1,
                errno: libc::EINTR,
            },
        );
        assert!(wait(&poller, LONG).2 < Duration::from_secs(10));
        let mut events = Events::with_capacity(1);
        let _fault = scoped(Call::EpollPwait2, Fault::always(libc::EBADF));
        assert!(poller.wait(NOW, &mut events).is_err());
    }

    #[test]
    fn edges_are_reported_once() {
        let poller = Poller::new().unwrap();
        let (reader, writer) = io::pipe().unwrap();
        poller.add(reader.as_fd(), 7, Interest::READ).unwrap();
        poller.add(writer.as_fd(), 8, Interest::BOTH).unwrap();
        let (events, ..) = wait(&poller, NOW);
        assert_eq!(
            events
                .iter()
                .map(|e| (e.token, e.is_readable(), e.is_writable()))
                .collect::<Vec<_>>(),
            [(8, false, true)]
        );
        sys::write(writer.as_fd(), b"x").unwrap();
        let (events, notified, _) = wait(&poller, NOW);
        assert!(!notified && events.iter().any(|e| e.token == 7 && e.is_readable()));
        assert!(!wait(&poller, NOW).0.iter().any(|e| e.token == 7), "no change since");
        poller.modify(reader.as_fd(), 9, Interest::READ).unwrap();
        assert!(
            wait(&poller, NOW).0.iter().any(|e| e.token == 9),
            "the present state, under the new token"
        );
        drop(writer);
        assert!(
            wait(&poller, NOW).0.iter().any(|e| e.token == 9 && e.is_readable()),
            "the end is readable"
        );
        poller.delete(reader.as_fd()).unwrap();
        assert!(wait(&poller, NOW).0.is_empty());
    }

    #[test]
    fn what_cannot_be_watched_is_an_error() {
        let poller = Poller::new().unwrap();
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        let error = poller.add(file.as_fd(), 1, Interest::READ).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EPERM));
        for call in [Call::EpollCreate, Call::Eventfd, Call::EpollCtl] {
            let _fault = scoped(call, Fault::always(libc::EMFILE));
            assert_eq!(Poller::new().unwrap_err().raw_os_error(), Some(libc::EMFILE));
        }
    }
}
