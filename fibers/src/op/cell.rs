//! The commit protocol: how exactly one branch of exactly one perform on each side takes part in a communication.
//!
//! # Who meets where
//! A perform owns one [`Cell`]. Each of its branches owns a [`Node`], which lies inside the operation on the performer's own
//! stack, so nothing is allocated. A [`Source`] (one channel, one event) owns a lock word and the [`Queue`]s of nodes that wait
//! there. Whoever finds a node in a queue may decide the perform behind it.
//!
//! # States of a cell
//! | state | meaning | set by | left by |
//! |---|---|---|---|
//! | `PENDING` | undecided | the performer, at creation; a claimer that rolls back | a claim, a commit, an abort |
//! | `CLAIMED` | somebody is about to decide it or to roll back; lasts a few instructions | a CAS from `PENDING` | its claimer |
//! | `ABORTED` | withdrawn by its performer, for good | the performer, by CAS | never |
//! | `RETRY` | a source changed so that the performer must look again | a source, by CAS or claim | never |
//! | `DECIDED + b` | branch `b` is committed, for good | a claimer, or by CAS from `PENDING` | never |
//!
//! # Rules
//! 1. Links and slots of a node are touched only under the lock of its source. Another party touches a cell only while it holds
//!    a lock under which one of the cell's nodes is linked. The decider's last access to node and cell is the store that decides
//!    it, before the unlock; the [`Waiter`] is copied before that. So the performer may free both as soon as it sees the decision.
//! 2. The node of a *lone* perform (one branch) is linked in one source only. Whoever holds that lock and finds the node linked
//!    may decide it without a claim: nobody else can. Its decider unlinks it, so its performer locks nothing again.
//! 3. Two cells are claimed only when a published choice meets a choice: the one at the lower address first. The claimer of the
//!    second gives the first back if it fails. Waits for claims therefore run towards higher addresses and form no cycle. (A
//!    barrier claims more than two, in the same order: [`Queue::rally`].)
//! 4. Whoever meets `CLAIMED` waits; it does not skip, since the claimer may roll back. Holders of claims take no locks.
//! 5. A node of the performer's own cell is never its counterpart.
//! 6. A published performer that is decided by somebody else is woken exactly once and consumes that wake, even when it notices
//!    the decision earlier. One that decides itself is not woken.
//! 7. Nobody is woken, and no user code runs, under a lock or a claim.
//!
//! # Sketch of the proof
//! A cell leaves `PENDING` for a final state by one CAS, or by a claim, which is one CAS and excludes everybody else until its
//! holder stores; so at most one branch commits. In a match both cells are claimed before either value moves, and then both are
//! decided, so both sides commit or neither does. A node that waits is linked under the same lock hold in which its counterpart
//! was looked for in vain, so of two parties that could meet, the later one finds the earlier one: no wake-up is lost.
#![expect(
    unsafe_code,
    reason = "intrusive nodes that other threads reach while their performer waits"
)]

use crate::prim::{self, AtomicU32, Backoff, Ordering, Thread, Witness, const_fn};
use crate::sched::{self, Here, TaskRef};
use std::cell::{Cell as Plain, UnsafeCell};
use std::fmt;
use std::marker::PhantomPinned;
use std::mem::{self, MaybeUninit};
use std::ops::{Deref, DerefMut};
use std::ptr;

mod grant;
mod rally;

pub(crate) use rally::Rally;

const PENDING: u32 = 0;
const CLAIMED: u32 = 1;
const ABORTED: u32 = 2;
const RETRY: u32 = 3;
const DECIDED: u32 = 4;

/// Who is to be resumed when a cell is decided. The handle outlives the perform: a wake may arrive after the performer left.
#[derive(Clone, Debug)]
pub enum Waiter {
    /// The perform tries only; it is never published, so nobody can find it.
    Nobody,
    /// A fiber consumes exactly one wake (rule 6), so an uncounted reference is enough.
    Fiber(TaskRef),
    /// A thread may see the decision before it is unparked, so the handle is counted. Stale unparks are harmless: it looks at
    /// its cell whenever it returns from a park.
    Thread(Thread),
}

