//! The timer wheel: ticks go in, entries whose deadline has come go out. It is pure: it reads no clock and wakes nobody.
//!
//! A hierarchical timing wheel after G. Varghese and T. Lauck, "Hashed and Hierarchical Timing Wheels", SOSP 1987. A tick is
//! written in base 64, so 11 digits hold every `u64` and nothing is ever beyond the horizon. An entry lies at the level of
//! the highest digit in which its deadline differs from the cursor, in the slot that this digit of the deadline names:
//!
//! ```text
//!   digit         10    ...     2      1      0
//!   cursor         0            3     17     40
//!   deadline       0            3     17     52     level 0, slot 52: this very tick
//!   deadline       0            3     20      7     level 1, slot 20: one of 64 ticks
//!   deadline       0            9      0      0     level 2, slot  9: one of 4096 ticks
//! ```
//!
//! Invariants
//! * `cursor <= now`, no deadline lies before the cursor, and it only moves when no entry is left before the place it goes to.
//! * Where an entry lies follows from the cursor and its deadline alone. So entries with one deadline always share a list,
//!   and since lists are only appended to, they leave it in the order in which they came.
//! * Occupied slots lie above the cursor's digit (at level 0: on or above it). So the first occupied slot of the lowest
//!   occupied level holds the earliest deadline, and two bitmaps find it.
//! * `min` of a list is its earliest deadline, or an earlier one that has been removed since.
//!
//! Two departures from the paper. Entries cascade only once a deadline of their slot has come, not when the cursor reaches
//! the slot: a timeout that is removed in time, as most are, is never moved. And each list knows its `min`, so that a sleep
//! until [`Wheel::next`] ends when something is due, not at every level on the way there.
//!
//! A timeout counts from the moment of its insertion, but most are removed long before anybody needs to know which moment
//! that was, and to read the clock takes longer than all the rest. So an entry may be inserted with a delay instead of a
//! deadline. It waits, in no slot, until the time is told the next time ([`Wheel::settle`]), and the delay counts from there:
//! never early, and one reading of the clock for all that were inserted since the last.
//!
//! Storage grows to the largest number of entries that were pending at once and is then reused.

use std::num::NonZeroU32;

/// A tick is 2^15 ns = 32.768 µs.
pub(crate) const TICK_NS_SHIFT: u32 = 15;

/// The deadline that does not come.
pub(crate) const NEVER: u64 = u64::MAX;

/// The first tick at or after `ns`: what a deadline becomes. The last nanosecond of all stands for [`NEVER`].
pub(crate) const fn ticks_ceil(ns: u64) -> u64 {
    if ns == u64::MAX {
        NEVER
    } else {
        (ns >> TICK_NS_SHIFT) + (ns & ((1 << TICK_NS_SHIFT) - 1) != 0) as u64
    }
}

/// The last tick at or before `ns`: what the time of day becomes. With [`ticks_ceil`] for deadlines, no timer is early.
pub(crate) const fn ticks_floor(ns: u64) -> u64 {
    ns >> TICK_NS_SHIFT
}

/// The nanosecond at which `tick` begins, `u64::MAX` if the clock does not reach it.
pub(crate) const fn ticks_to_ns(tick: u64) -> u64 {
    if tick > u64::MAX >> TICK_NS_SHIFT {
        u64::MAX
    } else {
        tick << TICK_NS_SHIFT
    }
}

const DIGIT_BITS: usize = 6;
const SLOTS: usize = 1 << DIGIT_BITS;
const LEVELS: usize = 64usize.div_ceil(DIGIT_BITS);
/// The list of those whose deadline is not known yet. Of a level of its own, which no bitmap shows.
const UNSETTLED: usize = LEVELS * SLOTS;
/// The index of no entry.
const NIL: u32 = u32::MAX;

/// Names one insertion, for ever: after its entry has left the wheel, the key finds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    index: u32,
    generation: NonZeroU32,
}

struct Entry<T> {
    /// The next entry of the list; of the free list if `value` is `None`.
    next: u32,
    prev: u32,
    /// The deadline, at least what `now` was at the insertion. The delay while it is unsettled.
    at: u64,
    /// The slot whose list it is on.
    slot: u32,
    /// How many values have been kept here, this one included.
    generation: NonZeroU32,
    /// `Some` exactly while the entry is on a list.
    value: Option<T>,
}

#[derive(Clone, Copy)]
struct List {
    head: u32,
    tail: u32,
    /// No deadline on the list is earlier. Has no meaning while the list is empty.
    min: u64,
}

impl List {
    const EMPTY: List = List {
        head: NIL,
        tail: NIL,
        min: NEVER,
    };
}

/// Entries of type `T`, each with a deadline in ticks.
pub(crate) struct Wheel<T> {
    /// What the last [`advance`](Self::advance) said.
    now: u64,
    /// The tick relative to which every entry is placed.
    cursor: u64,
    len: usize,
    /// Bit `l`: some slot of level `l` is occupied.
    levels: u32,
    /// Bit `s` of number `l`: the list of slot `s` of level `l` is not empty.
    occupied: [u64; LEVELS],
    /// Slot `s` of level `l` is number `l * SLOTS + s`.
    lists: Box<[List; LEVELS * SLOTS]>,
    unsettled: List,
    entries: Vec<Entry<T>>,
    /// Head of the free list.
    free: u32,
}

