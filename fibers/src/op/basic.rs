//! The smallest operations: `always`, `never`, and the transformers of one operation (`wrap`, `label`, `boxed`, `Option`).

use super::Op;
use super::branches::{Branches, Picker};
use super::cell::{Attempt, Me};
use super::graph::Graph;
use crate::sched::WaitKind;
use std::fmt;
use std::marker::PhantomData;

/// An operation that is always ready and yields `value`. In a choice it competes fairly with the other ready branches.
///
/// ```
/// use fibers::{Op, op};
/// assert_eq!(op::always(7).perform(), 7);
/// ```
pub fn always<T>(value: T) -> Always<T> {
    Always(value)
}

/// See [`always`].
#[derive(Clone, Debug)]
#[must_use = "an operation does nothing until it is performed"]
pub struct Always<T>(T);

impl<T> Op for Always<T> {
    type Output = T;
    type Branches = AlwaysBranches<T>;
    const IMMEDIATE: bool = true;

    fn force(self) -> AlwaysBranches<T> {
        AlwaysBranches(Some(self.0))
    }

    fn graph(&self) -> Graph {
        Graph::leaf("always")
    }
}

#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct AlwaysBranches<T>(Option<T>);

impl<T> Branches for AlwaysBranches<T> {
    type Output = T;

    fn leaves(&self) -> usize {
        1
    }

    fn pick(&self, picker: &mut Picker) {
        picker.leaf(true);
    }

    fn attempt(&self, _: usize, me: &mut Me<'_>) -> Attempt {
        if me.commit() { Attempt::Done(None) } else { Attempt::Lost }
    }

    fn publish(&self, leaf: usize, me: &mut Me<'_>) -> Attempt {
        self.attempt(leaf, me)
    }

    fn retract(&self, _: usize) {}

    fn abandon(&mut self, _: Option<usize>) {}

    fn finish(&mut self, _: usize) -> T {
        self.0.take().expect("finished once")
    }

    fn kind(&self) -> WaitKind {
        WaitKind::Other
    }

    fn graph(&self) -> Graph {
        Graph::leaf("always")
    }
}

/// An operation that is never ready: the identity of [`choice`](super::choice). Performing it alone blocks for ever.
///
/// ```
/// use fibers::{Op, op};
/// assert_eq!(op::never::<u32>().or(op::always(1)).perform(), 1);
/// assert_eq!(op::never::<u32>().try_perform(), None);
/// ```
pub fn never<T>() -> Never<T> {
    Never(PhantomData)
}

/// See [`never()`].
#[must_use = "an operation does nothing until it is performed"]
pub struct Never<T>(PhantomData<fn() -> T>);

impl<T> Clone for Never<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Never<T> {}

impl<T> fmt::Debug for Never<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Never")
    }
}

impl<T> Op for Never<T> {
    type Output = T;
    type Branches = OptionBranches<AlwaysBranches<T>>;
    const IMMEDIATE: bool = true;

    fn force(self) -> Self::Branches {
        OptionBranches(None)
    }

    fn graph(&self) -> Graph {
        Graph::leaf("never")
    }
}

/// `None` is [`never()`]: an absent branch.
impl<O: Op> Op for Option<O> {
    type Output = O::Output;
    type Branches = OptionBranches<O::Branches>;
    const IMMEDIATE: bool = O::IMMEDIATE;

    fn force(self) -> Self::Branches {
        OptionBranches(self.map(Op::force))
    }

    fn graph(&self) -> Graph {
        self.as_ref().map_or_else(|| Graph::leaf("never"), Op::graph)
    }
}

#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct OptionBranches<B>(Option<B>);

impl<B: Branches> OptionBranches<B> {
    fn some(&self) -> &B {
        self.0.as_ref().expect("an absent branch has no leaves")
    }
}

impl<B: Branches> Branches for OptionBranches<B> {
    type Output = B::Output;

    fn leaves(&self) -> usize {
        self.0.as_ref().map_or(0, Branches::leaves)
    }

    fn pick(&self, picker: &mut Picker) {
        if let Some(branches) = &self.0 {
            branches.pick(picker);
        }
    }

    fn attempt(&self, leaf: usize, me: &mut Me<'_>) -> Attempt {
        self.some().attempt(leaf, me)
    }

    fn publish(&self, leaf: usize, me: &mut Me<'_>) -> Attempt {
        self.some().publish(leaf, me)
    }

    fn retract(&self, leaf: usize) {
        self.some().retract(leaf);
    }

    fn leave(&self, leaf: usize) {
        self.some().leave(leaf);
    }

    fn concede(&mut self, winner: Option<usize>) {
        if let Some(branches) = &mut self.0 {
            branches.concede(winner);
        }
    }

    fn abandon(&mut self, winner: Option<usize>) {
        if let Some(branches) = &mut self.0 {
            branches.abandon(winner);
        }
    }

    fn finish(&mut self, leaf: usize) -> B::Output {
        self.0.as_mut().expect("an absent branch has no leaves").finish(leaf)
    }

    fn kind(&self) -> WaitKind {
        self.0.as_ref().map_or(WaitKind::Other, Branches::kind)
    }

    fn graph(&self) -> Graph {
        self.0.as_ref().map_or_else(|| Graph::leaf("never"), Branches::graph)
    }
}

/// See [`Op::wrap`].
#[derive(Clone)]
#[must_use = "an operation does nothing until it is performed"]
pub struct Wrap<O, F> {
    pub(super) op: O,
    pub(super) f: F,
}

impl<O: fmt::Debug, F> fmt::Debug for Wrap<O, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wrap").field("op", &self.op).finish_non_exhaustive()
    }
}

