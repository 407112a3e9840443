//! Putting, taking, reading and swapping, as operations.

use super::{MVar, MVarState, Want};
use crate::op::cell::{Attempt, Me, Met, Queue, RX_READY, Source, TX_READY};
use crate::op::leaf::{Leaf, Side};
use crate::op::{Branches, Graph, Op, forward_branches};
use crate::sched::WaitKind;
use std::fmt;

/// Puts a value in; see [`MVar::put_op`].
#[derive(Clone)]
#[must_use = "an operation does nothing until it is performed"]
pub struct PutOp<'a, T> {
    pub(super) mvar: &'a MVar<T>,
    pub(super) value: T,
}

impl<'a, T> Op for PutOp<'a, T> {
    type Output = ();
    type Branches = Leaf<Putting<'a, T>>;
    const IMMEDIATE: bool = true;

    #[inline]
    fn force(self) -> Self::Branches {
        Leaf::new(Putting(self.mvar), Some(self.value))
    }

    fn graph(&self) -> Graph {
        Putting(self.mvar).graph()
    }
}

/// Takes the value out; see [`MVar::take_op`].
#[must_use = "an operation does nothing until it is performed"]
pub struct TakeOp<'a, T> {
    pub(super) mvar: &'a MVar<T>,
}

impl<'a, T> Op for TakeOp<'a, T> {
    type Output = T;
    type Branches = Leaf<Taking<'a, T>>;
    const IMMEDIATE: bool = true;

    #[inline]
    fn force(self) -> Self::Branches {
        taking(self.mvar, "take from mvar", None, false)
    }

    fn graph(&self) -> Graph {
        Graph::leaf("take from mvar")
    }
}

/// Copies the value; see [`MVar::read_op`].
#[must_use = "an operation does nothing until it is performed"]
pub struct ReadVarOp<'a, T> {
    pub(super) mvar: &'a MVar<T>,
}

impl<'a, T: Clone> Op for ReadVarOp<'a, T> {
    type Output = T;
    type Branches = Loan<'a, T>;
    const IMMEDIATE: bool = true;

    fn force(self) -> Self::Branches {
        Loan {
            mvar: self.mvar,
            leaf: taking(self.mvar, "read mvar", None, true),
            copy: Some(T::clone),
        }
    }

    fn graph(&self) -> Graph {
        Graph::leaf("read mvar")
    }
}

/// Puts a value in for another one; see [`MVar::swap_op`].
#[derive(Clone)]
#[must_use = "an operation does nothing until it is performed"]
pub struct SwapVarOp<'a, T> {
    pub(super) mvar: &'a MVar<T>,
    pub(super) value: T,
}

impl<'a, T> Op for SwapVarOp<'a, T> {
    type Output = T;
    type Branches = Loan<'a, T>;
    const IMMEDIATE: bool = true;

    fn force(self) -> Self::Branches {
        Loan {
            mvar: self.mvar,
            leaf: taking(self.mvar, "swap with mvar", Some(self.value), true),
            copy: None,
        }
    }

    fn graph(&self) -> Graph {
        Graph::leaf("swap with mvar")
    }
}

macro_rules! debug {
    ($($Op:ident)+) => {$(
        impl<T> fmt::Debug for $Op<'_, T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($Op)).field(self.mvar).finish()
            }
        }
    )+};
}

debug!(PutOp TakeOp ReadVarOp SwapVarOp);

macro_rules! copy {
    ($($Op:ident)+) => {$(
        impl<T> Clone for $Op<'_, T> {
            fn clone(&self) -> Self {
                *self
            }
        }

        impl<T> Copy for $Op<'_, T> {}
    )+};
}

copy!(TakeOp ReadVarOp);

/// The putting side: hands over to the first waiting taker, or else leaves the value.
#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct Putting<'a, T>(&'a MVar<T>);