impl Waiter {
    /// Whoever performs here and now.
    #[inline]
    pub(crate) fn current(here: Option<Here>) -> Self {
        here.map_or_else(Self::thread, |here| Waiter::Fiber(here.task()))
    }

    #[cold]
    fn thread() -> Self {
        Waiter::Thread(prim::current_thread())
    }

    #[inline(never)]
    fn counted(&self) -> Self {
        self.clone()
    }

    /// Resumes the performer. Called with no lock and no claim held.
    #[inline(always)]
    pub(crate) fn wake(self, here: Option<Here>) {
        match (self, here) {
            (Waiter::Fiber(task), Some(here)) => here.ready(task),
            (waiter, here) => waiter.wake_afar(here),
        }
    }

    /// The rarer pairs, out of the way.
    #[inline(never)]
    fn wake_afar(self, here: Option<Here>) {
        match (self, here) {
            (Waiter::Fiber(task), Some(here)) => here.ready(task),
            // SAFETY: the handle was copied by whoever decided the cell, once, and that owes the fiber this one wake (rule 6).
            (Waiter::Fiber(task), None) => unsafe { sched::ready(task) },
            (Waiter::Thread(thread), _) => thread.unpark(),
            (Waiter::Nobody, _) => {}
        }
    }
}

/// What a performer finds in its cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Undecided,
    Retry,
    Branch(usize),
}

/// The one word of a perform, and whom to wake.
///
/// All of it lies in an `UnsafeCell`: the performer may free it as soon as the deciding store has happened, while the decider is
/// still inside the method that did it, with a reference that would otherwise promise that the whole lives on.
pub(crate) struct Cell(UnsafeCell<Word>);

struct Word {
    state: AtomicU32,
    waiter: Waiter,
    /// Told that the waiter is read.
    witness: Witness,
}

impl Cell {
    #[inline]
    pub(crate) fn new(waiter: Waiter) -> Self {
        Cell(UnsafeCell::new(Word {
            state: AtomicU32::new(PENDING),
            waiter,
            witness: Witness::new(),
        }))
    }

    #[inline]
    fn state(&self) -> &AtomicU32 {
        // SAFETY: `Word` is never borrowed mutably, and the state is atomic.
        unsafe { &(*self.0.get()).state }
    }

    /// Acquire: pairs with the Release of the decider, so that the slot it filled is visible.
    pub(crate) fn decision(&self) -> Decision {
        match self.state().load(Ordering::Acquire) {
            PENDING | CLAIMED | ABORTED => Decision::Undecided,
            RETRY => Decision::Retry,
            decided => Decision::Branch((decided - DECIDED) as usize),
        }
    }

    /// `PENDING` to `to`, waiting while somebody holds a claim; false if the cell is final already.
    ///
    /// AcqRel: Acquire sees what an earlier claimer did before it rolled back, Release publishes what the winner did before.
    #[inline]
    fn leave_pending(&self, to: u32) -> bool {
        let left = self
            .state()
            .compare_exchange(PENDING, to, Ordering::AcqRel, Ordering::Acquire);
        match left {
            Ok(_) => true,
            Err(CLAIMED) => self.leave_pending_later(to),
            Err(_) => false,
        }
    }

    #[cold]
    fn leave_pending_later(&self, to: u32) -> bool {
        let mut backoff = Backoff::new();
        loop {
            backoff.wait_for(self.state(), |state| state == CLAIMED);
            let left = self
                .state()
                .compare_exchange(PENDING, to, Ordering::AcqRel, Ordering::Acquire);
            match left {
                Ok(_) => return true,
                Err(CLAIMED) => {}
                Err(_) => return false,
            }
        }
    }

    /// The order in which two cells are claimed (rule 3).
    fn precedes(&self, other: &Cell) -> bool {
        // SAFETY: `Word` is never borrowed mutably, and both cells are alive: one is the caller's, the other one linked.
        unsafe { (*self.0.get()).witness.precedes(&(*other.0.get()).witness) }
    }

    fn claim(&self) -> bool {
        self.leave_pending(CLAIMED)
    }

