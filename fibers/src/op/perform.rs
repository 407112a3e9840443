//! Performing: attempt, publish, wait, withdraw, finish.
//!
//! The forced operation lives in the frame of [`perform`]; so do the cell and every node. The frame is left only when nothing is
//! linked any more: by the ordinary end, by the shutdown's unwind, or by a panic of user code inside a `base` operation, each of
//! which goes through [`Publication`].
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
pub(crate) fn perform<B: Branches>(mut branches: B) -> B::Output {
    let here = sched::here();
    let winner = if let Some(here) = here.filter(|here| here.may_not_suspend()) {
        // Nothing is published: the fiber may have another perform published at this moment, whose wake it must consume first.
        poll(&branches, Some(here)).unwrap_or_else(|| here.refuse_to_suspend())
    } else if branches.leaves() == 1 {
        lone(&branches, here);
        0
    } else {
        choose(&branches, here)
    };
    branches.abandon(Some(winner));
    branches.finish(winner)
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

/// One branch: tried and published in one step, no claims, nothing to retract afterwards.
#[inline]
fn lone<B: Branches>(branches: &B, here: Option<Here>) {
    while !lone_round(branches, here) {}
}

/// False if the performer is told to look again.
#[inline(always)]
fn lone_round<B: Branches>(branches: &B, here: Option<Here>) -> bool {
    let cell = Cell::new(Waiter::current(here));
    // Apart from the `Publication` of a wait, so that a perform that need not wait keeps all this in registers.
    let unwinding = Unwinding(branches, &cell, here);
    // SAFETY: `branches` and `cell` stay where they are until the wait is over, or `unwinding` has retracted what is published.
    let mut me = unsafe { Me::new(&cell, here, true) };
    let attempt = branches.publish(0, &mut me);
    mem::forget(unwinding);
    let decision = match (attempt, here) {
        (Attempt::Done(waiter), _) => {
            wake(waiter, here);
            return true;
        }
        (_, Some(here)) => wait_lone(branches, &cell, here),
        (_, None) => Publication::new(branches, &cell, None, true).wait(me.timeout),
    };
    let again = decision == Decision::Retry;
    if again {
        // A tick waits in two places, its clock and the wheel, and whoever sent it back knows only one. The cell must outlive the
        // other, so this cannot wait for the next round.
        branches.retract(0);
    }
    !again
}

#[inline(always)]
fn wait_lone<B: Branches>(branches: &B, cell: &Cell, here: Here) -> Decision {
    let unwinding = Unwinding(branches, cell, Some(here));
    let resumed = park(branches, here);
    mem::forget(unwinding);
    if resumed != Resumed::Ready {
        Publication::new(branches, cell, Some(here), true).withdraw(resumed);
    }
    decided(cell)
}

/// While it exists, a panic retracts the one leaf that is published: user code in a `base` operation may panic, or a suspension
/// that is forbidden.
struct Unwinding<'a, B: Branches>(&'a B, &'a Cell, Option<Here>);

impl<B: Branches> Drop for Unwinding<'_, B> {
    #[inline]
    fn drop(&mut self) {
        unwind_lone(self.0, self.1, self.2);
    }
}

#[cold]
fn unwind_lone<B: Branches>(branches: &B, cell: &Cell, here: Option<Here>) {
    drop(Publication::new(branches, cell, here, true));
}

/// Any other number of branches: poll, publish one source after the other, wait, retract the losers.
fn choose<B: Branches>(branches: &B, here: Option<Here>) -> usize {
    loop {
        if let Some(leaf) = poll(branches, here) {
            return leaf;
        }
        let cell = Cell::new(Waiter::current(here));
        let mut publication = Publication::new(branches, &cell, here, false);
        if let Decision::Branch(leaf) = publication.publish_all() {
            return leaf;
        }
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
}

impl<'a, B: Branches> Publication<'a, B> {
    fn new(branches: &'a B, cell: &'a Cell, here: Option<Here>, lone: bool) -> Self {
        Publication {
            branches,
            cell,
            here,
            lone,
            upto: 0,
            settled: false,
        }
    }

    /// Publishes leaf after leaf until the perform is decided, and waits if it has to.
    fn publish_all(&mut self) -> Decision {
        // SAFETY: `branches` and `cell` outlive `self`, whose drop retracts what is still published.
        let mut me = unsafe { Me::new(self.cell, self.here, self.lone) };
        for leaf in 0..self.branches.leaves() {
            if leaf > 0 && self.cell.decision() != Decision::Undecided {
                break;
            }
            self.upto = leaf + 1;
            match self.branches.publish(leaf, me.at(leaf)) {
                Attempt::Done(waiter) => {
                    self.settled = true;
                    self.upto = leaf;
                    wake(waiter, self.here);
                    return Decision::Branch(leaf);
                }
                Attempt::Wait => {}
                Attempt::Lost => break,
            }
        }
        self.wait(me.timeout)
    }

    /// Waits until somebody else has decided, and consumes the wake that belongs to it.
    #[inline]
    fn wait(&mut self, timeout: Option<(u64, Decision)>) -> Decision {
        let decision = match self.here {
            Some(here) => self.wait_on_fiber(here),
            None => self.wait_on_thread(timeout),
        };
        self.settled = true;
        decision
    }

    fn wait_on_fiber(&mut self, here: Here) -> Decision {
        match park(self.branches, here) {
            Resumed::Ready => {}
            resumed => self.withdraw(resumed),
        }
        decided(self.cell)
    }

    /// Resumed without a wake, by a shutdown or a deadlock: unwinds, unless somebody has decided the perform meanwhile.
    #[cold]
    fn withdraw(&mut self, resumed: Resumed) {
        self.settle();
        if self.cell.decision() == Decision::Undecided {
            match resumed {
                Resumed::Deadlock => sched::deadlock(),
                _ => sched::unwind(),
            }
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

    #[inline(never)]
    fn wait_on_thread(&mut self, timeout: Option<(u64, Decision)>) -> Decision {
        loop {
            let decision = self.cell.decision();
            if decision != Decision::Undecided {
                return decision;
            }
            let Some((deadline, then)) = timeout else {
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
    #[inline]
    fn drop(&mut self) {
        if !self.settled {
            // User code in a `base` operation panicked between two publications.
            self.settle();
        }
        // A lone leaf has been unlinked by whoever decided it, or by `settle`; only a choice has losers.
        if !self.lone {
            Losers(self.branches, 0..self.upto).retract();
        }
    }
}

/// Leaves to be retracted. All of them are, even if the withdraw function of a `base` operation panics on the way: what stayed
/// linked would dangle.
struct Losers<'a, B: Branches>(&'a B, Range<usize>);

impl<B: Branches> Losers<'_, B> {
    #[inline]
    fn retract(&mut self) {
        for leaf in self.1.by_ref() {
            self.0.retract(leaf);
        }
    }
}

impl<B: Branches> Drop for Losers<'_, B> {
    fn drop(&mut self) {
        self.retract();
    }
}

#[inline]
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
