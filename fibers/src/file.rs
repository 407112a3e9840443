//! Readiness of descriptors: who watches them, who waits for them, and how the two meet.
//!
//! A [`File`] stands beside a descriptor that never blocks. Whoever wants something of the descriptor tries the system call
//! first; only one that would block waits here, until something has changed on the descriptor, and then tries again. So readiness
//! is nowhere stored: the kernel knows it, and the attempt is the question.
//!
//! # How no change is lost
//! Each direction has a *tick*, which counts the events that have come in. A performer reads it before the system call; if the call
//! would block, it waits only while the tick is still the same, which is looked at under the lock under which it is queued. An
//! event that comes between the call and the queue has changed the tick. (Tokio does the same with the tick in its `ScheduledIo`,
//! where it says which event a "not ready" belongs to. The idea is that of event counts, Reed and Kanodia 1979.)
//!
//! The descriptor is watched edge-triggered, so what changes after a call that would have blocked is a new event, and registering
//! it reports its present state once. An event tells *all* who wait in its direction to look again: it may stand for any number
//! of bytes or connections. They find out who gets what by their calls, so a wake that its waiter does not use is not lost to
//! the others.
//!
//! # Who watches
//! A descriptor is registered at the first wait for it, and once: with the poller of the worker whose fiber waits, or with the
//! [driver] on a thread that is no fiber. Whoever waits later finds it registered, in whatever runtime. When the run
//! of that runtime ends nobody looks at its pollers any more: the descriptor is deregistered, all who wait are told to look again,
//! and register it where they are. So nobody registers with a runtime but its own fibers, and nobody waits for one that has ended.
//! (While it runs, whoever waits relies on its workers: if every one of them is held up by a call that blocks, so are those who
//! wait elsewhere for a descriptor that is registered there.)
//!
//! # Closing
//! Closing deregisters, before the descriptor itself is closed: a duplicate of it elsewhere would keep it watched. Then it tells
//! all who wait to look again, and they find it closed. Events that were under way name a registration that is gone, by a number
//! that is never used again, and are dropped.

mod driver;
mod registry;
mod waiting;

pub(crate) use waiting::{Call, Look, call_op, io_op};

use crate::epoll::{Event, Interest};
use crate::op::cell::{Batch, Queue, Source, State};
use crate::prim::plain::AtomicBool;
use crate::prim::{Arc, AtomicU32, Ordering};
use crate::sched::{self, Watcher};
use driver::Driver;
use registry::Registry;
use std::error::Error;
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a descriptor is waited for.
pub(crate) use crate::sys::Ready as Direction;

/// Nobody watches it.
const UNWATCHED: u32 = 0;
/// Somebody does.
const WATCHED: u32 = 1;
/// It is closed, for good.
const CLOSED: u32 = 2;

/// The waiters of one descriptor, and who watches it for them.
pub(crate) struct File {
    read: Side,
    write: Side,
    /// One of the above. Changed under the lock of `home`, to [`WATCHED`] after everything else, from it before everything else.
    state: AtomicU32,
    home: Mutex<Option<Home>>,
}

/// One direction of a descriptor.
struct Side {
    source: Source<Waiters>,
    /// Changed under the lock of the source, Release; read before a system call, Acquire, and again under that lock.
    tick: AtomicU32,
    /// The tick, plus one, at which a call took less than it could have: there is nothing more before the tick changes. 0: none.
    drained: AtomicU32,
    /// Something else than data has come, so that a call which takes less than it could says nothing about the next one.
    special: AtomicBool,
}

/// Those who wait for a change.
pub(crate) struct Waiters {
    queue: Queue<()>,
}

impl State for Waiters {
    fn readiness(&self) -> u32 {
        0
    }
}

/// Where a descriptor is registered.
struct Home {
    watch: Watch,
    token: u64,
    fd: RawFd,
}

/// Who watches.
#[derive(Clone)]
enum Watch {
    Worker(Watcher),
    Driver(&'static Driver),
}

impl File {
    pub(crate) fn new() -> Arc<File> {
        Arc::new(File {
            read: Side::new(),
            write: Side::new(),
            state: AtomicU32::new(UNWATCHED),
            home: Mutex::new(None),
        })
    }

    fn side(&self, direction: Direction) -> &Side {
        match direction {
            Direction::Read => &self.read,
            Direction::Write => &self.write,
        }
    }

    fn home(&self) -> MutexGuard<'_, Option<Home>> {
        self.home.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Acquire: pairs with the Release of whoever closed it.
    pub(crate) fn is_closed(&self) -> bool {
        self.state.load(Ordering::Acquire) == CLOSED
    }

    /// Makes sure that somebody watches.
    ///
    /// # Errors
    /// What registering fails with, such as `ENOSPC`; [`Closed`].
    fn watch(self: &Arc<File>, fd: BorrowedFd<'_>) -> io::Result<()> {
        // Acquire: if it is given up after this, the tick changes, and the waiter looks again.
        match self.state.load(Ordering::Acquire) {
            WATCHED => Ok(()),
            _ => self.begin_to_watch(fd),
        }
    }

