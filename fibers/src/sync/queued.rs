//! The lock of an [`RwLock`](super::RwLock): handed on from one to the next, in the order in which they came.
//!
//! # Invariants
//! 1. Either nobody holds it, or one writer, or any number of readers.
//! 2. Who comes while somebody waits, waits behind. So readers do not pass a writer that waits, and a writer does not starve; nor do
//!    readers, since a writer that is done lets all of them in that stand together at the head.
//! 3. Whenever the source is unlocked for the last time by a party, the first that waits cannot be let in. Therefore whoever gives
//!    the lock back looks at the head of the queue; and so does who waited and leaves, as it may have been what kept others out.
//! 4. A lock that was handed over and does not become a guard, because something panics before that, is given back.

use crate::op::cell::{Attempt, Batch, Locked, Me, Queue, RX_READY, Settled, Source, State, TX_READY};
use crate::op::leaf::{Leaf, Side};
use crate::op::{Branches, Graph, Picker};
use crate::prim::{Witness, const_fn};
use crate::sched::{self, WaitKind};
use std::marker::PhantomData;
use std::mem;

/// The lock without what it protects.
#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct RawRwLock {
    source: Source<RwState>,
    /// Told of every time that the lock is taken, and freed.
    witness: Witness,
}

/// Who holds the lock, and who waits for it.
struct RwState {
    readers: usize,
    writer: bool,
    waiters: Queue<Ticket>,
}

/// For what somebody waits, and whether it has been given.
struct Ticket {
    write: bool,
    holds: bool,
}

impl State for RwState {
    /// A reader looks for the one bit, a writer for the other.
    fn readiness(&self) -> u32 {
        let read = if self.may_enter(false) { RX_READY } else { 0 };
        let write = if self.may_enter(true) { TX_READY } else { 0 };
        read | write
    }
}

impl RwState {
    /// Whether a reader or a writer gets along with those who hold the lock.
    fn has_room(&self, write: bool) -> bool {
        !self.writer && (!write || self.readers == 0)
    }

    /// Whether one that comes now need not wait.
    fn may_enter(&self, write: bool) -> bool {
        self.waiters.is_empty() && self.has_room(write)
    }

    fn enter(&mut self, write: bool) {
        match write {
            true => self.writer = true,
            false => self.readers += 1,
        }
    }

    fn leave(&mut self, write: bool) {
        debug_assert!(if write { self.writer } else { self.readers > 0 }, "unlocked twice");
        match write {
            true => self.writer = false,
            false => self.readers -= 1,
        }
    }

    /// Lets in those at the head of the queue that can be, up to a batch of them; returns whether there are more.
    fn admit(&mut self, batch: &mut Batch) -> bool {
        while let Some(&Ticket { write, .. }) = self.waiters.first() {
            if !self.has_room(write) {
                return false;
            }
            if batch.is_full() {
                return true;
            }
            let admitted = self.waiters.settle_first(|ticket| {
                ticket.holds = true;
                Settled::Committed
            });
            if let Some(waiter) = admitted {
                self.enter(write);
                batch.push(waiter);
            }
        }
        false
    }
}

impl RawRwLock {
    const_fn! {
        pub(super) const fn new() -> Self {
            let state = RwState {
                readers: 0,
                writer: false,
                waiters: Queue::new(),
            };
            RawRwLock {
                source: Source::ready(state, RX_READY | TX_READY),
                witness: Witness::new(),
            }
        }
    }

    /// Locks if that is possible now, and nobody waits.
    #[inline]
    pub(super) fn try_lock(&self, write: bool) -> bool {
        let mut state = self.source.lock();
        let enters = state.may_enter(write);
        if enters {
            state.enter(write);
        }
        enters
    }

    /// The lock has been taken, and what it protects is the caller's.
    #[inline]
    pub(super) fn taken(&self, write: bool) {
        match write {
            true => self.witness.write(),
            false => self.witness.read(),
        }
    }

    /// By a holder.
    #[inline]
    pub(super) fn unlock(&self, write: bool) {
        self.taken(write);
        let mut state = self.source.lock();
        state.leave(write);
        admit(&self.source, state);
    }

    /// By its writer, which becomes a reader, and lets those in that wait for the same.
    pub(super) fn downgrade(&self) {
        self.witness.write();
        let mut state = self.source.lock();
        state.leave(true);
        state.enter(false);
        admit(&self.source, state);
    }
}

/// What is due after somebody has left, a holder or one of those who wait.
#[inline]
fn admit(source: &Source<RwState>, state: Locked<'_, RwState>) {
    if !state.waiters.is_empty() {
        admit_waiters(source, state);
    }
}

