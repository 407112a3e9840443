//! What a worker lets the watchdog see: which fiber runs, since which pick.
//!
//! The block of a running fiber may be freed at any moment, so nobody but its worker may look into it. In a runtime with a watchdog
//! each fiber therefore leaves a copy of what names it, whenever it starts or goes on: in atomics, under a version that is odd
//! while they are written (a seqlock, as in Boehm, *Can seqlocks get along with programming language memory models?*, 2012). The
//! reader throws away what was written while it read. The spawn site is a static, which may be followed at any time; a name
//! is copied, as far as there is room.
//!
//! Without a watchdog none of this exists. With one, suspending takes the slow path that is there for what is out of the
//! ordinary (see [`unusual`](super::worker::unusual)), so no path has been made longer for it.

use std::fmt;
use std::panic::Location;
use std::ptr::null_mut;
use std::time::Duration;

use super::task::{Task, flag};
use super::worker::Core;
use crate::prim::plain::{AtomicPtr, AtomicU64, AtomicUsize, Ordering, fence};
use crate::sys;

/// Bytes of a name that are copied.
const NAME: usize = 48;
const WORDS: usize = NAME / 8;
/// The length of no name.
const NAMELESS: usize = usize::MAX;

/// The fiber that a worker runs, for others to see. Written by the worker alone.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Running {
    version: AtomicU64,
    id: AtomicU64,
    /// Null: the main fiber, which nobody has spawned.
    site: AtomicPtr<Location<'static>>,
    name_len: AtomicUsize,
    name: [AtomicU64; WORDS],
}

/// What was seen of a worker's fiber.
#[derive(Debug)]
pub(super) struct Glimpse {
    pub(super) version: u64,
    /// 0: none runs.
    pub(super) id: u64,
    site: Option<&'static Location<'static>>,
    name: Option<String>,
}

impl Running {
    pub(super) fn new() -> Running {
        Running {
            version: AtomicU64::new(0),
            id: AtomicU64::new(0),
            site: AtomicPtr::new(null_mut()),
            name_len: AtomicUsize::new(NAMELESS),
            name: [const { AtomicU64::new(0) }; WORDS],
        }
    }

    /// Writes, between two versions. The fence pairs with that of [`glimpse`](Running::glimpse): who sees what was written sees
    /// the odd version as well. The Release pairs with its Acquire.
    fn write(&self, id: u64, site: *mut Location<'static>, name: Option<&str>) {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        self.id.store(id, Ordering::Relaxed);
        self.site.store(site, Ordering::Relaxed);
        self.name_len.store(name.map_or(NAMELESS, str::len), Ordering::Relaxed);
        let bytes = name.unwrap_or_default().as_bytes();
        for (word, part) in self.name.iter().zip(bytes.chunks(8)) {
            let mut whole = [0; 8];
            whole[..part.len()].copy_from_slice(part);
            word.store(u64::from_ne_bytes(whole), Ordering::Relaxed);
        }
        self.version.store(version + 2, Ordering::Release);
    }

    /// What is there; `None` if it was being written.
    pub(super) fn glimpse(&self) -> Option<Glimpse> {
        let version = self.version.load(Ordering::Acquire);
        let (id, site) = (self.id.load(Ordering::Relaxed), self.site.load(Ordering::Relaxed));
        let name_len = self.name_len.load(Ordering::Relaxed);
        let words: Vec<u8> = self
            .name
            .iter()
            .flat_map(|word| word.load(Ordering::Relaxed).to_ne_bytes())
            .collect();
        fence(Ordering::Acquire);
        if version % 2 == 1 || self.version.load(Ordering::Relaxed) != version {
            return None;
        }
        Some(Glimpse {
            version,
            id,
            site: site_at(site),
            name: (name_len != NAMELESS).then(|| name_in(&words, name_len)),
        })
    }
}

/// As much of a name as there was room for.
fn name_in(bytes: &[u8], len: usize) -> String {
    let mut name = String::from_utf8_lossy(&bytes[..len.min(bytes.len())]).into_owned();
    if len > bytes.len() {
        name.truncate(name.trim_end_matches(char::REPLACEMENT_CHARACTER).len());
        name.push_str("..");
    }
    name
}