impl<T> Wheel<T> {
    /// An empty wheel at the tick `now_tick`.
    pub(crate) fn new(now_tick: u64) -> Self {
        Wheel {
            now: now_tick,
            cursor: now_tick,
            len: 0,
            levels: 0,
            occupied: [0; LEVELS],
            lists: Box::new([List::EMPTY; LEVELS * SLOTS]),
            unsettled: List::EMPTY,
            entries: Vec::new(),
            free: NIL,
        }
    }

    /// Adds an entry that is due once the time has reached `deadline_tick`. A deadline that has passed counts as the present
    /// tick: the entry is due at once, behind those that were due before it. O(1).
    ///
    /// # Panics
    /// If 2^32 - 1 entries are pending.
    pub(crate) fn insert(&mut self, deadline_tick: u64, value: T) -> Key {
        let at = deadline_tick.max(self.now);
        let slot = slot_of(self.cursor, at);
        let prev = self.lists[slot].tail;
        let key = self.allocate(at, slot, prev, value);
        self.append(key.index, at, slot);
        self.len += 1;
        key
    }

    /// Adds an entry that is due `delay` after the time is told the next time, whatever unit the delay has: see
    /// [`settle`](Self::settle). O(1).
    ///
    /// # Panics
    /// As [`insert`](Self::insert).
    pub(crate) fn insert_unsettled(&mut self, delay: u64, value: T) -> Key {
        let prev = self.unsettled.tail;
        let key = self.allocate(delay, UNSETTLED, prev, value);
        self.unsettled.tail = key.index;
        match prev {
            NIL => self.unsettled.head = key.index,
            _ => self.entries[prev as usize].next = key.index,
        }
        self.len += 1;
        key
    }

    /// Gives the entries that were inserted with a delay their deadlines, in the order of insertion. To be called before
    /// [`advance`](Self::advance), each time.
    #[inline]
    pub(crate) fn settle(&mut self, deadline_tick: impl Fn(u64) -> u64) {
        if self.unsettled.head != NIL {
            self.settle_all(deadline_tick);
        }
    }

    fn settle_all(&mut self, deadline_tick: impl Fn(u64) -> u64) {
        let mut index = std::mem::replace(&mut self.unsettled, List::EMPTY).head;
        while index != NIL {
            let Entry { next, at: delay, .. } = self.entries[index as usize];
            self.place(index, deadline_tick(delay).max(self.now));
            index = next;
        }
    }

    /// The tick for which the entry is set; `None` if it is unsettled, or has left the wheel.
    pub(crate) fn deadline(&self, key: Key) -> Option<u64> {
        let entry = self.entries.get(key.index as usize)?;
        (entry.generation == key.generation && entry.slot as usize != UNSETTLED).then_some(entry.at)
    }

