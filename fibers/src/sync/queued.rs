//! The lock of an [`RwLock`](super::RwLock): handed on from one to the next, in the order in which they came.
//!
//! # Invariants
//! 1. Either nobody holds it, or one writer, or any number of readers.
//! 2. Who comes while somebody else waits, waits behind. So readers do not pass a writer that waits, and a writer does not starve;
//!    nor do readers, since a writer that is done lets all of them in that stand together at the head. Several branches of one
//!    perform do not wait for each other.
//! 3. Whenever the source is unlocked for the last time by a party, the first that waits cannot be let in. Therefore whoever gives
//!    the lock back looks at the head of the queue; and so does who waited and leaves, as it may have been what kept others out.
//! 4. A lock that was handed over and does not become a guard, because something panics before that, is given back.

use crate::op::cell::{Attempt, Batch, Cell, Locked, Me, Queue, RX_READY, Source, State, TX_READY};
use crate::op::leaf::{Leaf, Side};
use crate::op::{Branches, Graph, Picker};
use crate::prim::{Witness, const_fn};
use crate::sched::{self, WaitKind};
use std::cell::Cell as Plain;
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
    holders: Holders,
    waiters: Queue<Ticket>,
}

#[derive(Clone, Copy)]
struct Holders {
    readers: usize,
    writer: bool,
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

impl Holders {
    /// Whether a reader or a writer gets along with them.
    fn have_room(self, write: bool) -> bool {
        !self.writer && (!write || self.readers == 0)
    }

    fn and(mut self, write: bool) -> Self {
        match write {
            true => self.writer = true,
            false => self.readers += 1,
        }
        self
    }
}

impl RwState {
    /// Whether one that comes now need not wait.
    fn may_enter(&self, write: bool) -> bool {
        self.waiters.is_empty() && self.holders.have_room(write)
    }

    /// As above, by a perform that may wait here already with other branches.
    fn may_enter_beside(&mut self, write: bool, own: &Cell) -> bool {
        self.holders.have_room(write) && self.waiters.is_empty_but_for(Some(own))
    }

    fn enter(&mut self, write: bool) {
        self.holders = self.holders.and(write);
    }

    fn leave(&mut self, write: bool) {
        let Holders { readers, writer } = &mut self.holders;
        debug_assert!(if write { *writer } else { *readers > 0 }, "unlocked twice");
        match write {
            true => *writer = false,
            false => *readers -= 1,
        }
    }

    /// Lets in those at the head of the queue that can be, up to a batch of them; returns whether there may be more.
    fn admit(&mut self, batch: &mut Batch) -> bool {
        let holders = Plain::new(self.holders);
        let more = self.waiters.grant(
            batch,
            |ticket| holders.get().have_room(ticket.write),
            |ticket| {
                holders.set(holders.get().and(ticket.write));
                ticket.holds = true;
            },
        );
        self.holders = holders.get();
        more
    }
}

impl RawRwLock {
    const_fn! {
        pub(super) const fn new() -> Self {
            let state = RwState {
                holders: Holders {
                    readers: 0,
                    writer: false,
                },
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
        if !state.may_enter_beside(M::WRITE, me.cell()) {
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

    /// Those who stood behind may come in now; also if somebody who looked at the queue has taken this one out before.
    fn retract(&self, leaf: usize) {
        self.0.retract(leaf);
        let source = &self.raw().source;
        admit(source, source.lock());
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
