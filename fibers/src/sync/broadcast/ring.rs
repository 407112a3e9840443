//! The ring of a broadcast: values in the order in which they were sent, and cursors in it.
//!
//! # Invariants
//! - Positions count all values that were ever put in. The ring holds those from `head` on.
//! - Each value counts its claims: the cursors that will come past it. A cursor that is past a value is past all before it, and one
//!   that subscribed late claims none before, so claims never decrease from one value to the next. Hence values become unclaimed in
//!   their order. They go as soon as they are; only where a subscriber leaves many at once, it takes them out one by one, and those
//!   that become unclaimed behind them meanwhile.
//! - A cursor below `head` has missed values. It stands at `head` as soon as it has been told.
//! - Nothing is dropped here: what goes out is handed to the caller, who drops it after the unlock.

use super::{BroadcastRecvError, Lag};
use crate::op::cell::{Cell, Queue, RX_READY, State, TX_READY, Waiter};
use slab::Slab;
use std::collections::VecDeque;
use std::sync::Arc as Value;

/// A value that somebody has not read yet.
struct Entry<T> {
    value: Value<T>,
    claims: usize,
}

#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct Ring<T> {
    entries: VecDeque<Entry<T>>,
    head: u64,
    cursors: Slab<u64>,
    lag: Lag,
    pub(super) closed: bool,
    pub(super) receivers: Queue<Letter<T>>,
    pub(super) senders: Queue<Letter<T>>,
}

/// What a sender brings, or a subscriber gets.
#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct Letter<T> {
    /// Of a sender: while it is not in the ring.
    pub(super) value: Option<Value<T>>,
    /// Of a sender: the oldest value, which had to go.
    pub(super) evicted: Option<Value<T>>,
    /// Of a sender: the broadcast was closed before.
    pub(super) refused: bool,
    /// Of a subscriber, instead of a value.
    pub(super) error: Option<BroadcastRecvError>,
    /// A value has gone into the ring, and those who wait for it have not been told.
    pub(super) untold: bool,
}

impl<T> Letter<T> {
    pub(super) fn new(value: Option<T>) -> Self {
        Letter {
            value: value.map(Value::new),
            evicted: None,
            refused: false,
            error: None,
            untold: false,
        }
    }
}

/// What a cursor finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Position {
    Value,
    Missed(u64),
    Nothing,
    End,
}

impl<T> State for Ring<T> {
    fn readiness(&self) -> u32 {
        let rx = !self.entries.is_empty() || self.closed;
        let tx = self.has_room() || self.closed;
        (u32::from(rx) * RX_READY) | (u32::from(tx) * TX_READY)
    }
}

impl<T> Ring<T> {
    pub(super) fn new(lag: Lag) -> Self {
        Ring {
            entries: VecDeque::new(),
            head: 0,
            cursors: Slab::new(),
            lag,
            closed: false,
            receivers: Queue::new(),
            senders: Queue::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn subscribers(&self) -> usize {
        self.cursors.len()
    }

    /// Where the next value will come.
    fn tail(&self) -> u64 {
        self.head + self.entries.len() as u64
    }

    /// Whether a sender need not wait.
    pub(super) fn has_room(&self) -> bool {
        match self.lag {
            Lag::Block(capacity) => self.entries.len() < capacity || self.cursors.is_empty(),
            Lag::DropOldest(_) | Lag::Unbounded => true,
        }
    }

    pub(super) fn subscribe(&mut self) -> usize {
        self.cursors.insert(self.tail())
    }

    /// Another cursor at the place of that one, with claims of its own.
    pub(super) fn follow(&mut self, key: usize) -> usize {
        let at = self.cursors[key];
        for position in at.max(self.head)..self.tail() {
            self.entry(position).claims += 1;
        }
        self.cursors.insert(at)
    }

    /// Takes the cursor out, and its claims with it. The caller takes out what is [unclaimed](Ring::pop_unclaimed) then.
    pub(super) fn unsubscribe(&mut self, key: usize) {
        let unread = self.cursors.remove(key).max(self.head)..self.tail();
        for position in unread {
            self.entry(position).claims -= 1;
        }
    }

    /// Takes out the oldest value, if nobody claims it.
    pub(super) fn pop_unclaimed(&mut self) -> Option<Value<T>> {
        if self.entries.front()?.claims > 0 {
            return None;
        }
        self.head += 1;
        self.entries.pop_front().map(|entry| entry.value)
    }

    pub(super) fn unread(&self, key: usize) -> usize {
        (self.tail() - self.cursors[key].max(self.head)) as usize
    }

    pub(super) fn position(&self, key: usize) -> Position {
        let at = self.cursors[key];
        match () {
            () if at < self.head => Position::Missed(self.head - at),
            () if at < self.tail() => Position::Value,
            () if self.closed => Position::End,
            () => Position::Nothing,
        }
    }

    /// Moves a cursor past what it has found. That may make room.
    pub(super) fn advance(&mut self, key: usize, letter: &mut Letter<T>) {
        match self.position(key) {
            Position::Value => {
                let at = self.cursors[key];
                self.cursors[key] += 1;
                let entry = self.entry(at);
                entry.claims -= 1;
                letter.value = Some(entry.value.clone());
                if at == self.head {
                    // The letter holds it as well, so nothing but its count is dropped here.
                    drop(self.pop_unclaimed());
                }
            }
            Position::Missed(missed) => {
                self.cursors[key] = self.head;
                letter.error = Some(BroadcastRecvError::Lagged(missed));
            }
            Position::End => letter.error = Some(BroadcastRecvError::Closed),
            Position::Nothing => {}
        }
    }

    fn entry(&mut self, position: u64) -> &mut Entry<T> {
        &mut self.entries[(position - self.head) as usize]
    }

    /// Puts a letter's value in, if anybody will read it; otherwise it stays in the letter. The caller has seen that there is room.
    pub(super) fn push(&mut self, letter: &mut Letter<T>) {
        let claims = self.cursors.len();
        if claims == 0 {
            return;
        }
        if self.lag == Lag::DropOldest(self.entries.len()) {
            letter.evicted = self.entries.pop_front().map(|entry| entry.value);
            self.head += 1;
        }
        if let Some(value) = letter.value.take() {
            self.entries.push_back(Entry { value, claims });
        }
        letter.untold = !self.receivers.is_empty();
    }

    /// Lets the first waiting sender put in their value, if there is room, on behalf of the perform of `own`.
    pub(super) fn refill(&mut self, own: &Cell) -> Option<Waiter> {
        if self.senders.is_empty() || !self.has_room() {
            return None;
        }
        let claims = self.cursors.len();
        // Without subscribers it stays in the letter, to be dropped by the sender.
        let take = |letter: &mut Letter<T>| if claims > 0 { letter.value.take() } else { None };
        let (value, sender) = self.senders.admit(own, take)?;
        if let Some(value) = value {
            self.entries.push_back(Entry { value, claims });
        }
        Some(sender)
    }

    /// As [`Ring::refill`], on behalf of nobody.
    pub(super) fn refill_for_nobody(&mut self) -> Option<Waiter> {
        self.refill(&Cell::new(Waiter::Nobody))
    }
}