#[expect(unsafe_code, reason = "an atomic holds the address of a static")]
fn site_at(site: *mut Location<'static>) -> Option<&'static Location<'static>> {
    // SAFETY: `Core::show` alone writes it: null, or a reference that is valid for ever and only read.
    unsafe { site.cast_const().as_ref() }
}

impl Core {
    /// Shows which fiber runs from now on, if there is a watchdog.
    pub(super) fn show(&self, task: &Task) {
        if let Some(running) = &self.remote().running {
            let site = match task.has(flag::MAIN) {
                true => null_mut(),
                false => std::ptr::from_ref(task.site).cast_mut(),
            };
            running.write(task.id, site, task.name());
        }
    }

    /// No fiber runs any more.
    pub(super) fn show_nobody(&self) {
        if let Some(running) = &self.remote().running {
            running.write(0, null_mut(), None);
        }
    }
}

/// A fiber that holds its worker for longer than the [watchdog](crate::RuntimeBuilder::watchdog) of the runtime allows: the other
/// fibers of that worker cannot go on meanwhile.
#[derive(Clone, Debug)]
pub struct Stall {
    worker: usize,
    fiber: u64,
    name: Option<String>,
    site: Option<&'static Location<'static>>,
    lasted: Duration,
}

impl Stall {
    pub(super) fn new(worker: usize, seen: Glimpse, lasted: Duration) -> Stall {
        Stall {
            worker,
            fiber: seen.id,
            name: seen.name,
            site: seen.site,
            lasted,
        }
    }

    /// The number of the worker, from 0.
    pub fn worker(&self) -> usize {
        self.worker
    }

    /// The number of the fiber, unique in its runtime.
    pub fn fiber(&self) -> u64 {
        self.fiber
    }

    /// The name of the fiber, if it was given one; the first 48 bytes of a long one.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Where the fiber was spawned; `None` for the main fiber.
    pub fn spawned_at(&self) -> Option<&'static Location<'static>> {
        self.site
    }

    /// For how long the fiber has been seen to hold its worker. It may have begun a little earlier.
    pub fn lasted(&self) -> Duration {
        self.lasted
    }

    /// Writes the report on the standard error output.
    pub(super) fn print(&self) {
        sys::write_stderr(format!("\n{self}\n").as_bytes());
    }
}

/// `stall: fiber 7 'digest', spawned at src/main.rs:12:5, has held worker 0 for 250ms without suspending`
impl fmt::Display for Stall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stall: fiber {}", self.fiber)?;
        if let Some(name) = &self.name {
            write!(f, " '{name}'")?;
        }
        match self.site {
            Some(site) => write!(f, ", spawned at {site},")?,
            None => f.write_str(" (main)")?,
        }
        write!(f, " has held worker {} for {:?} without suspending", self.worker, self.lasted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prim::plain::AtomicBool;

    #[test]
    fn names_are_copied_as_far_as_there_is_room() {
        let running = Running::new();
        let name = |name: Option<&str>| {
            running.write(1, null_mut(), name);
            running.glimpse().unwrap().name
        };
        assert_eq!(name(None), None);
        assert_eq!(name(Some("")), Some(String::new()));
        assert_eq!(name(Some("acceptor")).as_deref(), Some("acceptor"));
        assert_eq!(name(Some(&"x".repeat(NAME))), Some("x".repeat(NAME)));
        assert_eq!(name(Some(&"x".repeat(NAME + 1))), Some("x".repeat(NAME) + ".."));
        // A character that does not fit is left away as a whole.
        let long = "x".repeat(NAME - 1) + "éé";
        assert_eq!(name(Some(&long)), Some("x".repeat(NAME - 1) + ".."));
        assert_eq!(name(Some("after a long one")).as_deref(), Some("after a long one"));
    }

    #[test]
    fn a_glimpse_is_of_one_moment() {
        let (running, over) = (Running::new(), AtomicBool::new(false));
        let rounds = if cfg!(miri) { 100 } else { 100_000 };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for id in 1..=rounds {
                    running.write(id, null_mut(), Some(&id.to_string()));
                }
                over.store(true, Ordering::Release);
            });
            while !over.load(Ordering::Acquire) {
                if let Some(seen) = running.glimpse()
                    && seen.id != 0
                {
                    assert_eq!((seen.name, seen.version), (Some(seen.id.to_string()), 2 * seen.id));
                }
            }
        });
        assert_eq!(running.glimpse().unwrap().id, rounds);
    }
}
