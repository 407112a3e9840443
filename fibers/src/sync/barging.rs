//! The lock of a [`Mutex`](super::Mutex): one word, taken and freed by one compare-exchange each, for as long as nobody waits.
//!
//! # The word
//! It is the lock word of a [`Source`], and may change in two ways: by those who hold the source's lock (`LOCKED`), and past it, by
//! a compare-exchange, while nobody does.
//!
//! | bit | meaning | set by | cleared by |
//! |---|---|---|---|
//! | `RX_READY` | free | the unlock | whoever takes the lock |
//! | `WAITING` | the queue is not empty; excludes an unlock past the source | an unlock of the source | an unlock of the source |
//! | `LOCKED` | the state is in use; excludes every change past the source | the lock of the source | its unlock |
//!
//! # Who is next
//! A freed lock belongs to whoever comes first. Its last holder tells the first waiter to look again, and if somebody else is faster,
//! that waiter has *lost*, and waits at the head of the queue once more. To hand the lock over instead costs a switch of fibers, and
//! perhaps of processors, for each time that it is taken (1,644 ns instead of 15 between two workers). After [`PATIENCE`] losses it
//! is handed over all the same: whoever waits gets the lock after a bounded number of unlocks by others that saw it waiting. (Locks
//! of this kind: Pizlo's `WTF::Lock`, and `parking_lot`, which bounds the wait by time instead.)
//!
//! # Invariants
//! 1. While the lock is free and somebody waits in the queue, a waiter that was *told* is on its way.
//! 2. A told waiter takes the lock, or finds it held, and then its holder sees those who wait; or else it passes the word on to the
//!    next one. It passes it on also when it takes another branch, and when it unwinds.
//! 3. A lock that was handed over and does not become a guard, because something panics before that, is unlocked.

use crate::op::cell::{Attempt, LOCKED, Me, Queue, RX_READY, Settled, Source, State, WAITING, Waiter};
use crate::op::leaf::{Leaf, Side};
use crate::op::{Branches, Graph, Picker};
use crate::prim::{Ordering, Witness, const_fn};
use crate::sched::{self, Here, WaitKind};
use std::cell::Cell;
use std::mem;

/// How often a waiter is told that the lock is free, finds it taken, and accepts that. The next unlock hands the lock over to it.
const PATIENCE: u8 = 4;

/// The lock without what it protects.
#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct RawMutex {
    source: Source<MutexState>,
    /// Told of every time that the lock is taken, and freed.
    witness: Witness,
}

/// Who holds the lock, and who waits for it.
struct MutexState {
    /// As the word had it when the state was entered.
    held: bool,
    waiters: Queue<Turn>,
}

/// What a waiter knows of its chances. It keeps that while it looks again and again.
#[derive(Default)]
struct Turn {
    losses: u8,
    /// It was told that the lock is free, and has not looked since.
    told: bool,
    /// The lock is its own.
    holds: bool,
}

impl State for MutexState {
    fn readiness(&self) -> u32 {
        let free = if self.held { 0 } else { RX_READY };
        let waiting = if self.waiters.is_empty() { 0 } else { WAITING };
        free | waiting
    }

    #[inline(always)]
    fn entered(&mut self, word: u32) {
        self.held = word & RX_READY == 0;
    }
}

impl MutexState {
    /// Tells the first waiter that the lock is free, or gives it to one that has lost too often.
    fn notify(&mut self) -> Option<Waiter> {
        while !self.waiters.is_empty() {
            let mut handed = false;
            let waiter = self.waiters.settle_first(|turn| {
                handed = turn.losses >= PATIENCE;
                (turn.told, turn.holds) = (!handed, handed);
                if handed { Settled::Committed } else { Settled::Again }
            });
            if waiter.is_some() {
                self.held = handed;
                return waiter;
            }
        }
        None
    }
}

impl RawMutex {
    const_fn! {
        pub(super) const fn new() -> Self {
            let state = MutexState {
                held: false,
                waiters: Queue::new(),
            };
            RawMutex {
                source: Source::ready(state, RX_READY),
                witness: Witness::new(),
            }
        }
    }

    /// Takes the lock if it is free and nobody waits. Acquire: pairs with the Release of the unlock.
    #[inline(always)]
    pub(super) fn try_lock_fast(&self) -> bool {
        self.source.change(RX_READY, 0, Ordering::Acquire)
    }

    /// Takes the lock if it is free.
    #[inline]
    pub(super) fn try_lock(&self) -> bool {
        self.try_lock_fast() || self.try_lock_slow()
    }

    #[cold]
    fn try_lock_slow(&self) -> bool {
        let mut state = self.source.lock();
        !mem::replace(&mut state.held, true)
    }

    /// The lock has been taken, and what it protects is the caller's.
    #[inline(always)]
    pub(super) fn taken(&self) {
        self.witness.write();
    }

    /// By its holder. Release: pairs with whoever takes it next.
    #[inline(always)]
    pub(super) fn unlock(&self) {
        self.witness.write();
        if !self.source.change(0, RX_READY, Ordering::Release) {
            self.unlock_slow();
        }
    }

    #[cold]
    #[inline(never)]
    fn unlock_slow(&self) {
        let mut state = self.source.lock();
        debug_assert!(state.held, "unlocked twice");
        state.held = false;
        let next = state.notify();
        drop(state);
        wake(next);
    }

