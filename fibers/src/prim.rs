//! The primitives that every other file builds on: atomics, interior cells and the spin-wait.
//!
//! Everything that takes part in a protocol between threads comes from here, so that a build with `--cfg loom`
//! model-checks the very code that ships. What is not part of such a protocol (counters, statistics, statics) comes from
//! [`plain`], which is the standard library in every build.

/// Atomics that the model checker does not track: statistics, statics, and what only the scheduler touches.
pub(crate) mod plain {
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
}

#[cfg(not(loom))]
pub(crate) use std::sync::Arc;
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering, fence};
#[cfg(not(loom))]
pub(crate) use std::thread::{Thread, ThreadId, current as current_thread, park, park_timeout};

#[cfg(loom)]
pub(crate) use loom::sync::Arc;
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU32, AtomicUsize, Ordering, fence};
#[cfg(loom)]
pub(crate) use loom::thread::{Thread, ThreadId, current as current_thread, park};

#[cfg(loom)]
loom::thread_local! {
    /// What the clock of the model shows on this thread, in nanoseconds.
    static CLOCK: std::cell::Cell<u64> = std::cell::Cell::new(1);
}

/// Time passes in the model only where somebody waits for it. That is no restriction: the checker lets other threads run, for as
/// long as there is something to find, between the wait and whatever follows from its end.
#[cfg(loom)]
pub(crate) fn monotonic_ns() -> u64 {
    CLOCK.with(std::cell::Cell::get)
}

/// Lets the time of this thread pass, and waits for nothing.
#[cfg(loom)]
pub(crate) fn park_timeout(time: std::time::Duration) {
    CLOCK.with(|clock| clock.set(clock.get() + time.as_nanos() as u64));
}

