//! Choices: exactly one branch of several is committed.

use super::Op;
use super::branches::{Branches, Picker};
use super::cell::{Attempt, Me};
use super::graph::Graph;
use crate::sched::WaitKind;
use std::cell::Cell;

/// One of several operations of the same output: whichever can be committed first; if several are ready, each of them with equal
/// probability, counted over the leaves of nested choices.
///
/// Takes tuples of up to 16 operations (of different types), arrays, `Vec`s and iterators (of one type; see [`Op::boxed`]).
/// Tuples and arrays allocate nothing. An empty choice is [`never`](super::never).
///
/// ```
/// use fibers::{Op, channel, op};
///
/// let (tx, rx) = channel::<u32>(1);
/// let (_quit_tx, quit) = channel::<()>(0);
/// tx.send(7).unwrap();
/// let got = op::choice((rx.recv_op().wrap(|v| v.ok()), quit.recv_op().wrap(|_| None))).perform();
/// assert_eq!(got, Some(7));
///
/// let inputs = vec![rx.recv_op(), rx.recv_op()];
/// assert_eq!(op::choice(inputs).try_perform(), None);
/// ```
pub fn choice<Shape, C: Choices<Shape>>(branches: C) -> Choice<C::Group> {
    Choice {
        group: branches.group(),
        order: Order::Fair,
    }
}

/// Like [`choice`], but if several branches are ready, the earliest in source order is taken.
///
/// ```
/// use fibers::{Op, op};
/// assert_eq!(op::biased((op::always(1), op::always(2))).perform(), 1);
/// ```
pub fn biased<Shape, C: Choices<Shape>>(branches: C) -> Choice<C::Group> {
    Choice {
        group: branches.group(),
        order: Order::Biased,
    }
}

/// What [`choice`] and [`biased`] accept. `Shape` only keeps the implementations apart.
pub trait Choices<Shape> {
    /// The branches in the form in which the choice keeps them.
    #[doc(hidden)]
    type Group: Group;
    #[doc(hidden)]
    fn group(self) -> Self::Group;
}

/// Names of the shapes of [`Choices`].
#[derive(Debug)]
pub enum Tuple {}
/// See [`Tuple`].
#[derive(Debug)]
pub enum Array {}
/// See [`Tuple`].
#[derive(Debug)]
pub enum List {}
/// See [`Tuple`].
#[derive(Debug)]
pub enum Iter {}

/// Operations that stand side by side.
pub trait Group {
    #[doc(hidden)]
    type Output;
    #[doc(hidden)]
    type Forced: ForcedGroup<Output = Self::Output>;
    /// As [`Op::IMMEDIATE`], for all of them.
    #[doc(hidden)]
    const IMMEDIATE: bool;
    #[doc(hidden)]
    fn force(self) -> Self::Forced;
    #[doc(hidden)]
    fn graphs(&self) -> Vec<Graph>;
}

/// A choice of several operations; made by [`choice`], [`biased`] and [`Op::or`].
#[derive(Clone, Debug)]
#[must_use = "an operation does nothing until it is performed"]
pub struct Choice<G> {
    group: G,
    order: Order,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Fair,
    Biased,
}

impl Order {
    fn name(self) -> &'static str {
        match self {
            Order::Fair => "choice",
            Order::Biased => "biased",
        }
    }
}

impl<G: Group> Op for Choice<G> {
    type Output = G::Output;
    type Branches = ChoiceBranches<G::Forced>;
    const IMMEDIATE: bool = G::IMMEDIATE;

    fn force(self) -> Self::Branches {
        ChoiceBranches {
            group: self.group.force(),
            order: self.order,
        }
    }

    fn graph(&self) -> Graph {
        Graph::node(self.order.name(), self.group.graphs())
    }
}