    /// Takes the entry out, unless it has left the wheel before. O(1).
    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        let entry = self.entries.get(key.index as usize)?;
        if entry.generation == key.generation {
            self.take(key.index)
        } else {
            None
        }
    }

    /// The tick until which nothing becomes due: the earliest deadline, or one before it that was removed. Later than the
    /// tick of the last [`advance`](Self::advance) if [`pop_due`](Self::pop_due) has returned `None` since. Whoever advances
    /// to this tick and pops finds a due entry; if nothing is removed in between, the second time at the latest. While an entry
    /// is unsettled: the present.
    pub(crate) fn next(&self) -> Option<u64> {
        if self.unsettled.head != NIL {
            return Some(self.now);
        }
        Some(self.lists[self.first()?].min)
    }

    /// Tells the time. A tick before the one last told is ignored. O(1): [`pop_due`](Self::pop_due) does the work.
    pub(crate) fn advance(&mut self, now_tick: u64) {
        self.now = self.now.max(now_tick);
    }

    /// The entry with the earliest deadline, if that has come; among equal deadlines, the one inserted first. This order
    /// holds however far the time has jumped, and the caller may stop after any number of entries. O(1) amortised: an entry
    /// moves at most 10 times in its life. A single call may have to move all the entries of one slot.
    pub(crate) fn pop_due(&mut self) -> Option<T> {
        while let Some(slot) = self.first() {
            let List { head, min, .. } = self.lists[slot];
            if min > self.now {
                self.catch_up(slot, min);
                return None;
            }
            // Nothing lies before `min`, so the cursor may skip what is between.
            self.cursor = min;
            if slot < SLOTS {
                return self.take(head);
            }
            self.cascade(slot);
        }
        self.cursor = self.now;
        None
    }

    /// What [`pop_due`](Self::pop_due) returns next, as far as that is known without moving an entry.
    pub(crate) fn peek_due(&self) -> impl Iterator<Item = &T> {
        let due = |slot: &usize| *slot < SLOTS && self.lists[*slot].min <= self.now;
        let mut index = self.first().filter(due).map_or(NIL, |slot| self.lists[slot].head);
        std::iter::from_fn(move || {
            let entry = self.entries.get(index as usize)?;
            index = entry.next;
            entry.value.as_ref()
        })
    }

    /// How many entries are pending, due ones included.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether no entry is pending.
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The slot of the earliest deadline.
    fn first(&self) -> Option<usize> {
        if self.levels == 0 {
            return None;
        }
        let level = self.levels.trailing_zeros() as usize;
        Some(level * SLOTS + self.occupied[level].trailing_zeros() as usize)
    }

    /// Brings the cursor up to `now`, so that new entries lie as low as they can, unless `now` is inside the first slot: the
    /// cursor stays out of occupied slots, and to empty this one before it is due could be for nothing.
    fn catch_up(&mut self, first: usize, min: u64) {
        let shift = first / SLOTS * DIGIT_BITS;
        if min >> shift << shift > self.now {
            self.cursor = self.now;
        }
    }

    /// Spreads a slot whose range the cursor has entered over the levels below.
    fn cascade(&mut self, slot: usize) {
        let mut index = self.lists[slot].head;
        self.clear(slot);
        while index != NIL {
            let Entry { next, at, .. } = self.entries[index as usize];
            self.place(index, at);
            index = next;
        }
    }

    /// Puts an entry that is on no list where its deadline belongs.
    fn place(&mut self, index: u32, at: u64) {
        let to = slot_of(self.cursor, at);
        let prev = self.lists[to].tail;
        let entry = &mut self.entries[index as usize];
        (entry.at, entry.slot, entry.prev, entry.next) = (at, to as u32, prev, NIL);
        self.append(index, at, to);
    }

    /// Makes the entry, whose own fields are set, the last one of the list.
    fn append(&mut self, index: u32, at: u64, slot: usize) {
        let list = &mut self.lists[slot];
        let last = std::mem::replace(&mut list.tail, index);
        if last == NIL {
            (list.head, list.min) = (index, at);
            self.occupied[slot / SLOTS] |= 1 << (slot % SLOTS);
            self.levels |= 1 << (slot / SLOTS);
        } else {
            list.min = list.min.min(at);
            self.entries[last as usize].next = index;
        }
    }

    /// Unlinks the entry and frees its place.
    fn take(&mut self, index: u32) -> Option<T> {
        let entry = &mut self.entries[index as usize];
        let value = entry.value.take()?;
        let (slot, prev, next) = (entry.slot as usize, entry.prev, entry.next);
        // A place whose generations are used up is given up: 40 bytes for 2^32 timers, and a key never finds another's entry.
        if let Some(generation) = entry.generation.checked_add(1) {
            entry.generation = generation;
            entry.next = std::mem::replace(&mut self.free, index);
        }
        self.len -= 1;
        let list = self.lists.get_mut(slot).unwrap_or(&mut self.unsettled);
        match (prev, next) {
            (NIL, NIL) if slot == UNSETTLED => *list = List::EMPTY,
            (NIL, NIL) => self.clear(slot),
            (NIL, _) => list.head = next,
            (_, NIL) => list.tail = prev,
            _ => {}
        }
        if prev != NIL {
            self.entries[prev as usize].next = next;
        }
        if next != NIL {
            self.entries[next as usize].prev = prev;
        }
        Some(value)
    }

    /// Forgets what the slot holds.
    fn clear(&mut self, slot: usize) {
        (self.lists[slot].head, self.lists[slot].tail) = (NIL, NIL);
        let level = slot / SLOTS;
        self.occupied[level] &= !(1 << (slot % SLOTS));
        if self.occupied[level] == 0 {
            self.levels &= !(1 << level);
        }
    }

    /// A place for an entry that is to become the last of a list.
    fn allocate(&mut self, at: u64, slot: usize, prev: u32, value: T) -> Key {
        let Some(entry) = self.entries.get_mut(self.free as usize) else {
            return self.grow(at, slot, prev, value);
        };
        let key = Key {
            index: self.free,
            generation: entry.generation,
        };
        self.free = entry.next;
        *entry = Entry {
            next: NIL,
            prev,
            at,
            slot: slot as u32,
            generation: key.generation,
            value: Some(value),
        };
        key
    }

    #[cold]
    fn grow(&mut self, at: u64, slot: usize, prev: u32, value: T) -> Key {
        let index = self.entries.len() as u32;
        assert!(self.entries.len() < NIL as usize, "2^32 - 1 timers are pending in one wheel");
        let key = Key {
            index,
            generation: NonZeroU32::MIN,
        };
        self.entries.push(Entry {
            next: NIL,
            prev,
            at,
            slot: slot as u32,
            generation: key.generation,
            value: Some(value),
        });
        key
    }
}

/// Where a deadline that does not lie before the cursor belongs.
fn slot_of(cursor: u64, at: u64) -> usize {
    // The lowest bit is set so that a difference of nothing belongs to level 0, too.
    let level = ((cursor ^ at) | 1).ilog2() as usize / DIGIT_BITS;
    level * SLOTS + (at >> (level * DIGIT_BITS)) as usize % SLOTS
}

#[cfg(test)]
#[path = "timer/tests.rs"] // also found when a test package includes this file by its path
mod tests;
