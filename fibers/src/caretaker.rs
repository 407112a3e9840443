//! One thread of the process that looks after descriptors which belong to no fiber and no runtime: children whose handle was
//! dropped, the signals that have arrived, the clock that may be set.
//!
//! It is started when there is first something to look after, and never ends; it costs nothing while nothing happens. It runs no
//! code of users and waits for nothing but its poller. While it has to wake somebody for a reason that no runtime knows of, it
//! counts as a thread that might do so ([`expect_more`]); otherwise no deadlock detection waits for it.

use crate::epoll::{Events, Interest, Poller};
use crate::op::cell::{Batch, Queue, Source, State};
use crate::prim::Arc;
use crate::sched::{self, Bystander};
use crate::sys;
use slab::Slab;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Something with a descriptor that is looked after.
pub(crate) trait Ward: Send {
    /// What is watched, edge-triggered; always the same.
    fn fd(&self) -> BorrowedFd<'_>;
    /// Something has happened on it, or might have. Returns whether to go on. Called with nothing locked, never twice at a time.
    fn tend(&mut self) -> bool;
}

struct Caretaker {
    poller: Poller,
    /// `None` while one is being tended.
    wards: Mutex<Slab<Option<Box<dyn Ward>>>>,
    /// How many expect to be woken by this thread, with nobody else to do it.
    expecting: Mutex<usize>,
    bystander: Bystander,
}

/// The thread; started by the first call.
///
/// # Errors
/// If there is no descriptor or no thread for it. The next call tries again.
fn get() -> io::Result<&'static Caretaker> {
    static CARETAKER: Mutex<Option<&'static Caretaker>> = Mutex::new(None);
    let mut caretaker = lock(&CARETAKER);
    if let Some(caretaker) = *caretaker {
        return Ok(caretaker);
    }
    let new = Arc::new(Caretaker {
        poller: Poller::new()?,
        wards: Mutex::default(),
        expecting: Mutex::new(0),
        bystander: Bystander::new(),
    });
    let theirs = new.clone();
    sys::spawn_thread("fibers-caretaker".into(), move || theirs.serve())?;
    // Not before there is somebody who serves it: it would be lost, with its descriptors, at each try.
    let new: &'static Caretaker = Box::leak(Box::new(new));
    *caretaker = Some(new);
    Ok(new)
}

/// Has `ward` looked after, from now until it wants no more.
///
/// # Errors
/// Gives it back if it cannot be watched.
pub(crate) fn look_after(ward: Box<dyn Ward>) -> Result<(), (io::Error, Box<dyn Ward>)> {
    match get() {
        Ok(caretaker) => caretaker.add(ward),
        Err(error) => Err((error, ward)),
    }
}

/// Somebody begins (true) or ceases (false) to wait for what only this thread can bring.
///
/// # Errors
/// As [`look_after`], when somebody begins.
pub(crate) fn expect_more(more: bool) -> io::Result<()> {
    let caretaker = get()?;
    let mut expecting = lock(&caretaker.expecting);
    *expecting = if more { *expecting + 1 } else { *expecting - 1 };
    match *expecting {
        // It may still be waking somebody: only itself knows when it is done.
        0 => drop(caretaker.poller.notify()),
        _ => caretaker.bystander.set(false),
    }
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Caretaker {
    fn add(&self, ward: Box<dyn Ward>) -> Result<(), (io::Error, Box<dyn Ward>)> {
        let mut wards = lock(&self.wards);
        let key = wards.vacant_key();
        // Its present state is the first event; the thread comes for it once this lock is free.
        match self.poller.add(ward.fd(), key as u64, Interest::READ) {
            Ok(()) => {
                wards.insert(Some(ward));
                Ok(())
            }
            Err(error) => Err((error, ward)),
        }
    }

    fn serve(&self) {
        let mut events = Events::with_capacity(64);
        loop {
            self.bystander.set(*lock(&self.expecting) == 0);
            match self.poller.wait(None, &mut events) {
                Ok(_) => events.iter().for_each(|event| self.tend(event.token as usize)),
                // The poller is broken, which only a program that closes foreign descriptors achieves.
                Err(_) => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    /// An event of a ward that has gone may come to the next one at its place, which then finds that nothing has happened.
    fn tend(&self, key: usize) {
        let Some(mut ward) = lock(&self.wards).get_mut(key).and_then(Option::take) else {
            return;
        };
        if ward.tend() {
            lock(&self.wards)[key] = Some(ward);
            return;
        }
        let _ = self.poller.delete(ward.fd().as_raw_fd());
        lock(&self.wards).remove(key);
    }
}

/// Tells all who wait at a source now to look again.
pub(crate) fn look_again<S: State, P>(source: &Source<S>, queue: impl Fn(&mut S) -> &mut Queue<P>) {
    /// A batch holds no more.
    const AT_A_TIME: usize = 16;
    let mut batch = Batch::new();
    let mut state = source.lock();
    // Those who come back in between stand behind.
    let mut left = queue(&mut state).len();
    loop {
        let more = queue(&mut state).retry_all(&mut batch);
        drop(state);
        batch.wake(sched::here());
        if !more || left <= AT_A_TIME {
            return;
        }
        left -= AT_A_TIME;
        state = source.lock();
    }
}