    /// Only the claimer. Release: pairs with the Acquire of the next claim.
    fn unclaim(&self) {
        prim::release(self.state(), PENDING);
    }

    /// Only the claimer, or for a lone cell the holder of its source's lock. Release: pairs with [`Cell::decision`].
    fn decide(&self, branch: u32) {
        prim::release(self.state(), DECIDED + branch);
    }

    /// As [`Cell::decide`], for a performer that is to look again.
    fn look_again(&self) {
        prim::release(self.state(), RETRY);
    }

    /// Commits `branch` without a counterpart; false if the cell is final already.
    pub(crate) fn commit(&self, branch: usize) -> bool {
        self.leave_pending(DECIDED + branch as u32)
    }

    /// Tells the performer to look again; false if the cell is final already.
    pub(crate) fn retry(&self) -> bool {
        self.leave_pending(RETRY)
    }

    /// Withdraws the perform; false if it has been decided, and then a wake is still owed to it.
    pub(crate) fn abort(&self) -> bool {
        self.leave_pending(ABORTED)
    }

    #[inline]
    pub(crate) fn waiter(&self) -> Waiter {
        // SAFETY: the waiter never changes, and whoever asks has not decided yet, so the cell is alive (rule 1).
        let word = unsafe { &*self.0.get() };
        word.witness.read();
        match &word.waiter {
            Waiter::Fiber(task) => Waiter::Fiber(*task),
            waiter => waiter.counted(),
        }
    }
}

impl fmt::Debug for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cell").field(&self.decision()).finish()
    }
}

/// The performer's side of the protocol during one round of attempts and publications.
#[derive(Debug)]
pub struct Me<'a> {
    cell: &'a Cell,
    here: Option<Here>,
    branch: usize,
    lone: bool,
    /// A node of this cell may be found by others, so the cell must be won before anything is taken.
    shared: bool,
    /// For a thread: the earliest deadline among the branches, and what it decides.
    pub(crate) timeout: Option<(u64, Decision)>,
}

impl<'a> Me<'a> {
    /// # Safety
    /// Every branch that is given this `Me` to be published stays where it is, neither moved, dropped nor borrowed mutably, until
    /// it has been retracted or until `cell` was seen decided for that very branch. `cell` outlives all of these publications.
    pub(crate) unsafe fn new(cell: &'a Cell, here: Option<Here>, lone: bool) -> Self {
        Me {
            cell,
            here,
            branch: 0,
            lone,
            shared: false,
            timeout: None,
        }
    }

    pub(crate) fn here(&self) -> Option<Here> {
        self.here
    }

    pub(crate) fn cell(&self) -> &'a Cell {
        self.cell
    }

    pub(crate) fn is_lone(&self) -> bool {
        self.lone
    }

    pub(crate) fn branch(&self) -> usize {
        self.branch
    }

    /// Which branch of the perform the next attempt or publication is for.
    pub(crate) fn at(&mut self, branch: usize) -> &mut Self {
        self.branch = branch;
        self
    }

    /// From now on others may decide the cell.
    pub(crate) fn share(&mut self) {
        self.shared = true;
    }

    /// Commits the current branch, where no counterpart is needed; false if another branch is committed already.
    pub(crate) fn commit(&self) -> bool {
        !self.shared || self.cell.commit(self.branch)
    }
}

/// What became of an attempt under the lock of a source.
#[derive(Debug)]
pub enum Attempt {
    /// The branch is committed. The other party, if there is one, is to be woken after the unlock.
    Done(Option<Waiter>),
    /// There is nobody to meet.
    Wait,
    /// Another branch of this perform has been decided by somebody else.
    Lost,
}

/// What [`Queue::meet`] found.
#[derive(Debug)]
pub(crate) enum Met<R> {
    Someone(R, Waiter),
    Nobody,
    Lost,
}

/// What [`Queue::settle_first`] makes of a perform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    /// The branch is committed.
    Committed,
    /// The performer looks at all branches again.
    Again,
}

