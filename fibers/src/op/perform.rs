//! Performing: attempt, publish, wait, withdraw, finish.
//!
//! The forced operation lives in the frame of [`perform`]; so do the cell and every node. The frame is left only when nothing is
//! linked any more: by the ordinary end, by the shutdown's unwind, or by a panic of user code inside a `base` operation, each of
//! which goes through [`Publication`].
//!
//! # What is inlined
//! A processor predicts that a `ret` goes back to its own `call`. Behind a switch it does not: the function that suspended returns
//! into another fiber than the one that called last, and each such `ret` costs 5 to 10 ns, more than the switch. So everything
//! around [`park`] is inlined, up to the function of the user, who holds the forced operation in a frame of their own. What comes
//! before the switch and after it stands in functions that return on the side they were called on, and is not repeated for each
//! use. (A round trip between two fibers took 57 ns with a `ret` behind each switch, and 40 without.)
#![expect(
    unsafe_code,
    reason = "promises that a forced operation stays in place while it is published"
)]

use super::branches::{Branches, Picker};
use super::cell::{Attempt, Cell, Decision, Me, Waiter};
use crate::prim;
use crate::sched::{self, Here, Report, Resumed, Wait};
use std::fmt;
use std::mem;
use std::ops::Range;
use std::time::Duration;

/// Performs a forced operation, blocking the fiber or thread until one leaf is committed.
#[inline(always)]
pub(crate) fn perform<B: Branches>(mut branches: B) -> B::Output {
    let here = sched::here();
    let polled = match sched::is_held_up(here) {
        true => poll_only(&branches, here),
        false => None,
    };
    let winner = match (polled, here) {
        (Some(leaf), _) => leaf,
        (None, here) if branches.leaves() != 1 => choose(&mut branches, here),
        (None, Some(here)) => lone_on_fiber(&branches, here),
        (None, None) => lone_on_thread(&branches),
    };
    branches.abandon(Some(winner));
    branches.finish(winner)
}

/// Nothing is published: the fiber may have another perform published at this moment, whose wake it must consume first.
/// `None`: it may suspend all the same.
#[cold]
#[inline(never)]
fn poll_only<B: Branches>(branches: &B, here: Option<Here>) -> Option<usize> {
    let leaf = poll(branches, here);
    if leaf.is_none() {
        sched::refuse_to_suspend(here, &Waiting(branches));
    }
    leaf
}

/// Commits a leaf that is ready now, if there is one; publishes nothing.
pub(crate) fn try_perform<B: Branches>(mut branches: B) -> Option<B::Output> {
    let winner = poll(&branches, None);
    branches.abandon(winner);
    winner.map(|leaf| branches.finish(leaf))
}

/// Peeks at all leaves, takes one of the ready ones, and starts over if somebody else was faster. Returns `None` only after a
/// pass that saw nothing ready, so a source that is ready throughout is never reported as not ready.
fn poll<B: Branches>(branches: &B, here: Option<Here>) -> Option<usize> {
    loop {
        let mut picker = Picker::new(here);
        branches.pick(&mut picker);
        let leaf = picker.chosen()?;
        if try_leaf(branches, leaf, here) {
            return Some(leaf);
        }
    }
}

fn try_leaf<B: Branches>(branches: &B, leaf: usize, here: Option<Here>) -> bool {
    let cell = Cell::new(Waiter::Nobody);
    // SAFETY: nothing is published with this `Me`.
    let mut me = unsafe { Me::new(&cell, here, false) };
    match branches.attempt(leaf, me.at(leaf)) {
        Attempt::Done(waiter) => {
            wake(waiter, here);
            true
        }
        Attempt::Wait => false,
        Attempt::Lost => unreachable!("an unpublished perform cannot be decided by others"),
    }
}

#[inline]
fn wake(waiter: Option<Waiter>, here: Option<Here>) {
    if let Some(waiter) = waiter {
        waiter.wake(here);
    }
}

/// One branch on a fiber: tried and published in one step, no claims, nothing to retract afterwards.
#[inline(always)]
fn lone_on_fiber<B: Branches>(branches: &B, here: Here) -> usize {
    while !lone_round(branches, here) {}
    0
}

/// False if the performer is told to look again.
#[inline(always)]
fn lone_round<B: Branches>(branches: &B, here: Here) -> bool {
    let cell = Cell::new(Waiter::Fiber(here.task()));
    // Apart from the `Publication` that a choice has: this one takes part only if something unwinds.
    let unwinding = Unwinding(branches, &cell, here);
    let done = begin_lone(branches, &cell, here);
    let resumed = if done { Resumed::Ready } else { park(branches, here) };
    mem::forget(unwinding);
    done || resumed == Resumed::Ready && decided(&cell) != Decision::Retry || end_lone(branches, &cell, here, resumed)
}

