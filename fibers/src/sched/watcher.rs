//! The way of the floors above to the pollers: who watches descriptors, and who is told of their events.
//!
//! A descriptor is watched by the poller of one worker; any thread may change or end that. Events are served by whichever
//! worker sees them: usually that one, an idle one if it is busy for long. What serves them is installed once per runtime,
//! and wakes fibers with [`ready`](super::ready()).

use std::any::Any;
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;

use super::shared::Shared;
use crate::epoll::{Event, Interest};
use crate::prim::plain::Ordering;

/// Serves the descriptors that are watched in a runtime. Lives on a higher floor.
pub(crate) trait Io: Send + Sync {
    /// Something has happened on a descriptor. Called on a worker's own stack, by any worker, with nothing locked.
    fn event(&self, event: Event);
    /// A run has ended, and nobody looks at the pollers until the next one begins. Called with nothing locked, when the workers
    /// have left.
    fn end(&self);
    /// Itself, for whoever installed it.
    fn as_any(&self) -> &(dyn Any + Send + Sync);
}

/// The poller of one worker. Keeps the memory of the runtime, not the runtime.
#[derive(Clone)]
pub(crate) struct Watcher {
    shared: Arc<Shared>,
    index: usize,
}

impl Watcher {
    pub(super) fn new(shared: &Arc<Shared>, index: usize) -> Watcher {
        Watcher {
            shared: shared.clone(),
            index,
        }
    }

    /// What serves the events of this runtime; made now if this is the first call.
    pub(crate) fn io(&self, make: impl FnOnce() -> Box<dyn Io>) -> &dyn Io {
        &**self.shared.io.get_or_init(make)
    }

    /// Watches a descriptor. While one is watched the workers look at their pollers, and nothing is a deadlock.
    ///
    /// # Errors
    /// As [`Poller::add`](crate::epoll::Poller::add).
    pub(crate) fn add(&self, fd: BorrowedFd<'_>, token: u64, interest: Interest) -> io::Result<()> {
        self.shared.workers[self.index].poller.add(fd, token, interest)?;
        self.shared.descriptors.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Stops watching what `add` has begun to. To be called before the descriptor is closed.
    ///
    /// # Errors
    /// As [`Poller::delete`](crate::epoll::Poller::delete); it counts as not watched all the same.
    pub(crate) fn delete(&self, fd: impl AsRawFd) -> io::Result<()> {
        self.shared.descriptors.fetch_sub(1, Ordering::Relaxed);
        self.shared.workers[self.index].poller.delete(fd)
    }
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher").field("worker", &self.index).finish_non_exhaustive()
    }
}