/// Forced branches that stand side by side. A leaf is numbered across all of them.
pub trait ForcedGroup {
    #[doc(hidden)]
    type Output;
    #[doc(hidden)]
    fn leaves(&self) -> usize;
    #[doc(hidden)]
    fn pick(&self, biased: bool, picker: &mut Picker);
    #[doc(hidden)]
    fn attempt(&self, leaf: usize, me: &mut Me<'_>) -> Attempt;
    #[doc(hidden)]
    fn publish(&self, leaf: usize, me: &mut Me<'_>) -> Attempt;
    #[doc(hidden)]
    fn retract(&self, leaf: usize);
    #[doc(hidden)]
    fn leave(&self, leaf: usize);
    #[doc(hidden)]
    fn concede(&mut self, winner: Option<usize>);
    #[doc(hidden)]
    fn abandon(&mut self, winner: Option<usize>);
    #[doc(hidden)]
    fn finish(&mut self, leaf: usize) -> Self::Output;
    #[doc(hidden)]
    fn kind(&self) -> WaitKind;
    #[doc(hidden)]
    fn graphs(&self) -> Vec<Graph>;
}

#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct ChoiceBranches<G> {
    group: G,
    order: Order,
}

impl<G: ForcedGroup> Branches for ChoiceBranches<G> {
    type Output = G::Output;

    fn leaves(&self) -> usize {
        self.group.leaves()
    }

    #[inline]
    fn pick(&self, picker: &mut Picker) {
        match self.order {
            Order::Fair => self.group.pick(false, picker),
            Order::Biased => picker.group(self.leaves(), |picker| self.group.pick(true, picker)),
        }
    }

    fn attempt(&self, leaf: usize, me: &mut Me<'_>) -> Attempt {
        self.group.attempt(leaf, me)
    }

    fn publish(&self, leaf: usize, me: &mut Me<'_>) -> Attempt {
        self.group.publish(leaf, me)
    }

    fn retract(&self, leaf: usize) {
        self.group.retract(leaf);
    }

    fn leave(&self, leaf: usize) {
        self.group.leave(leaf);
    }

    fn concede(&mut self, winner: Option<usize>) {
        self.group.concede(winner);
    }

    fn abandon(&mut self, winner: Option<usize>) {
        self.group.abandon(winner);
    }

    fn finish(&mut self, leaf: usize) -> G::Output {
        self.group.finish(leaf)
    }

    fn kind(&self) -> WaitKind {
        self.group.kind()
    }

