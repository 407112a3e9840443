//! The bridge from the protocol to a communication: a [`Side`] says in safe code what happens at its source, a [`Leaf`] turns it
//! into a branch.

use super::branches::{Branches, Picker};
use super::cell::{Attempt, Exchange, Me, Node, Queue, Source, State};
use super::graph::Graph;
use crate::sched::WaitKind;

/// One side of a source: receiving from a channel, sending to it, waiting for an event.
pub trait Side {
    type State: State;
    /// What a counterpart fills or empties while this side waits.
    type Slot;
    type Output;

    /// Any of these bits in the source's lock word means that an attempt is worthwhile.
    const READY: u32;
    const KIND: WaitKind;

    fn source(&self) -> &Source<Self::State>;

    /// Commits now if that is possible, under the lock; wins the performer's cell (through `me`) before it takes anything.
    fn attempt(&self, state: &mut Self::State, slot: &mut Self::Slot, me: &mut Me<'_>) -> Attempt;

    /// Where this side waits.
    fn queue(state: &mut Self::State) -> &mut Queue<Self::Slot>;

    /// Whether it waits before all who are there: somebody who had been told to look again and has come in vain.
    #[inline(always)]
    fn comes_first(_slot: &Self::Slot) -> bool {
        false
    }

    /// What the committed slot yields.
    fn output(&mut self, slot: &mut Self::Slot) -> Self::Output;

    fn graph(&self) -> Graph;
}

impl<S: Side> Exchange<S::State, S::Slot> for S {
    #[inline(always)]
    fn attempt(&self, state: &mut S::State, slot: &mut S::Slot, me: &mut Me<'_>) -> Attempt {
        Side::attempt(self, state, slot, me)
    }

    #[inline(always)]
    fn queue(state: &mut S::State) -> &mut Queue<S::Slot> {
        <S as Side>::queue(state)
    }

    #[inline(always)]
    fn comes_first(slot: &S::Slot) -> bool {
        <S as Side>::comes_first(slot)
    }
}

/// A branch that waits at one source.
#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct Leaf<S: Side> {
    side: S,
    node: Node<S::Slot>,
}

impl<S: Side> Leaf<S> {
    pub(crate) fn new(side: S, slot: S::Slot) -> Self {
        Leaf {
            side,
            node: Node::new(slot),
        }
    }

    pub(crate) fn side(&self) -> &S {
        &self.side
    }

    /// As [`Branches::retract`], where the slot tells in which queue the node is.
    pub(crate) fn retract_from(&self, queue: impl for<'s> FnOnce(&'s mut S::State, &S::Slot) -> &'s mut Queue<S::Slot>) {
        self.node.retract_from(self.side.source(), queue);
    }

    /// The slot of a leaf that is not published.
    pub(crate) fn slot(&mut self) -> &mut S::Slot {
        self.node.slot()
    }
}

impl<S: Side> Branches for Leaf<S> {
    type Output = S::Output;

    fn leaves(&self) -> usize {
        1
    }

    #[inline]
    fn pick(&self, picker: &mut Picker) {
        picker.leaf(self.side.source().peek(S::READY));
    }

    #[inline]
    fn attempt(&self, _: usize, me: &mut Me<'_>) -> Attempt {
        self.node.attempt(self.side.source(), me, &self.side)
    }

    #[inline(always)]
    fn publish(&self, _: usize, me: &mut Me<'_>) -> Attempt {
        self.node.publish(self.side.source(), me, &self.side)
    }

    fn retract(&self, _: usize) {
        self.node.retract(self.side.source(), <S as Side>::queue);
    }

    #[inline]
    fn leave(&self, _: usize) {
        // Whoever decides a node unlinks it, under the same lock hold.
    }

    fn abandon(&mut self, _: Option<usize>) {}

    fn finish(&mut self, _: usize) -> S::Output {
        self.side.output(self.node.slot())
    }

    fn kind(&self) -> WaitKind {
        S::KIND
    }

    fn graph(&self) -> Graph {
        self.side.graph()
    }
}