    /// By a waiter that was told that the lock is free, and leaves it to others.
    #[cold]
    #[inline(never)]
    fn pass_on(&self) {
        let mut state = self.source.lock();
        // If somebody holds it, then its unlock sees those who wait.
        let next = if state.held { None } else { state.notify() };
        drop(state);
        wake(next);
    }

    /// Waits a little for the lock, where its holder can run meanwhile: beside the only worker of a runtime, nobody does.
    fn spin(&self, here: Option<Here>) -> bool {
        /// The last pause is 32 long: about as much time in all as it takes to wake a fiber of another worker.
        const PAUSES: u32 = 6;
        // In a model, to spin would be to explore how often.
        if cfg!(any(loom, miri)) || here.is_some_and(Here::is_alone) {
            return false;
        }
        for pause in 0..PAUSES {
            (0..1 << pause).for_each(|_| std::hint::spin_loop());
            let word = self.source.glance();
            if word & (LOCKED | RX_READY) == RX_READY && self.source.change(word, word & !RX_READY, Ordering::Acquire) {
                return true;
            }
        }
        false
    }
}

fn wake(next: Option<Waiter>) {
    if let Some(waiter) = next {
        waiter.wake(sched::here());
    }
}

/// How an operation reaches its mutex, and the guard that it yields: by a reference, or by an `Arc` of its own.
pub trait MutexAccess: Clone {
    type Guard;
    fn raw(&self) -> &RawMutex;
    /// The lock is held for it.
    fn into_guard(self) -> Self::Guard;
}

/// The side that locks.
struct Locking<A>(A);

impl<A: MutexAccess> Side for Locking<A> {
    type State = MutexState;
    type Slot = Turn;
    type Output = A::Guard;

    const READY: u32 = RX_READY;
    const KIND: WaitKind = WaitKind::Other;

    #[inline]
    fn source(&self) -> &Source<MutexState> {
        &self.0.raw().source
    }

    #[inline]
    fn attempt(&self, state: &mut MutexState, turn: &mut Turn, me: &mut Me<'_>) -> Attempt {
        if state.held {
            turn.losses += u8::from(mem::take(&mut turn.told));
            return Attempt::Wait;
        }
        if !me.commit() {
            return Attempt::Lost;
        }
        state.held = true;
        (turn.told, turn.holds) = (false, true);
        Attempt::Done(None)
    }

    fn queue(state: &mut MutexState) -> &mut Queue<Turn> {
        &mut state.waiters
    }

    fn comes_first(turn: &Turn) -> bool {
        turn.losses > 0
    }

    fn output(&mut self, turn: &mut Turn) -> A::Guard {
        *turn = Turn::default();
        self.0.clone().into_guard()
    }

    fn graph(&self) -> Graph {
        Graph::leaf("lock a mutex")
    }
}

/// A forced lock operation. Gives back what its performer does not come to use: the lock, or the word that it is free.
#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct MutexBranches<A: MutexAccess> {
    leaf: Leaf<Locking<A>>,
    /// The lock was taken past the source.
    seized: Cell<bool>,
}

impl<A: MutexAccess> MutexBranches<A> {
    #[inline]
    pub(super) fn new(access: A) -> Self {
        MutexBranches {
            leaf: Leaf::new(Locking(access), Turn::default()),
            seized: Cell::new(false),
        }
    }

    fn raw(&self) -> &RawMutex {
        self.leaf.side().0.raw()
    }

    fn pass_on(&mut self) {
        if mem::take(&mut self.leaf.slot().told) {
            self.raw().pass_on();
        }
    }
}

impl<A: MutexAccess> Branches for MutexBranches<A> {
    type Output = A::Guard;

    fn leaves(&self) -> usize {
        1
    }

    fn pick(&self, picker: &mut Picker) {
        self.leaf.pick(picker);
    }

    fn attempt(&self, leaf: usize, me: &mut Me<'_>) -> Attempt {
        self.leaf.attempt(leaf, me)
    }

    #[inline]
    fn publish(&self, leaf: usize, me: &mut Me<'_>) -> Attempt {
        if me.is_lone() && self.raw().spin(me.here()) {
            self.seized.set(true);
            return Attempt::Done(None);
        }
        self.leaf.publish(leaf, me)
    }

    fn retract(&self, leaf: usize) {
        self.leaf.retract(leaf);
    }

    fn leave(&self, leaf: usize) {
        self.leaf.leave(leaf);
    }

    fn concede(&mut self, winner: Option<usize>) {
        if winner.is_none() {
            self.pass_on();
        }
    }

    fn abandon(&mut self, _: Option<usize>) {}

    fn finish(&mut self, leaf: usize) -> A::Guard {
        self.seized.set(false);
        self.leaf.finish(leaf)
    }

    fn kind(&self) -> WaitKind {
        self.leaf.kind()
    }

    fn graph(&self) -> Graph {
        self.leaf.graph()
    }
}

impl<A: MutexAccess> Drop for MutexBranches<A> {
    fn drop(&mut self) {
        if self.seized.get() || self.leaf.slot().holds {
            self.raw().unlock();
        } else {
            self.pass_on();
        }
    }
}
