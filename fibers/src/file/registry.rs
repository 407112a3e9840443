//! The descriptors that one runtime, or the driver, watches: from the token of an event to its [`File`].
//!
//! A token is the place of the entry and the number of the registration. Places are used again, numbers are not (before 2^31
//! others), so an event that was fetched before its descriptor was deregistered finds nobody.

use super::File;
use crate::epoll::Event;
use crate::prim::Arc;
use crate::sched::Io;
use slab::Slab;
use std::any::Any;
use std::sync::{Mutex, MutexGuard, PoisonError};

pub(super) struct Registry(Mutex<Entries>);

struct Entries {
    list: Slab<Entry>,
    next: u32,
}

struct Entry {
    number: u32,
    file: Arc<File>,
}

/// The numbers stay below this, so that no token is that of the poller itself.
const NUMBERS: u32 = 1 << 31;

impl Registry {
    pub(super) fn new() -> Registry {
        Registry(Mutex::new(Entries {
            list: Slab::new(),
            next: 0,
        }))
    }

    /// Nothing is called, and no `File` dropped, while this is held.
    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Under which token the events of a file are to come.
    pub(super) fn insert(&self, file: Arc<File>) -> u64 {
        let mut entries = self.lock();
        let number = entries.next;
        entries.next = (number + 1) % NUMBERS;
        let place = entries.list.insert(Entry { number, file });
        token(place, number)
    }

    /// Events under this token find nobody from now on.
    pub(super) fn remove(&self, token: u64) {
        let (place, number) = parts(token);
        let mut entries = self.lock();
        let known = entries.list.get(place).is_some_and(|entry| entry.number == number);
        let entry = known.then(|| entries.list.remove(place));
        drop(entries);
        drop(entry);
    }

    fn find(&self, token: u64) -> Option<Arc<File>> {
        let (place, number) = parts(token);
        let entries = self.lock();
        let entry = entries.list.get(place)?;
        (entry.number == number).then(|| entry.file.clone())
    }
}

impl Io for Registry {
    fn event(&self, event: Event) {
        if let Some(file) = self.find(event.token) {
            file.event(event);
        }
    }

    fn end(&self) {
        let list = std::mem::take(&mut self.lock().list);
        for (place, entry) in list {
            entry.file.orphan(token(place, entry.number));
        }
    }

    fn as_any(&self) -> &(dyn Any + Send + Sync) {
        self
    }
}

fn token(place: usize, number: u32) -> u64 {
    u64::from(number) << 32 | place as u64 & u64::from(u32::MAX)
}

fn parts(token: u64) -> (usize, u32) {
    ((token & u64::from(u32::MAX)) as usize, (token >> 32) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_not_used_again_although_its_place_is() {
        let registry = Registry::new();
        let (first, second) = (File::new(), File::new());
        let old = registry.insert(first.clone());
        assert!(Arc::ptr_eq(&registry.find(old).unwrap(), &first));
        registry.remove(old);
        let new = registry.insert(second.clone());
        assert_eq!(parts(old).0, parts(new).0, "the same place");
        assert!(registry.find(old).is_none(), "an event of the first one");
        registry.remove(old);
        assert!(Arc::ptr_eq(&registry.find(new).unwrap(), &second));
    }

    #[test]
    fn numbers_wrap_and_no_token_is_that_of_the_poller() {
        let registry = Registry::new();
        registry.lock().next = NUMBERS - 1;
        let last = registry.insert(File::new());
        let first = registry.insert(File::new());
        assert_eq!((parts(last), parts(first)), ((0, NUMBERS - 1), (1, 0)));
        assert_ne!(token(u32::MAX as usize, NUMBERS - 1), u64::MAX);
    }
}