/// What one side does at a source, under its lock.
///
/// A trait rather than closures, so that it can ask to be inlined: an operation is a few dozen instructions, and to pass its parts
/// through memory costs as many again.
pub(crate) trait Exchange<S, P> {
    /// Commits now if that is possible; wins the performer's cell (through `me`) before it takes anything.
    fn attempt(&self, state: &mut S, slot: &mut P, me: &mut Me<'_>) -> Attempt;
    /// Where this side waits.
    fn queue(state: &mut S) -> &mut Queue<P>;
    /// Whether it waits before all who are there: somebody who had been told to look again and has come in vain.
    fn comes_first(_slot: &P) -> bool {
        false
    }
}

/// Where a published node is linked, and whom it stands for.
struct Links<P> {
    next: *mut Inner<P>,
    prev: *mut Inner<P>,
    cell: *const Cell,
    branch: u32,
    lone: bool,
    linked: bool,
}

struct Inner<P> {
    /// Written by the publication. Until then there is nothing to write, or to copy while the operation is built.
    links: MaybeUninit<Links<P>>,
    slot: P,
    /// Told of accesses to links and slot.
    witness: Witness,
}

impl<P> Inner<P> {
    /// # Safety
    /// The lock of the source is held at which `node` was published in this round.
    unsafe fn links<'a>(node: *mut Self) -> &'a mut Links<P> {
        // SAFETY: the publication has written the links, and the lock excludes everybody else.
        unsafe {
            (*node).witness.write();
            (*node).links.assume_init_mut()
        }
    }
}

/// One branch that waits at one source, with the slot through which a value passes. Lies inside the operation.
pub(crate) struct Node<P> {
    inner: UnsafeCell<Inner<P>>,
    /// Set by the performer once it has been published; saves the lock when there is nothing to retract.
    published: Plain<bool>,
    _pinned: PhantomPinned,
}

impl<P> Node<P> {
    #[inline]
    pub(crate) fn new(slot: P) -> Self {
        // Field by field: written as `Node { links: MaybeUninit::uninit(), .. }`, the links are filled from a constant, and copied
        // each time that the operation is moved while it is built (13 of 15 ns of a select with default).
        let mut node = MaybeUninit::<Self>::uninit();
        let to = node.as_mut_ptr();
        // SAFETY: the fields that must be initialised are written; `_pinned` has no bytes.
        unsafe {
            (&raw mut (*UnsafeCell::raw_get(&raw const (*to).inner)).slot).write(slot);
            (&raw mut (*UnsafeCell::raw_get(&raw const (*to).inner)).witness).write(Witness::new());
            (&raw mut (*to).published).write(Plain::new(false));
            node.assume_init()
        }
    }

    /// The slot of a node that is not linked anywhere, which `&mut` proves: a publication needs the node to stay in place.
    pub(crate) fn slot(&mut self) -> &mut P {
        let inner = self.inner.get_mut();
        inner.witness.write();
        &mut inner.slot
    }

    /// Tries to commit without waiting. Returns the attempt's result; the node is not linked.
    #[inline]
    pub(crate) fn attempt<S: State>(&self, source: &Source<S>, me: &mut Me<'_>, side: &impl Exchange<S, P>) -> Attempt {
        let mut state = source.lock();
        // SAFETY: the node is unlinked (it is not published in this round), so only its performer reaches it.
        let slot = unsafe {
            (*self.inner.get()).witness.write();
            &mut (*self.inner.get()).slot
        };
        side.attempt(&mut state, slot, me)
    }

    /// Tries to commit and otherwise waits in the queue, in one lock hold.
    #[inline(always)]
    pub(crate) fn publish<S: State, E: Exchange<S, P>>(&self, source: &Source<S>, me: &mut Me<'_>, side: &E) -> Attempt {
        let mut state = source.lock();
        let inner = self.inner.get();
        // SAFETY: as in `attempt`; the borrow ends before the node is linked.
        let result = side.attempt(&mut state, unsafe { &mut (*inner).slot }, me);
        if matches!(result, Attempt::Wait) {
            // SAFETY: the node stays in place until retracted or decided (contract of `Me::new`), and the lock is held.
            unsafe {
                match E::comes_first(&(*inner).slot) {
                    false => E::queue(&mut state).push(inner, me),
                    true => E::queue(&mut state).push_first(inner, me),
                }
            }
            self.published.set(true);
            me.shared = true;
        }
        result
    }