impl<T> Side for Putting<'_, T> {
    type State = MVarState<T>;
    /// The value, while nobody has taken it.
    type Slot = Option<T>;
    type Output = ();

    const READY: u32 = TX_READY;
    const KIND: WaitKind = WaitKind::Send;

    fn source(&self) -> &Source<MVarState<T>> {
        &self.0.0
    }

    fn attempt(&self, state: &mut MVarState<T>, slot: &mut Option<T>, me: &mut Me<'_>) -> Attempt {
        if !state.is_empty() {
            return Attempt::Wait;
        }
        let handed = state.takers.meet(me, |want| {
            want.got = slot.take();
            want.returns
        });
        match handed {
            Met::Someone(lent, taker) => {
                state.lent = lent;
                Attempt::Done(Some(taker))
            }
            Met::Nobody if me.commit() => {
                state.value = slot.take();
                Attempt::Done(None)
            }
            Met::Nobody | Met::Lost => Attempt::Lost,
        }
    }

    fn queue(state: &mut MVarState<T>) -> &mut Queue<Option<T>> {
        &mut state.putters
    }

    fn output(&mut self, _: &mut Option<T>) {}

    fn graph(&self) -> Graph {
        Graph::leaf(format!("put into mvar ({} wait)", self.0.waiting_putters()))
    }
}

/// The taking side, also of reads and swaps.
#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct Taking<'a, T> {
    mvar: &'a MVar<T>,
    what: &'static str,
}

fn taking<'a, T>(mvar: &'a MVar<T>, what: &'static str, new: Option<T>, returns: bool) -> Leaf<Taking<'a, T>> {
    let want = Want { got: None, new, returns };
    Leaf::new(Taking { mvar, what }, want)
}

impl<T> Side for Taking<'_, T> {
    type State = MVarState<T>;
    type Slot = Want<T>;
    type Output = T;

    const READY: u32 = RX_READY;
    const KIND: WaitKind = WaitKind::Receive;

    fn source(&self) -> &Source<MVarState<T>> {
        &self.mvar.0
    }

    fn attempt(&self, state: &mut MVarState<T>, want: &mut Want<T>, me: &mut Me<'_>) -> Attempt {
        if state.value.is_none() {
            return Attempt::Wait;
        }
        if !me.commit() {
            return Attempt::Lost;
        }
        want.got = state.value.take();
        // A swap that need not wait is over at once.
        state.value = want.new.take();
        state.lent = want.returns && state.value.is_none();
        match want.returns {
            true => Attempt::Done(None),
            false => Attempt::Done(state.refill(me.cell())),
        }
    }

    fn queue(state: &mut MVarState<T>) -> &mut Queue<Want<T>> {
        &mut state.takers
    }

    fn output(&mut self, want: &mut Want<T>) -> T {
        want.got.take().expect("a take that was decided has its value")
    }

    fn graph(&self) -> Graph {
        Graph::leaf(format!("{} ({} wait)", self.what, self.mvar.waiting_takers()))
    }
}

/// A forced read or swap: what it owes to the variable comes back in any case, also if a panic keeps it from its end.
#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct Loan<'a, T> {
    mvar: &'a MVar<T>,
    leaf: Leaf<Taking<'a, T>>,
    /// Of a read.
    copy: Option<fn(&T) -> T>,
}

impl<T> Loan<'_, T> {
    /// Gives back what is owed: of a swap, the new value; of a read, the one that was lent.
    fn repay(&mut self) {
        let want = self.leaf.slot();
        let owed = match (&want.got, self.copy) {
            (Some(_), Some(_)) => want.got.take(),
            (Some(_), None) => want.new.take(),
            (None, _) => None,
        };
        if let Some(value) = owed {
            self.mvar.give_back(value);
        }
    }
}

impl<T> Branches for Loan<'_, T> {
    type Output = T;

    forward_branches!(leaf);

    fn abandon(&mut self, winner: Option<usize>) {
        if winner.is_some() && self.copy.is_none() {
            // Others wait for the new value: not only once the abort actions of the losers are through.
            self.repay();
        }
    }

    fn finish(&mut self, leaf: usize) -> T {
        let Some(copy) = self.copy else {
            return self.leaf.finish(leaf);
        };
        let lent = self.leaf.slot().got.as_ref();
        let value = copy(lent.expect("a read that was decided has its loan"));
        self.repay();
        value
    }

    fn graph(&self) -> Graph {
        self.leaf.graph()
    }
}

impl<T> Drop for Loan<'_, T> {
    fn drop(&mut self) {
        self.repay();
    }
}