    #[cold]
    fn begin_to_watch(self: &Arc<File>, fd: BorrowedFd<'_>) -> io::Result<()> {
        let mut home = self.home();
        match self.state.load(Ordering::Relaxed) {
            WATCHED => return Ok(()),
            CLOSED => return Err(closed()),
            _ => {}
        }
        let watch = Watch::here()?;
        let token = watch.registry().insert(self.clone());
        if let Err(error) = watch.add(fd, token) {
            watch.registry().remove(token);
            return Err(explain(error));
        }
        let fd = fd.as_raw_fd();
        *home = Some(Home { watch, token, fd });
        self.state.store(WATCHED, Ordering::Release);
        Ok(())
    }

    /// Ends the watch, and all waits with an error, now and later. To be called before the descriptor is closed.
    pub(crate) fn close(&self) {
        let mut home = self.home();
        self.state.store(CLOSED, Ordering::Release);
        if let Some(home) = home.take() {
            home.watch.registry().remove(home.token);
            home.leave();
        }
        drop(home);
        self.read.wake();
        self.write.wake();
    }

    /// The one who watched under this token does so no longer.
    fn orphan(&self, token: u64) {
        let mut home = self.home();
        if home.as_ref().is_none_or(|home| home.token != token) {
            return; // closed meanwhile
        }
        self.state.store(UNWATCHED, Ordering::Release);
        if let Some(home) = home.take() {
            home.leave();
        }
        drop(home);
        self.read.wake();
        self.write.wake();
    }

    /// Something has changed in this direction, where there is no descriptor of which an event would tell.
    pub(crate) fn changed(&self, direction: Direction) {
        self.side(direction).wake();
    }

    /// Something has changed on the descriptor.
    fn event(&self, event: Event) {
        if event.is_readable() {
            if event.is_special() {
                // Before the tick: whoever has seen the new one sees this.
                self.read.special.store(true, Ordering::Relaxed);
            }
            self.read.wake();
        }
        if event.is_writable() {
            self.write.wake();
        }
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File")
            .field("closed", &self.is_closed())
            .field("watched", &(self.state.load(Ordering::Relaxed) == WATCHED))
            .finish_non_exhaustive()
    }
}

impl Side {
    fn new() -> Side {
        Side {
            source: Source::new(Waiters { queue: Queue::new() }),
            tick: AtomicU32::new(0),
            drained: AtomicU32::new(0),
            special: AtomicBool::new(false),
        }
    }

    fn tick(&self) -> u32 {
        self.tick.load(Ordering::Acquire)
    }

    /// Tells all who wait, and those who are about to, to look again.
    fn wake(&self) {
        /// A batch holds no more.
        const AT_A_TIME: usize = 16;
        let here = sched::here();
        let mut batch = Batch::new();
        let mut state = self.source.lock();
        self.tick
            .store(self.tick.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
        // Those who come in between know the new tick, and stand behind.
        let mut left = state.queue.len();
        loop {
            let more = state.queue.retry_all(&mut batch);
            drop(state);
            batch.wake(here);
            if !more || left <= AT_A_TIME {
                return;
            }
            left -= AT_A_TIME;
            state = self.source.lock();
        }
    }
}

impl Home {
    fn leave(&self) {
        // Fails if the descriptor was closed behind our back, and then there is nothing left to end.
        let _ = match &self.watch {
            Watch::Worker(watcher) => watcher.delete(self.fd),
            Watch::Driver(driver) => driver.delete(self.fd),
        };
    }
}

impl Watch {
    /// Who watches for the caller.
    fn here() -> io::Result<Watch> {
        match sched::here() {
            Some(here) => Ok(Watch::Worker(here.watcher())),
            None => driver::get().map(Watch::Driver),
        }
    }

    fn registry(&self) -> &Registry {
        match self {
            Watch::Worker(watcher) => watcher
                .io(|| Box::new(Registry::new()))
                .as_any()
                .downcast_ref()
                .expect("a runtime has one registry of descriptors"),
            Watch::Driver(driver) => driver.registry(),
        }
    }

    fn add(&self, fd: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        match self {
            Watch::Worker(watcher) => watcher.add(fd, token, Interest::BOTH),
            Watch::Driver(driver) => driver.add(fd, token),
        }
    }
}

/// Says what is to be done about an error of the registration.
#[cold]
fn explain(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(libc::EPERM) => unwatchable(),
        Some(libc::ENOSPC) => io::Error::new(
            error.kind(),
            format!("{error}: the user watches too many descriptors (see /proc/sys/fs/epoll/max_user_watches)"),
        ),
        _ => error,
    }
}

/// The error for what can be read and written, but not waited for.
#[cold]
pub(crate) fn unwatchable() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        "regular files and directories cannot be waited for: use them on the blocking pool (spawn_blocking)",
    )
}

/// What an [`io::Error`] carries when something was tried with a descriptor, socket or pipe after its `close`.
///
/// ```
/// use fibers::io::{Closed, Fd};
/// let (reader, _writer) = std::io::pipe().unwrap();
/// let reader = Fd::new(reader).unwrap();
/// reader.close();
/// let error = reader.readable().unwrap_err();
/// assert!(error.get_ref().is_some_and(|e| e.is::<Closed>()));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it has been closed on this side")
    }
}

impl Error for Closed {}

/// Of kind `NotConnected`: no other kind of std comes nearer, and those that mean "try again" would make loops spin.
#[cold]
fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, Closed)
}
