//! The thread that watches descriptors for those who are no fibers.
//!
//! One per process, started when a plain thread first waits for a descriptor that nobody watches. It serves events and runs no
//! code of users. It never ends; while it watches nothing it does nothing, and nobody takes it for a thread that might wake a fiber.
//! (Timers need no driver: a plain thread is its own clock.)

use super::registry::Registry;
use crate::epoll::{Events, Interest, Poller};
use crate::prim::Arc;
use crate::sched::{Bystander, Io};
use crate::sys;
use std::io;
use std::os::fd::{BorrowedFd, RawFd};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Events fetched at a time.
const EVENTS: usize = 64;

pub(super) struct Driver {
    poller: Poller,
    registry: Registry,
    /// How many descriptors are watched.
    watched: Mutex<usize>,
    bystander: Bystander,
}

/// The driver of the process; started by the first call.
///
/// # Errors
/// If there is no descriptor or no thread for it. The next call tries again.
pub(super) fn get() -> io::Result<&'static Driver> {
    static DRIVER: Mutex<Option<&'static Driver>> = Mutex::new(None);
    let mut driver = DRIVER.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(driver) = *driver {
        return Ok(driver);
    }
    let new = Arc::new(Driver {
        poller: Poller::new()?,
        registry: Registry::new(),
        watched: Mutex::new(0),
        bystander: Bystander::new(),
    });
    let theirs = new.clone();
    sys::spawn_thread("fibers-driver".into(), move || theirs.serve())?;
    // Not before there is somebody who serves it: it would be lost, with its descriptors, at each try.
    let new: &'static Driver = Box::leak(Box::new(new));
    *driver = Some(new);
    Ok(new)
}

impl Driver {
    pub(super) fn registry(&self) -> &Registry {
        &self.registry
    }

    pub(super) fn add(&self, fd: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        self.count(|watched| watched + 1);
        let added = self.poller.add(fd, token, Interest::BOTH);
        if added.is_err() {
            self.count(|watched| watched - 1);
        }
        added
    }

    pub(super) fn delete(&self, fd: RawFd) -> io::Result<()> {
        self.count(|watched| watched - 1);
        self.poller.delete(fd)
    }

    fn count(&self, change: impl FnOnce(usize) -> usize) {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        *watched = change(*watched);
        match *watched {
            // The thread may still be serving an event: only itself knows when it is done.
            0 => drop(self.poller.notify()),
            _ => self.bystander.set(false),
        }
    }

    /// Says whether there is anything that this thread might wake somebody for, now that all events have been served.
    fn account(&self) {
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        self.bystander.set(*watched == 0);
    }

    fn serve(&self) {
        let mut events = Events::with_capacity(EVENTS);
        loop {
            self.account();
            match self.poller.wait(None, &mut events) {
                Ok(_) => events.iter().for_each(|event| self.registry.event(event)),
                // The poller is broken, which only a program that closes foreign descriptors achieves.
                Err(_) => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }
}