    /// Unlinks the node, unless its decider has done so or it never was published.
    pub(crate) fn retract<S: State>(&self, source: &Source<S>, queue: impl FnOnce(&mut S) -> &mut Queue<P>) {
        if !self.published.replace(false) {
            return;
        }
        let mut state = source.lock();
        let inner = self.inner.get();
        // SAFETY: links are read and changed under the lock of the node's source, at which it has been published.
        unsafe {
            if Inner::links(inner).linked {
                queue(&mut state).unlink(inner);
            }
        }
    }
}

/// Nodes that wait at one side of a source, in order of arrival. Reached only under the lock of that source.
#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct Queue<P> {
    head: *mut Inner<P>,
    tail: *mut Inner<P>,
    len: usize,
}

// SAFETY: a queue owns nothing but links; the slots behind them move between threads, hence `P: Send`.
unsafe impl<P: Send> Send for Queue<P> {}

impl<P> Queue<P> {
    pub(crate) const fn new() -> Self {
        Queue {
            head: ptr::null_mut(),
            tail: ptr::null_mut(),
            len: 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.head.is_null()
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// # Safety
    /// The lock of this queue's source is held; `node` is linked nowhere and stays in place while it is linked here.
    unsafe fn push(&mut self, node: *mut Inner<P>, me: &Me<'_>) {
        // SAFETY: the caller's contract.
        unsafe { self.insert(node, me, self.tail, ptr::null_mut()) };
    }

    /// # Safety
    /// As for [`Queue::push`].
    #[cold]
    unsafe fn push_first(&mut self, node: *mut Inner<P>, me: &Me<'_>) {
        // SAFETY: the caller's contract.
        unsafe { self.insert(node, me, ptr::null_mut(), self.head) };
    }

    /// # Safety
    /// As for [`Queue::push`]; `prev` and `next` are neighbours, or one of them is null at that end.
    #[inline(always)]
    unsafe fn insert(&mut self, node: *mut Inner<P>, me: &Me<'_>, prev: *mut Inner<P>, next: *mut Inner<P>) {
        // SAFETY: the caller's contract; neighbours are linked, hence alive (rule 1).
        unsafe {
            (*node).witness.write();
            (*node).links.write(Links {
                next,
                prev,
                cell: me.cell,
                branch: me.branch as u32,
                lone: me.lone,
                linked: true,
            });
            match prev.is_null() {
                true => self.head = node,
                false => Inner::links(prev).next = node,
            }
            match next.is_null() {
                true => self.tail = node,
                false => Inner::links(next).prev = node,
            }
        }
        self.len += 1;
    }

    /// # Safety
    /// The lock of this queue's source is held and `node` is linked in this queue.
    unsafe fn unlink(&mut self, node: *mut Inner<P>) {
        // SAFETY: the caller's contract; neighbours are linked, hence alive (rule 1).
        unsafe {
            let links = Inner::links(node);
            let (prev, next) = (links.prev, links.next);
            links.linked = false;
            match prev.is_null() {
                true => self.head = next,
                false => Inner::links(prev).next = next,
            }
            match next.is_null() {
                true => self.tail = prev,
                false => Inner::links(next).prev = prev,
            }
        }
        self.len -= 1;
    }

    /// Meets the first counterpart that can still be decided, if any: commits `me` and it, and hands `exchange` its slot.
    ///
    /// `exchange` moves values only; it runs no user code. Nodes that were decided elsewhere are swept out on the way.
    #[inline(always)]
    pub(crate) fn meet<R>(&mut self, me: &Me<'_>, exchange: impl FnOnce(&mut P) -> R) -> Met<R> {
        let mut node = self.head;
        while !node.is_null() {
            // SAFETY: a linked node and its cell are alive while the lock is held, which `&mut self` proves (rule 1).
            let (next, cell, branch, lone) = unsafe {
                let links = Inner::links(node);
                (links.next, &*links.cell, links.branch, links.lone)
            };
            if !ptr::eq(cell, me.cell) {
                match claim_both(me, cell, lone) {
                    // SAFETY: as above, and the claim (or loneliness) excludes every other decider.
                    Claim::Held => unsafe {
                        self.unlink(node);
                        let waiter = cell.waiter();
                        (*node).witness.write();
                        let result = exchange(&mut (*node).slot);
                        cell.decide(branch);
                        if me.shared {
                            me.cell.decide(me.branch as u32);
                        }
                        return Met::Someone(result, waiter);
                    },
                    // SAFETY: as above.
                    Claim::Stale => unsafe { self.unlink(node) },
                    Claim::Lost => return Met::Lost,
                }
            }
            node = next;
        }
        Met::Nobody
    }

    /// Commits the first waiting node on behalf of a perform that is committed itself (or of none), skipping its own nodes.
    ///
    /// The caller holds no claim: the perform of `own` is final, or unpublished.
    #[inline]
    pub(crate) fn admit<R>(&mut self, own: &Cell, exchange: impl FnOnce(&mut P) -> R) -> Option<(R, Waiter)> {
        let alone = Me {
            cell: own,
            here: None,
            branch: 0,
            lone: false,
            shared: false,
            timeout: None,
        };
        match self.meet(&alone, exchange) {
            Met::Someone(result, waiter) => Some((result, waiter)),
            Met::Nobody => None,
            Met::Lost => unreachable!("a party without a claim of its own cannot lose"),
        }
    }

    /// Commits the first waiting node on behalf of a party that performs nothing itself.
    pub(crate) fn admit_any(&mut self, exchange: impl FnOnce(&mut P)) -> Option<Waiter> {
        let cell = Cell::new(Waiter::Nobody);
        self.admit(&cell, exchange).map(|((), waiter)| waiter)
    }

    /// Decides up to a batch of all waiting nodes; returns whether there are more.
    pub(crate) fn drain(&mut self, batch: &mut Batch, exchange: impl FnMut(&mut P)) -> bool {
        self.each(batch, |_| true, Some(exchange))
    }

    /// Like [`Queue::drain`], but stops at the first node whose slot is not `wanted`; returns whether wanted ones may be left.
    pub(crate) fn drain_while(&mut self, batch: &mut Batch, wanted: impl FnMut(&P) -> bool) -> bool {
        self.each(batch, wanted, Some(|_: &mut P| ()))
    }

    /// Tells up to a batch of all waiting nodes to look again; returns whether there are more.
    pub(crate) fn retry_all(&mut self, batch: &mut Batch) -> bool {
        self.each(batch, |_| true, None::<fn(&mut P)>)
    }

    /// Takes out the node that has waited longest and settles its perform as `exchange` says. `None`: nobody waits, or that
    /// perform has been decided elsewhere, and `exchange` was not called.
    pub(crate) fn settle_first(&mut self, exchange: impl FnOnce(&mut P) -> Settled) -> Option<Waiter> {
        let node = self.head;
        if node.is_null() {
            return None;
        }
        // SAFETY: a linked node and its cell are alive while the lock is held, which `&mut self` proves (rule 1); the decision is
        // the last access to either.
        unsafe {
            (*node).witness.write();
            self.unlink(node);
            let &mut Links { cell, branch, lone, .. } = Inner::links(node);
            let cell = &*cell;
            let waiter = cell.waiter();
            if !lone && !cell.claim() {
                return None;
            }
            match exchange(&mut (*node).slot) {
                Settled::Committed => cell.decide(branch),
                Settled::Again => cell.look_again(),
            }
            Some(waiter)
        }
    }

    /// Decides the nodes after an `exchange` of each, or without one tells them to look again.
    ///
    /// The deciding store stands here, not in a closure: to that the node would be lent for longer than it may live.
    fn each(&mut self, batch: &mut Batch, mut wanted: impl FnMut(&P) -> bool, mut exchange: Option<impl FnMut(&mut P)>) -> bool {
        while !self.is_empty() {
            let node = self.head;
            // SAFETY: a linked node and its cell are alive while the lock is held, which `&mut self` proves (rule 1); the
            // decision is the last access to either.
            unsafe {
                (*node).witness.write();
                if !wanted(&(*node).slot) {
                    return false;
                }
                if batch.is_full() {
                    return true;
                }
                self.unlink(node);
                let &mut Links { cell, branch, lone, .. } = Inner::links(node);
                let cell = &*cell;
                let waiter = cell.waiter();
                let done = match &mut exchange {
                    Some(exchange) if lone || cell.claim() => {
                        exchange(&mut (*node).slot);
                        cell.decide(branch);
                        true
                    }
                    Some(_) => false,
                    None => cell.retry(),
                };
                if done {
                    batch.push(waiter);
                }
            }
        }
        false
    }
}

enum Claim {
    /// The other cell is ours to decide, and so is our own if it is shared.
    Held,
    /// The other perform is final.
    Stale,
    /// Our own perform is final.
    Lost,
}

/// Rule 3, with the cases that need fewer claims first.
#[inline]
fn claim_both(me: &Me<'_>, other: &Cell, other_lone: bool) -> Claim {
    match (me.shared, other_lone) {
        (false, true) => Claim::Held,
        (false, false) if other.claim() => Claim::Held,
        (false, false) => Claim::Stale,
        (true, true) if me.cell.claim() => Claim::Held,
        (true, true) => Claim::Lost,
        (true, false) => claim_in_order(me.cell, other),
    }
}

/// A published choice has met a choice.
#[inline(never)]
fn claim_in_order(me: &Cell, other: &Cell) -> Claim {
    let won = |won, otherwise| if won { Claim::Held } else { otherwise };
    match me.precedes(other) {
        true => {
            if !me.claim() {
                return Claim::Lost;
            }
            let held = other.claim();
            if !held {
                me.unclaim();
            }
            won(held, Claim::Stale)
        }
        false => {
            if !other.claim() {
                return Claim::Stale;
            }
            let held = me.claim();
            if !held {
                other.unclaim();
            }
            won(held, Claim::Lost)
        }
    }
}

/// Waiters collected under a lock, to be woken after it: bounded, so that nothing is allocated and no lock is held for long.
///
/// Costs nothing while it is empty: each end of a fiber makes one, and hardly any of them has somebody to wake.
pub(crate) struct Batch {
    /// The first `len` are initialised.
    waiters: [MaybeUninit<Waiter>; Batch::ROOM],
    len: usize,
}

impl Batch {
    const ROOM: usize = 16;

    #[inline]
    pub(crate) fn new() -> Self {
        Batch {
            waiters: [const { MaybeUninit::uninit() }; Batch::ROOM],
            len: 0,
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len == Batch::ROOM
    }

    /// There has to be room.
    pub(crate) fn push(&mut self, waiter: Waiter) {
        self.waiters[self.len].write(waiter);
        self.len += 1;
    }

    /// Wakes all of them. A batch that is dropped instead owes its waiters their wake.
    #[inline]
    pub(crate) fn wake(&mut self, here: Option<Here>) {
        if self.len > 0 {
            self.wake_all(here);
        }
    }

    fn wake_all(&mut self, here: Option<Here>) {
        let len = mem::take(&mut self.len);
        for waiter in &self.waiters[..len] {
            // SAFETY: below `len`, and read once since `len` is 0 by now.
            unsafe { waiter.assume_init_read() }.wake(here);
        }
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").field("len", &self.len).finish_non_exhaustive()
    }
}

/// What a source guards: it tells from which sides an attempt would succeed now.
pub trait State {
    /// A combination of [`RX_READY`], [`TX_READY`] and [`WAITING`].
    fn readiness(&self) -> u32;

    /// The lock has been taken while the word was this. For a state that parties change through the word alone.
    #[inline(always)]
    fn entered(&mut self, _word: u32) {}
}

/// Set while somebody reaches the state. Set by [`Source::lock`], cleared by the unlock; excludes every other change of the word.
pub(crate) const LOCKED: u32 = 1;
/// A receive (a wait, a join) would find something.
pub(crate) const RX_READY: u32 = 2;
/// A send would find a receiver, room, or a closed channel.
pub(crate) const TX_READY: u32 = 4;
/// Whoever makes the source ready has to look for waiters: only of sources whose word is changed without their lock.
pub(crate) const WAITING: u32 = 8;

/// A place where performs meet: a lock word that carries the readiness of its state, and the state behind it.
///
/// Readiness lies in the lock word, not beside it, so that a peek is ordered with everything that happened under the lock.
#[derive(Default)]
#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct Source<S> {
    word: AtomicU32,
    state: UnsafeCell<S>,
    /// Told of each time the lock is held.
    witness: Witness,
}

// SAFETY: the state is reached only under the lock.
unsafe impl<S: Send> Sync for Source<S> {}

impl<S> Source<S> {
    const_fn! {
        /// With the readiness of `state` as the caller knows it, for constants.
        pub(crate) const fn ready(state: S, readiness: u32) -> Self {
            Source {
                word: AtomicU32::new(readiness),
                state: UnsafeCell::new(state),
                witness: Witness::new(),
            }
        }
    }
}

impl<S: State> Source<S> {
    pub(crate) fn new(state: S) -> Self {
        let readiness = state.readiness();
        Source::ready(state, readiness)
    }

    /// Changes the word without taking the lock, if it is `from`, and nobody holds the lock. The state has to learn of it when
    /// it is [`entered`](State::entered) next.
    ///
    /// Such changes are read-modify-writes, so they lie between an unlock and the next lock, which still pair.
    #[inline(always)]
    pub(crate) fn change(&self, from: u32, to: u32, order: Ordering) -> bool {
        debug_assert_eq!((from | to) & LOCKED, 0, "a lock that is held is its holder's");
        self.word.compare_exchange(from, to, order, Ordering::Relaxed).is_ok()
    }

    /// What the word was a moment ago, as a hint.
    pub(crate) fn glance(&self) -> u32 {
        self.word.load(Ordering::Relaxed)
    }

    /// Whether an attempt from the side of `bits` would have succeeded a moment ago. Acquire: pairs with the unlock, so that
    /// whoever sees a source ready (or not) sees what happened before it became so.
    pub(crate) fn peek(&self, bits: u32) -> bool {
        self.witness.step();
        self.word.load(Ordering::Acquire) & bits != 0
    }

    /// Held for a few instructions only; nothing suspends, wakes or runs user code under it.
    pub(crate) fn lock(&self) -> Locked<'_, S> {
        // Acquire: pairs with the Release of the previous holder's unlock.
        let mut word = self.word.fetch_or(LOCKED, Ordering::Acquire);
        if word & LOCKED != 0 {
            word = self.lock_contended();
        }
        self.witness.write();
        // SAFETY: the lock is held.
        unsafe { (*self.state.get()).entered(word) };
        Locked { source: self }
    }

    #[cold]
    fn lock_contended(&self) -> u32 {
        let mut backoff = Backoff::new();
        loop {
            backoff.wait_for(&self.word, |word| word & LOCKED != 0);
            let word = self.word.fetch_or(LOCKED, Ordering::Acquire);
            if word & LOCKED == 0 {
                return word;
            }
        }
    }
}

/// A held source. Dropping it recomputes the readiness and unlocks in one store.
pub(crate) struct Locked<'a, S: State> {
    source: &'a Source<S>,
}

impl<S: State> Deref for Locked<'_, S> {
    type Target = S;
    fn deref(&self) -> &S {
        // SAFETY: the lock is held.
        unsafe { &*self.source.state.get() }
    }
}

impl<S: State> DerefMut for Locked<'_, S> {
    fn deref_mut(&mut self) -> &mut S {
        // SAFETY: the lock is held.
        unsafe { &mut *self.source.state.get() }
    }
}

impl<S: State> Drop for Locked<'_, S> {
    fn drop(&mut self) {
        // Nobody but the holder writes the word's other bits meanwhile, so a store is enough. Release: pairs with lock and peek.
        self.source.witness.write();
        self.source.witness.step();
        prim::release(&self.source.word, self.readiness());
    }
}