impl<O: Op, U, F: FnOnce(O::Output) -> U> Op for Wrap<O, F> {
    type Output = U;
    type Branches = WrapBranches<O::Branches, F>;
    const IMMEDIATE: bool = O::IMMEDIATE;

    fn force(self) -> Self::Branches {
        WrapBranches {
            branches: self.op.force(),
            f: Some(self.f),
        }
    }

    fn graph(&self) -> Graph {
        Graph::node("wrap", [self.op.graph()])
    }
}

#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct WrapBranches<B, F> {
    branches: B,
    f: Option<F>,
}

impl<B: Branches, U, F: FnOnce(B::Output) -> U> Branches for WrapBranches<B, F> {
    type Output = U;

    super::forward_branches!(branches);

    fn abandon(&mut self, winner: Option<usize>) {
        self.branches.abandon(winner);
    }

    fn finish(&mut self, leaf: usize) -> U {
        let value = self.branches.finish(leaf);
        self.f.take().expect("finished once")(value)
    }

    fn graph(&self) -> Graph {
        Graph::node("wrap", [self.branches.graph()])
    }
}

/// See [`Op::label`].
#[derive(Clone, Debug)]
#[must_use = "an operation does nothing until it is performed"]
pub struct Label<O> {
    pub(super) op: O,
    pub(super) label: Text,
}

/// What a label says: words of the user, or an arm of a `select!` with its place.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Text {
    Words(&'static str),
    Arm(&'static Arm),
}

impl Text {
    fn add_to(self, graph: Graph) -> Graph {
        match self {
            Text::Words(words) => graph.labelled(words),
            Text::Arm(arm) => graph.labelled(format!("{} at {}:{}:{}", arm.text, arm.file, arm.line, arm.column)),
        }
    }
}

/// Where an arm of a `select!` stands, and how its operation reads.
#[derive(Debug)]
pub struct Arm {
    /// The operation as written.
    pub text: &'static str,
    /// Source file, as `file!()` gives it.
    pub file: &'static str,
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1.
    pub column: u32,
}

impl<O: Op> Op for Label<O> {
    type Output = O::Output;
    type Branches = LabelBranches<O::Branches>;
    const IMMEDIATE: bool = O::IMMEDIATE;

    fn force(self) -> Self::Branches {
        LabelBranches {
            branches: self.op.force(),
            label: self.label,
        }
    }

    fn graph(&self) -> Graph {
        self.label.add_to(self.op.graph())
    }
}

#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct LabelBranches<B> {
    branches: B,
    label: Text,
}

impl<B: Branches> Branches for LabelBranches<B> {
    type Output = B::Output;

    super::forward_branches!(branches);

    fn abandon(&mut self, winner: Option<usize>) {
        self.branches.abandon(winner);
    }

    fn finish(&mut self, leaf: usize) -> B::Output {
        self.branches.finish(leaf)
    }

    fn graph(&self) -> Graph {
        self.label.add_to(self.branches.graph())
    }
}

/// An operation whose type is hidden: for collections of different operations, struct fields and return types.
///
/// Made by [`Op::boxed`]; costs one allocation, and one more for each perform.
#[must_use = "an operation does nothing until it is performed"]
pub struct BoxOp<'a, T>(Box<dyn Hidden<'a, T> + 'a>);

impl<'a, T> BoxOp<'a, T> {
    pub(super) fn new(op: impl Op<Output = T> + 'a) -> Self {
        BoxOp(Box::new(op))
    }
}

impl<T> fmt::Debug for BoxOp<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BoxOp({})", self.0.hidden_graph())
    }
}

trait Hidden<'a, T> {
    fn hidden_force(self: Box<Self>) -> Box<dyn Branches<Output = T> + 'a>;
    fn hidden_graph(&self) -> Graph;
}

impl<'a, T, O: Op<Output = T> + 'a> Hidden<'a, T> for O {
    fn hidden_force(self: Box<Self>) -> Box<dyn Branches<Output = T> + 'a> {
        Box::new((*self).force())
    }

    fn hidden_graph(&self) -> Graph {
        self.graph()
    }
}

impl<'a, T> Op for BoxOp<'a, T> {
    type Output = T;
    type Branches = Box<dyn Branches<Output = T> + 'a>;

    fn force(self) -> Self::Branches {
        self.0.hidden_force()
    }

    fn graph(&self) -> Graph {
        self.0.hidden_graph()
    }
}

impl<B: Branches + ?Sized> Branches for Box<B> {
    type Output = B::Output;

    fn leaves(&self) -> usize {
        (**self).leaves()
    }

    fn pick(&self, picker: &mut Picker) {
        (**self).pick(picker);
    }

    fn attempt(&self, leaf: usize, me: &mut Me<'_>) -> Attempt {
        (**self).attempt(leaf, me)
    }

    fn publish(&self, leaf: usize, me: &mut Me<'_>) -> Attempt {
        (**self).publish(leaf, me)
    }

    fn retract(&self, leaf: usize) {
        (**self).retract(leaf);
    }

    fn leave(&self, leaf: usize) {
        (**self).leave(leaf);
    }

    fn concede(&mut self, winner: Option<usize>) {
        (**self).concede(winner);
    }

    fn abandon(&mut self, winner: Option<usize>) {
        (**self).abandon(winner);
    }

    fn finish(&mut self, leaf: usize) -> B::Output {
        (**self).finish(leaf)
    }

    fn kind(&self) -> WaitKind {
        (**self).kind()
    }

    fn graph(&self) -> Graph {
        (**self).graph()
    }
}