/// A function that is `const`, so that statics can be made with it; not so in the model, which is told of each primitive when it
/// is made.
macro_rules! const_fn {
    ($(#[$attribute:meta])* $visible:vis const fn $($rest:tt)*) => {
        #[cfg(not(loom))]
        $(#[$attribute])*
        $visible const fn $($rest)*
        #[cfg(loom)]
        $(#[$attribute])*
        $visible fn $($rest)*
    };
}
pub(crate) use const_fn;

/// Stands beside data that several threads reach in turn, and is told of every access, so that the model checker finds accesses
/// that nothing orders. Its end counts as a write: nobody may reach what lies beside it afterwards.
///
/// Outside of the model it is nothing at all.
#[derive(Debug)]
pub(crate) struct Witness {
    #[cfg(loom)]
    data: loom::cell::UnsafeCell<()>,
    #[cfg(loom)]
    steps: AtomicU32,
    /// Of the thread that made it.
    #[cfg(loom)]
    number: usize,
}

impl Witness {
    const_fn! {
        pub(crate) const fn new() -> Self {
            Witness {
                #[cfg(loom)]
                data: loom::cell::UnsafeCell::new(()),
                #[cfg(loom)]
                steps: AtomicU32::new(0),
                #[cfg(loom)]
                number: NUMBER.with(|number| *number),
            }
        }
    }

    /// An order among all witnesses that exist at a time: that of their addresses.
    ///
    /// In the model, where addresses change from run to run, it is that of the threads which made them, and each thread has one.
    #[inline(always)]
    pub(crate) fn precedes(&self, other: &Witness) -> bool {
        #[cfg(loom)]
        return self.number < other.number;
        #[cfg(not(loom))]
        (std::ptr::from_ref(self) < std::ptr::from_ref(other))
    }

    #[inline(always)]
    pub(crate) fn read(&self) {
        #[cfg(loom)]
        self.data.with(|_| ());
    }

    #[inline(always)]
    pub(crate) fn write(&self) {
        #[cfg(loom)]
        self.data.with_mut(|_| ());
    }

    /// Comes before each look at an atomic that its looker will write as well, and before the writes that others look for.
    ///
    /// Of all reads of an atomic, loom knows the last one when it meets a write, and tries no schedule in which an earlier read, by
    /// another thread, comes after that write. A read-modify-write is never overlooked. It orders nothing else: it is relaxed.
    #[inline(always)]
    pub(crate) fn step(&self) {
        #[cfg(loom)]
        self.steps.fetch_add(0, Ordering::Relaxed);
    }
}

impl Default for Witness {
    fn default() -> Self {
        Witness::new()
    }
}

#[cfg(loom)]
impl Drop for Witness {
    fn drop(&mut self) {
        self.write();
    }
}

/// Stands between a `SeqCst` update of an atomic and a `SeqCst` look at another one, which are in that order without it.
///
/// Loom takes such accesses for mere acquires and releases, and knows the order that they all have from fences alone.
#[inline(always)]
pub(crate) fn between_seq_cst() {
    #[cfg(loom)]
    loom::sync::atomic::fence(Ordering::SeqCst);
}

/// The store by which the holder of a lock or claim gives it back; somebody may [wait](Backoff::wait_for) for it.
#[cfg(not(loom))]
#[inline(always)]
pub(crate) fn release(word: &AtomicU32, value: u32) {
    word.store(value, Ordering::Release);
}

/// As above. To loom, a store has no place among the read-modify-writes of those who try in vain, though it comes after all that
/// read an older value; a swap has.
#[cfg(loom)]
pub(crate) fn release(word: &AtomicU32, value: u32) {
    word.swap(value, Ordering::Release);
    BLOCKED.with_borrow_mut(|blocked| {
        for (_, thread) in blocked.extract_if(.., |(at, _)| std::ptr::eq(*at, word)) {
            thread.unpark();
        }
    });
}

#[cfg(loom)]
std::thread_local! {
    /// Who waits for the release of which word. A model runs on one thread of the system, and nothing here is a step of it.
    static BLOCKED: std::cell::RefCell<Vec<(*const AtomicU32, Thread)>> = const { std::cell::RefCell::new(Vec::new()) };
}

#[cfg(loom)]
loom::thread_local! {
    /// "ThreadId(3)" as a number.
    static NUMBER: usize = {
        let id = format!("{:?}", current_thread().id());
        id.chars().filter_map(|c| c.to_digit(10)).fold(0, |number, digit| number * 10 + digit as usize)
    };
}

/// A number for a thread that has no generator of its own: SplitMix64 (Steele, Lea and Flood 2014) over one process-wide counter.
#[cfg(not(loom))]
pub(crate) fn random() -> u64 {
    static COUNTER: plain::AtomicU64 = plain::AtomicU64::new(0x9E37_79B9_7F4A_7C15);
    let mut z = COUNTER.fetch_add(0x9E37_79B9_7F4A_7C15, plain::Ordering::Relaxed);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The model needs the same choices whenever it repeats a schedule.
#[cfg(loom)]
pub(crate) fn random() -> u64 {
    0
}

/// A bounded wait for another thread that is about to finish a few instructions.
///
/// Spins first, doubling up to 64 pauses, and yields to the operating system after that: the other thread may have been
/// descheduled in the middle of what it is doing.
#[derive(Debug, Default)]
pub(crate) struct Backoff(u32);

impl Backoff {
    const SPIN_LIMIT: u32 = 6;

    pub(crate) const fn new() -> Self {
        Backoff(0)
    }

    /// Waits a little longer than the last time.
    #[cold]
    pub(crate) fn wait(&mut self) {
        #[cfg(loom)]
        loom::thread::yield_now();
        #[cfg(not(loom))]
        if self.0 <= Self::SPIN_LIMIT && !cfg!(miri) {
            for _ in 0..1u32 << self.0 {
                std::hint::spin_loop();
            }
            self.0 += 1;
        } else {
            std::thread::yield_now();
        }
    }

    /// Waits for the [`release`] of `word`, which was seen `held`.
    #[cold]
    #[cfg(not(loom))]
    pub(crate) fn wait_for(&mut self, word: &AtomicU32, held: impl Fn(u32) -> bool) {
        self.wait();
        // Relaxed: whoever tries next looks again.
        while held(word.load(Ordering::Relaxed)) {
            self.wait();
        }
    }

    /// To spin would be to explore how often. Other threads do nothing between the look that saw the word held and the park.
    #[cfg(loom)]
    pub(crate) fn wait_for(&mut self, word: &AtomicU32, _held: impl Fn(u32) -> bool) {
        BLOCKED.with_borrow_mut(|blocked| blocked.push((word, current_thread())));
        park();
    }
}