    fn graph(&self) -> Graph {
        Graph::node(self.order.name(), self.group.graphs())
    }
}

/// `winner` as seen by a branch whose leaves start at `base`.
fn within(winner: Option<usize>, base: usize, leaves: usize) -> Option<usize> {
    winner
        .filter(|leaf| (base..base + leaves).contains(leaf))
        .map(|leaf| leaf - base)
}

/// A choice that receives on any branch counts as receiving.
fn merge(kinds: impl IntoIterator<Item = WaitKind>) -> WaitKind {
    let mut kinds = kinds.into_iter();
    let first = kinds.next().unwrap_or(WaitKind::Other);
    if kinds.any(|kind| kind == WaitKind::Receive) {
        WaitKind::Receive
    } else {
        first
    }
}

/// Runs `$do` on the branch that holds `$leaf`, with the leaf's number inside that branch.
macro_rules! route {
    ($leaf:ident, $($branch:expr),+ => $each:ident, $do:expr) => {{
        let mut $leaf = $leaf;
        $(
            let $each = $branch;
            let leaves = $each.leaves();
            if $leaf < leaves {
                return $do;
            }
            $leaf -= leaves;
        )+
        unreachable!("leaf {} past the end of its choice", $leaf)
    }};
}

macro_rules! tuples {
    ($(($($B:ident $i:tt),+))+) => {$(
        impl<Out, $($B: Op<Output = Out>),+> Choices<Tuple> for ($($B,)+) {
            type Group = Self;
            fn group(self) -> Self {
                self
            }
        }

        impl<Out, $($B: Op<Output = Out>),+> Group for ($($B,)+) {
            type Output = Out;
            type Forced = ($($B::Branches,)+);
            const IMMEDIATE: bool = $($B::IMMEDIATE)&&+;

            fn force(self) -> Self::Forced {
                ($(self.$i.force(),)+)
            }

            fn graphs(&self) -> Vec<Graph> {
                vec![$(self.$i.graph()),+]
            }
        }

        impl<Out, $($B: Branches<Output = Out>),+> ForcedGroup for ($($B,)+) {
            type Output = Out;

            #[inline]
            fn leaves(&self) -> usize {
                0 $(+ self.$i.leaves())+
            }

            #[inline]
            fn pick(&self, biased: bool, picker: &mut Picker) {
                $(
                    if !(biased && picker.found()) {
                        self.$i.pick(picker);
                    }
                )+
            }

            fn attempt(&self, leaf: usize, me: &mut Me<'_>) -> Attempt {
                route!(leaf, $(&self.$i),+ => branch, branch.attempt(leaf, me))
            }

            fn publish(&self, leaf: usize, me: &mut Me<'_>) -> Attempt {
                route!(leaf, $(&self.$i),+ => branch, branch.publish(leaf, me))
            }

            fn retract(&self, leaf: usize) {
                route!(leaf, $(&self.$i),+ => branch, branch.retract(leaf))
            }

            fn leave(&self, leaf: usize) {
                route!(leaf, $(&self.$i),+ => branch, branch.leave(leaf))
            }

            fn concede(&mut self, winner: Option<usize>) {
                let mut base = 0;
                $(
                    let leaves = self.$i.leaves();
                    self.$i.concede(within(winner, base, leaves));
                    base += leaves;
                )+
                let _ = base;
            }

            fn abandon(&mut self, winner: Option<usize>) {
                for winners in [true, false] {
                    let mut base = 0;
                    $(
                        let leaves = self.$i.leaves();
                        let inside = within(winner, base, leaves);
                        if inside.is_some() == winners {
                            self.$i.abandon(inside);
                        }
                        base += leaves;
                    )+
                    let _ = base;
                }
            }

            fn finish(&mut self, leaf: usize) -> Out {
                route!(leaf, $(&mut self.$i),+ => branch, branch.finish(leaf))
            }

            fn kind(&self) -> WaitKind {
                merge([$(self.$i.kind()),+])
            }

            fn graphs(&self) -> Vec<Graph> {
                vec![$(self.$i.graph()),+]
            }
        }
    )+};
}

tuples! {
    (A 0)
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
    (A 0, B 1, C 2, D 3, E 4)
    (A 0, B 1, C 2, D 3, E 4, F 5)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11, M 12)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11, M 12, N 13)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11, M 12, N 13, O 14)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11, M 12, N 13, O 14, P 15)
}

impl<O: Op, const N: usize> Choices<Array> for [O; N] {
    type Group = Self;
    fn group(self) -> Self {
        self
    }
}

impl<O: Op, const N: usize> Group for [O; N] {
    type Output = O::Output;
    type Forced = Many<[O::Branches; N]>;
    const IMMEDIATE: bool = O::IMMEDIATE;

    fn force(self) -> Self::Forced {
        Many::new(self.map(Op::force))
    }

    fn graphs(&self) -> Vec<Graph> {
        self.iter().map(Op::graph).collect()
    }
}

impl<O: Op> Choices<List> for Vec<O> {
    type Group = Self;
    fn group(self) -> Self {
        self
    }
}

impl<O: Op> Group for Vec<O> {
    type Output = O::Output;
    type Forced = Many<Vec<O::Branches>>;
    const IMMEDIATE: bool = O::IMMEDIATE;

    fn force(self) -> Self::Forced {
        Many::new(self.into_iter().map(Op::force).collect())
    }

    fn graphs(&self) -> Vec<Graph> {
        self.iter().map(Op::graph).collect()
    }
}

impl<O: Op, I: Iterator<Item = O>> Choices<Iter> for I {
    type Group = Vec<O>;
    fn group(self) -> Vec<O> {
        self.collect()
    }
}

/// Forced branches of one type, side by side.
#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct Many<C> {
    branches: C,
    /// Of all branches together.
    leaves: usize,
    /// Every branch is one leaf, so a leaf's number is its branch's index.
    flat: bool,
    /// A branch, and the number of its first leaf: that of the last leaf looked for. A perform goes from leaf to leaf, and would
    /// count all branches before each of them otherwise.
    last: Cell<(usize, usize)>,
}