#[cold]
#[inline(never)]
fn admit_waiters<'a>(source: &'a Source<RwState>, mut state: Locked<'a, RwState>) {
    let mut batch = Batch::new();
    loop {
        let more = state.admit(&mut batch);
        drop(state);
        batch.wake(sched::here());
        if !more {
            return;
        }
        state = source.lock();
    }
}

/// How an operation reaches its lock, and the guards that it yields: by a reference, or by an `Arc` of its own.
pub trait RwAccess: Clone {
    type ReadGuard;
    type WriteGuard;
    fn raw(&self) -> &RawRwLock;
    /// The lock is held for it, as for the next one.
    fn into_read_guard(self) -> Self::ReadGuard;
    fn into_write_guard(self) -> Self::WriteGuard;
}

/// For what an operation locks.
pub trait Mode {
    const WRITE: bool;
    const NAME: &str;
    type Guard<A: RwAccess>;
    /// The lock is held for it.
    fn guard<A: RwAccess>(access: A) -> Self::Guard<A>;
}

/// To read, together with others.
#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub enum Shared {}

/// To write, alone.
#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub enum Exclusive {}

impl Mode for Shared {
    const WRITE: bool = false;
    const NAME: &str = "read-lock an rwlock";
    type Guard<A: RwAccess> = A::ReadGuard;

    fn guard<A: RwAccess>(access: A) -> A::ReadGuard {
        access.into_read_guard()
    }
}

impl Mode for Exclusive {
    const WRITE: bool = true;
    const NAME: &str = "write-lock an rwlock";
    type Guard<A: RwAccess> = A::WriteGuard;

    fn guard<A: RwAccess>(access: A) -> A::WriteGuard {
        access.into_write_guard()
    }
}

/// The side that locks.
struct RwLocking<A, M>(A, PhantomData<M>);

impl<A: RwAccess, M: Mode> Side for RwLocking<A, M> {
    type State = RwState;
    type Slot = Ticket;
    type Output = M::Guard<A>;

    const READY: u32 = if M::WRITE { TX_READY } else { RX_READY };
    const KIND: WaitKind = WaitKind::Other;

    fn source(&self) -> &Source<RwState> {
        &self.0.raw().source
    }

    fn attempt(&self, state: &mut RwState, ticket: &mut Ticket, me: &mut Me<'_>) -> Attempt {
        if !state.may_enter(M::WRITE) {
            return Attempt::Wait;
        }
        if !me.commit() {
            return Attempt::Lost;
        }
        state.enter(M::WRITE);
        ticket.holds = true;
        Attempt::Done(None)
    }

    fn queue(state: &mut RwState) -> &mut Queue<Ticket> {
        &mut state.waiters
    }

    fn output(&mut self, ticket: &mut Ticket) -> M::Guard<A> {
        ticket.holds = false;
        M::guard(self.0.clone())
    }

    fn graph(&self) -> Graph {
        Graph::leaf(M::NAME)
    }
}

/// A forced lock operation. Gives the lock back if its performer does not come to use it.
#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct RwBranches<A: RwAccess, M: Mode>(Leaf<RwLocking<A, M>>);

impl<A: RwAccess, M: Mode> RwBranches<A, M> {
    pub(super) fn new(access: A) -> Self {
        let ticket = Ticket {
            write: M::WRITE,
            holds: false,
        };
        RwBranches(Leaf::new(RwLocking(access, PhantomData), ticket))
    }

    fn raw(&self) -> &RawRwLock {
        self.0.side().0.raw()
    }
}

impl<A: RwAccess, M: Mode> Branches for RwBranches<A, M> {
    type Output = M::Guard<A>;

    fn leaves(&self) -> usize {
        1
    }

    fn pick(&self, picker: &mut Picker) {
        self.0.pick(picker);
    }

    fn attempt(&self, leaf: usize, me: &mut Me<'_>) -> Attempt {
        self.0.attempt(leaf, me)
    }

    fn publish(&self, leaf: usize, me: &mut Me<'_>) -> Attempt {
        self.0.publish(leaf, me)
    }

    fn retract(&self, _: usize) {
        if self.0.withdraw() {
            let source = &self.raw().source;
            admit(source, source.lock());
        }
    }

    fn leave(&self, leaf: usize) {
        self.0.leave(leaf);
    }

    fn abandon(&mut self, _: Option<usize>) {}

    fn finish(&mut self, leaf: usize) -> M::Guard<A> {
        self.0.finish(leaf)
    }

    fn kind(&self) -> WaitKind {
        self.0.kind()
    }

    fn graph(&self) -> Graph {
        self.0.graph()
    }
}

impl<A: RwAccess, M: Mode> Drop for RwBranches<A, M> {
    fn drop(&mut self) {
        if mem::take(&mut self.0.slot().holds) {
            self.raw().unlock(M::WRITE);
        }
    }
}