/// Whether the leaf is committed already. If not, it is published.
fn begin_lone<B: Branches>(branches: &B, cell: &Cell, here: Here) -> bool {
    // SAFETY: `branches` and `cell` stay where they are until the wait is over, or until what is published is retracted.
    let mut me = unsafe { Me::new(cell, Some(here), true) };
    match branches.publish(0, &mut me) {
        Attempt::Done(waiter) => {
            wake(waiter, Some(here));
            true
        }
        _ => false,
    }
}

/// What is out of the ordinary after the wait of a lone leaf: a shutdown, or an order to look again.
#[cold]
#[inline(never)]
fn end_lone<B: Branches>(branches: &B, cell: &Cell, here: Here, resumed: Resumed) -> bool {
    if resumed != Resumed::Ready {
        Publication::published_lone(branches, cell, here).withdraw(resumed);
    }
    let again = decided(cell) == Decision::Retry;
    if again {
        // A tick waits in two places, its clock and the wheel, and whoever sent it back knows only one. The cell must outlive the
        // other, so this cannot wait for the next round.
        branches.retract(0);
    }
    !again
}

/// While it exists, a panic retracts the one leaf that is published: user code in a `base` operation may panic, or a suspension
/// that is forbidden.
struct Unwinding<'a, B: Branches>(&'a B, &'a Cell, Here);

impl<B: Branches> Drop for Unwinding<'_, B> {
    #[inline]
    fn drop(&mut self) {
        unwind_lone(self.0, self.1, self.2);
    }
}

#[cold]
#[inline(never)]
fn unwind_lone<B: Branches>(branches: &B, cell: &Cell, here: Here) {
    drop(Publication::published_lone(branches, cell, here));
}

#[inline(never)]
fn lone_on_thread<B: Branches>(branches: &B) -> usize {
    loop {
        let cell = Cell::new(Waiter::current(None));
        let mut publication = Publication::new(branches, &cell, None, true);
        if let Some(leaf) = publication.begin() {
            return leaf;
        }
        let decision = publication.wait_on_thread();
        if let Decision::Branch(leaf) = publication.end(decision) {
            return leaf;
        }
    }
}

/// Any other number of branches: poll, publish one source after the other, wait, retract the losers.
///
/// A choice has a type of its own wherever it is written, so all this is used there alone, and inlined as the compiler likes.
fn choose<B: Branches>(branches: &mut B, here: Option<Here>) -> usize {
    let mut again = false;
    let leaf = loop {
        match choose_round(branches, here) {
            Some(leaf) => break leaf,
            None => again = true,
        }
    };
    if again {
        branches.concede(Some(leaf));
    }
    leaf
}

/// `None` if the performer is told to look again.
#[inline(always)]
fn choose_round<B: Branches>(branches: &B, here: Option<Here>) -> Option<usize> {
    if let Some(leaf) = poll(branches, here) {
        return Some(leaf);
    }
    let cell = Cell::new(Waiter::current(here));
    let mut publication = Publication::new(branches, &cell, here, false);
    if let Some(leaf) = publication.begin() {
        return Some(leaf);
    }
    let decision = match here.map(|here| park(branches, here)) {
        None => publication.wait_on_thread(),
        Some(Resumed::Ready) => decided(&cell),
        Some(resumed) => publication.withdraw(resumed),
    };
    match publication.end(decision) {
        Decision::Branch(leaf) => Some(leaf),
        _ => None,
    }
}

/// The span in which others may reach this perform. Dropping it retracts whatever is still published.
struct Publication<'a, B: Branches> {
    branches: &'a B,
    cell: &'a Cell,
    here: Option<Here>,
    lone: bool,
    /// Leaves below this one have been published.
    upto: usize,
    /// Nobody else will decide this perform any more, and no wake is owed to it.
    settled: bool,
    /// And nothing of it is linked.
    over: bool,
    /// For a thread: the earliest deadline among the branches, and what it decides.
    timeout: Option<(u64, Decision)>,
}

impl<'a, B: Branches> Publication<'a, B> {
    #[inline(always)]
    fn new(branches: &'a B, cell: &'a Cell, here: Option<Here>, lone: bool) -> Self {
        Publication {
            branches,
            cell,
            here,
            lone,
            upto: 0,
            settled: true,
            over: true,
            timeout: None,
        }
    }

    /// Of the leaf of a lone perform that has begun.
    fn published_lone(branches: &'a B, cell: &'a Cell, here: Here) -> Self {
        Publication {
            settled: false,
            over: false,
            ..Publication::new(branches, cell, Some(here), true)
        }
    }

    /// Publishes leaf after leaf until the perform is decided. `None`: it has to be waited for, by a fiber in any case: if
    /// somebody else has decided it, a wake is on its way.
    #[inline(always)]
    fn begin(&mut self) -> Option<usize> {
        (self.settled, self.over) = (false, false);
        // SAFETY: `branches` and `cell` outlive `self`, whose drop retracts what is still published.
        let mut me = unsafe { Me::new(self.cell, self.here, self.lone) };
        for leaf in 0..self.branches.leaves() {
            if leaf > 0 && self.cell.decision() != Decision::Undecided {
                break;
            }
            self.upto = leaf + 1;
            match self.branches.publish(leaf, me.at(leaf)) {
                Attempt::Done(waiter) => {
                    self.upto = leaf;
                    wake(waiter, self.here);
                    self.close(None);
                    return Some(leaf);
                }
                Attempt::Wait => {}
                Attempt::Lost => break,
            }
        }
        self.timeout = me.timeout;
        None
    }