/// A collection of forced branches that stays in place.
pub trait Stored {
    #[doc(hidden)]
    type Branch: Branches;
    #[doc(hidden)]
    fn slice(&self) -> &[Self::Branch];
    #[doc(hidden)]
    fn slice_mut(&mut self) -> &mut [Self::Branch];
}

impl<B: Branches> Stored for Vec<B> {
    type Branch = B;
    fn slice(&self) -> &[B] {
        self
    }
    fn slice_mut(&mut self) -> &mut [B] {
        self
    }
}

impl<B: Branches, const N: usize> Stored for [B; N] {
    type Branch = B;
    fn slice(&self) -> &[B] {
        self
    }
    fn slice_mut(&mut self) -> &mut [B] {
        self
    }
}

impl<C: Stored> Many<C> {
    fn new(branches: C) -> Self {
        let (mut leaves, mut flat) = (0, true);
        for branch in branches.slice() {
            let more = branch.leaves();
            leaves += more;
            flat &= more == 1;
        }
        Many {
            branches,
            leaves,
            flat,
            last: Cell::new((0, 0)),
        }
    }

    /// The index of the branch that holds a leaf, and the leaf's number inside it.
    fn find(&self, leaf: usize) -> (usize, usize) {
        if self.flat {
            return (leaf, 0);
        }
        let (mut branch, mut first) = self.last.get();
        if leaf < first {
            (branch, first) = (0, 0);
        }
        for candidate in &self.branches.slice()[branch..] {
            let leaves = candidate.leaves();
            if leaf - first < leaves {
                self.last.set((branch, first));
                return (branch, leaf - first);
            }
            first += leaves;
            branch += 1;
        }
        unreachable!("leaf {leaf} past the end of its choice")
    }
}

impl<C: Stored> ForcedGroup for Many<C> {
    type Output = <C::Branch as Branches>::Output;

    fn leaves(&self) -> usize {
        self.leaves
    }

    fn pick(&self, biased: bool, picker: &mut Picker) {
        for branch in self.branches.slice() {
            if biased && picker.found() {
                return;
            }
            branch.pick(picker);
        }
    }

    fn attempt(&self, leaf: usize, me: &mut Me<'_>) -> Attempt {
        let (branch, leaf) = self.find(leaf);
        self.branches.slice()[branch].attempt(leaf, me)
    }

    fn publish(&self, leaf: usize, me: &mut Me<'_>) -> Attempt {
        let (branch, leaf) = self.find(leaf);
        self.branches.slice()[branch].publish(leaf, me)
    }

    fn retract(&self, leaf: usize) {
        let (branch, leaf) = self.find(leaf);
        self.branches.slice()[branch].retract(leaf);
    }

    fn leave(&self, leaf: usize) {
        let (branch, leaf) = self.find(leaf);
        self.branches.slice()[branch].leave(leaf);
    }

    fn concede(&mut self, winner: Option<usize>) {
        let winner = winner.map(|leaf| self.find(leaf));
        for (i, branch) in self.branches.slice_mut().iter_mut().enumerate() {
            branch.concede(winner.filter(|(chosen, _)| *chosen == i).map(|(_, leaf)| leaf));
        }
    }

    fn abandon(&mut self, winner: Option<usize>) {
        let winner = winner.map(|leaf| self.find(leaf));
        if let Some((branch, leaf)) = winner {
            self.branches.slice_mut()[branch].abandon(Some(leaf));
        }
        for (i, branch) in self.branches.slice_mut().iter_mut().enumerate() {
            if winner.is_none_or(|(chosen, _)| chosen != i) {
                branch.abandon(None);
            }
        }
    }

    fn finish(&mut self, leaf: usize) -> Self::Output {
        let (branch, leaf) = self.find(leaf);
        self.branches.slice_mut()[branch].finish(leaf)
    }

    fn kind(&self) -> WaitKind {
        merge(self.branches.slice().iter().map(Branches::kind))
    }

    fn graphs(&self) -> Vec<Graph> {
        self.branches.slice().iter().map(Branches::graph).collect()
    }
}