    /// After the wait: retracts what has lost.
    #[inline(always)]
    fn end(&mut self, decision: Decision) -> Decision {
        if self.lone && decision == Decision::Retry {
            // As in `end_lone`.
            self.branches.retract(0);
        }
        self.close(match decision {
            Decision::Branch(leaf) => Some(leaf),
            _ => None,
        });
        decision
    }

    /// Nobody else decides this perform, and no wake is owed to it. One of its published leaves may have been committed.
    #[inline(always)]
    fn close(&mut self, winner: Option<usize>) {
        (self.settled, self.over) = (true, true);
        // A lone leaf has been unlinked by whoever decided it, or by `settle`; only a choice has losers.
        if !self.lone {
            Losers {
                branches: self.branches,
                leaves: 0..self.upto,
                winner,
            }
            .retract();
        }
    }

    /// Resumed without a wake, by a shutdown or a deadlock: unwinds, unless somebody has decided the perform meanwhile.
    #[cold]
    #[inline(never)]
    fn withdraw(&mut self, resumed: Resumed) -> Decision {
        self.settle();
        match (self.cell.decision(), resumed) {
            (Decision::Undecided, Resumed::Deadlock) => sched::deadlock(),
            (Decision::Undecided, _) => sched::unwind(),
            (decision, _) => decision,
        }
    }

    /// Makes sure that nobody will decide this perform; where somebody has, consumes the wake that is owed.
    #[cold]
    fn settle(&mut self) {
        match self.lone {
            // Its decider unlinks a lone leaf and decides the cell under one lock hold: once retracted, it is one or the other.
            true => self.branches.retract(0),
            false => {
                self.cell.abort();
            }
        }
        self.settled = true;
        if let (true, Some(here)) = (self.cell.decision() != Decision::Undecided, self.here) {
            let owed = park(self.branches, here);
            debug_assert_eq!(owed, Resumed::Ready, "a decided perform is owed a wake");
        }
    }

    fn wait_on_thread(&self) -> Decision {
        loop {
            let decision = self.cell.decision();
            if decision != Decision::Undecided {
                return decision;
            }
            let Some((deadline, then)) = self.timeout else {
                prim::park();
                continue;
            };
            let now = sched::now_ns();
            if now < deadline {
                prim::park_timeout(Duration::from_nanos(deadline - now));
            } else if self.expire(then) {
                return then;
            }
        }
    }

    /// A thread is its own clock: it decides itself when its earliest deadline has passed.
    fn expire(&self, then: Decision) -> bool {
        match then {
            Decision::Branch(leaf) => self.cell.commit(leaf),
            Decision::Retry => self.cell.retry(),
            Decision::Undecided => false,
        }
    }
}

impl<B: Branches> Drop for Publication<'_, B> {
    #[inline(always)]
    fn drop(&mut self) {
        if !self.over {
            self.unwind();
        }
    }
}

impl<B: Branches> Publication<'_, B> {
    /// User code in a `base` operation panicked between two publications, a suspension was refused, or a shutdown unwinds.
    #[cold]
    #[inline(never)]
    fn unwind(&mut self) {
        if !self.settled {
            self.settle();
        }
        self.close(None);
    }
}

/// Leaves to be retracted. All of them are, even if the withdraw function of a `base` operation panics on the way: what stayed
/// linked would dangle.
struct Losers<'a, B: Branches> {
    branches: &'a B,
    leaves: Range<usize>,
    /// Except for this one.
    winner: Option<usize>,
}

impl<B: Branches> Losers<'_, B> {
    #[inline]
    fn retract(&mut self) {
        for leaf in self.leaves.by_ref() {
            match Some(leaf) == self.winner {
                true => self.branches.leave(leaf),
                false => self.branches.retract(leaf),
            }
        }
    }
}

impl<B: Branches> Drop for Losers<'_, B> {
    fn drop(&mut self) {
        self.retract();
    }
}

#[inline(always)]
fn park<B: Branches>(branches: &B, here: Here) -> Resumed {
    here.park(Wait {
        kind: branches.kind(),
        report: &Waiting(branches),
    })
}

/// What a fiber finds that was woken.
#[inline]
fn decided(cell: &Cell) -> Decision {
    let decision = cell.decision();
    debug_assert_ne!(decision, Decision::Undecided, "woken without a decision");
    decision
}

/// What the deadlock report prints for a perform.
struct Waiting<'a, B>(&'a B);

impl<B: Branches> Report for Waiting<'_, B> {
    fn report(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.graph())
    }
}
