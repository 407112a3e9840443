//! Operations: values that describe a communication. Performing one commits exactly one of its branches.
//!
//! The model is Concurrent ML (Reppy 1991, 1999), in the shape that Wingo's Guile Fibers gave it. An operation is described
//! ([`Op`]), combined ([`choice`], [`Op::wrap`], [`guard`], [`with_nack`]), and then performed: by a fiber, or by any OS thread.
//!
//! # Deviations from CML
//! - `sync` is [`Op::perform`]; events are called operations, as in Guile Fibers.
//! - An operation is consumed by its perform. One that is `Clone` can be performed again through a clone.
//! - A choice looks at all branches first and takes one of the ready ones with equal probability; [`biased`] takes the earliest.
//! - [`Op::timeout`] prefers the operation when both it and the deadline are ready.
//! - A source may tell its waiters to look again (a timer that was reset). Guards are not forced again, nacks do not fire.
//! - Nacks fire for a failed try and for a panic as well.
//!
//! # The page of combinators
//! | combinator | meaning |
//! |---|---|
//! | [`always`]`(v)` | ready at once |
//! | [`never()`] | never ready |
//! | [`choice`]`((a, b))`, `a.`[`or`](Op::or)`(b)` | one of the branches, fair over the ready leaves |
//! | [`biased`]`((a, b))` | the earliest ready branch |
//! | `a.`[`wrap`](Op::wrap)`(f)` | `f` applied to the result, after the commit |
//! | [`guard`]`(f)` | computed when performed |
//! | [`with_nack`]`(f)` | computed when performed; told when it was not chosen |
//! | `a.`[`on_abort`](Op::on_abort)`(f)` | `f` runs when `a` was not chosen |
//! | `a.`[`timeout`](Op::timeout)`(d)` | `a`, or [`Elapsed`] after `d` |
//! | `a.`[`boxed`](Op::boxed)`()` | the type hidden |
//! | [`base`]`(try, publish, withdraw)` | an operation of your own |

mod alarm;
mod base;
mod basic;
mod branches;
pub(crate) mod cell;
mod choice;
pub(crate) mod event;
mod graph;
mod guard;
#[cfg(not(loom))]
mod join;
pub(crate) mod leaf;
mod perform;
pub(crate) mod private;

pub use alarm::{Elapsed, Timeout};
pub use base::{Base, Completer, base};
pub use basic::{Always, BoxOp, Label, Never, Wrap, always, never};
pub use choice::{Choice, Choices, biased, choice};
pub use graph::Graph;
pub use guard::{Guard, Nack, OnAbort, WithNack, guard, with_nack};
#[cfg(not(loom))]
pub use join::JoinOp;

pub(crate) use alarm::{AlarmLeaf, Alarmed, alarm_after, alarm_leaf, deadline_after};
use basic::Text;
pub(crate) use branches::{Branches, Picker};
pub(crate) use guard::{EventLeaf, event_leaf, event_op};

use crate::channel::error::SendError;
use std::time::Duration;

/// A communication that has not happened yet. Performing it commits exactly one of its branches.
///
/// Operations come from channels, timers, join handles and the functions of this module; they are combined with the methods
/// below. All of them work on fibers and on plain OS threads.
///
/// ```
/// use fibers::{Op, channel, time};
/// use std::time::Duration;
///
/// let (tx, rx) = channel::<u32>(1);
/// let op = rx.recv_op().wrap(|v| v.map(|v| v + 1)).timeout(Duration::from_millis(5));
/// assert!(op.clone().perform().is_err()); // nobody sent
/// tx.send(1).unwrap();
/// assert_eq!(op.perform(), Ok(Ok(2)));
/// ```
#[must_use = "an operation does nothing until it is performed"]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an operation",
    label = "not an operation",
    note = "an operation is what methods ending in `_op` return, for example `rx.recv_op()`; a future is not one"
)]
pub trait Op: Sized {
    /// What performing yields.
    type Output;

    #[doc(hidden)]
    type Branches: Branches<Output = Self::Output>;

    /// Whether [`force`](Op::force) takes no time worth counting: it runs no guards.
    #[doc(hidden)]
    const IMMEDIATE: bool = false;

    /// Runs guards and makes nacks: the operation as it is for one perform.
    #[doc(hidden)]
    fn force(self) -> Self::Branches;

    /// The structure of the operation, to be printed or drawn. Guards show as such: they are computed when performed.
    fn graph(&self) -> Graph;

    /// Blocks the fiber or thread until one branch is committed, and returns its value.
    ///
    /// # Panics
    /// With the panic of a guard, nack function, abort action or wrap, if one panics.
    ///
    /// # Blocking
    /// Suspends the fiber; on a plain OS thread, blocks the thread.
    ///
    /// Now and then a fiber lets the others of its worker go first although a branch is ready, so that nobody keeps a worker by
    /// operations alone. Where they must not go first, since the guard of a lock of the standard library is held for instance, use
    /// [`no_suspend`](crate::no_suspend()) or [`try_perform`](Op::try_perform).
    #[inline(always)]
    fn perform(self) -> Self::Output {
        perform::perform(self.force())
    }

    /// Commits a branch that is ready now; `None` if none is. Publishes nothing, never suspends (guards may).
    ///
    /// If one source is ready throughout the call, the result is not `None`.
    #[inline]
    fn try_perform(self) -> Option<Self::Output> {
        perform::try_perform(self.force())
    }

    /// Commits a branch that is ready now, or else calls `f`.
    ///
    /// ```
    /// use fibers::{Op, op};
    /// assert_eq!(op::never().perform_or(|| 3), 3);
    /// ```
    fn perform_or(self, f: impl FnOnce() -> Self::Output) -> Self::Output {
        self.try_perform().unwrap_or_else(f)
    }

    /// Applies `f` to the result, after the commit, on the performer; `f` may perform operations itself. Does not run if the
    /// operation is not chosen.
    fn wrap<U, F: FnOnce(Self::Output) -> U>(self, f: F) -> Wrap<Self, F> {
        Wrap { op: self, f }
    }

    /// This operation or the other, whichever can be committed first.
    fn or<O: Op<Output = Self::Output>>(self, other: O) -> Choice<(Self, O)> {
        choice((self, other))
    }

    /// This operation, or [`Elapsed`] once `duration` has passed since the perform began. If both are ready, the operation wins.
    ///
    /// Never early. The time counts from the worker's next look at its clock, which is after at most 16 turns of other fibers: no
    /// clock is read for a perform that is over before that. Beside fibers that compute for a millisecond at a time it may so be up to
    /// 16 ms late, as it may be late at its end.
    ///
    /// A duration too long to be represented never elapses.
    fn timeout(self, duration: Duration) -> Timeout<Self> {
        Timeout::new(self, duration)
    }

    /// Runs `f` on the performer if no branch of this operation was chosen, where [`with_nack`] would fire: also after a failed
    /// try, and while unwinding from a panic (`f` must not panic then).
    fn on_abort<F: FnOnce()>(self, f: F) -> OnAbort<Self, F> {
        OnAbort { op: self, f }
    }

    /// Names the operation in its [`graph`](Op::graph) and in deadlock reports.
    fn label(self, label: &'static str) -> Label<Self> {
        Label {
            op: self,
            label: Text::Words(label),
        }
    }

    /// Hides the type, for collections of different operations, fields and return types.
    fn boxed<'a>(self) -> BoxOp<'a, Self::Output>
    where
        Self: 'a,
    {
        BoxOp::new(self)
    }
}

/// What `<-x` accepts: receivers, tickers, timers, join handles, conds, nacks, and `Option` of these (`None`: never).
///
/// Takes `x` by shared reference, so that a loop can receive from it again and again.
#[diagnostic::on_unimplemented(
    message = "cannot receive from `{Self}`",
    label = "`<-` needs a receiver, ticker, timer, join handle or another `Receive`",
    note = "for any other operation, leave the `<-` away and write the operation itself: `v = x.some_op() => ..`"
)]
pub trait Receive {
    /// What is received.
    type Output;
    /// The operation that receives it.
    type Op<'a>: Op<Output = Self::Output>
    where
        Self: 'a;

    /// The operation behind `<-x`.
    fn receive_op(&self) -> Self::Op<'_>;
}

impl<R: Receive + ?Sized> Receive for &R {
    type Output = R::Output;
    type Op<'a>
        = R::Op<'a>
    where
        Self: 'a;

    fn receive_op(&self) -> R::Op<'_> {
        (**self).receive_op()
    }
}

impl<R: Receive + ?Sized> Receive for &mut R {
    type Output = R::Output;
    type Op<'a>
        = R::Op<'a>
    where
        Self: 'a;

    fn receive_op(&self) -> R::Op<'_> {
        (**self).receive_op()
    }
}

impl<R: Receive> Receive for Option<R> {
    type Output = R::Output;
    type Op<'a>
        = Option<R::Op<'a>>
    where
        Self: 'a;

    fn receive_op(&self) -> Option<R::Op<'_>> {
        self.as_ref().map(Receive::receive_op)
    }
}

/// What `x <- value` accepts: senders, and `Option` of them (`None`: never).
#[diagnostic::on_unimplemented(
    message = "cannot send a `{T}` to `{Self}`",
    label = "`<-` needs a sender of `{T}` on its left",
    note = "to compare with a negative number, put a space between `<` and `-`"
)]
pub trait Transmit<T> {
    /// The operation that sends.
    type Op<'a>: Op<Output = Result<(), SendError<T>>>
    where
        Self: 'a;

    /// The operation behind `x <- value`.
    fn transmit_op(&self, value: T) -> Self::Op<'_>;
}

impl<T, S: Transmit<T> + ?Sized> Transmit<T> for &S {
    type Op<'a>
        = S::Op<'a>
    where
        Self: 'a;

    fn transmit_op(&self, value: T) -> S::Op<'_> {
        (**self).transmit_op(value)
    }
}

impl<T, S: Transmit<T> + ?Sized> Transmit<T> for &mut S {
    type Op<'a>
        = S::Op<'a>
    where
        Self: 'a;

    fn transmit_op(&self, value: T) -> S::Op<'_> {
        (**self).transmit_op(value)
    }
}

impl<T, S: Transmit<T>> Transmit<T> for Option<S> {
    type Op<'a>
        = Option<S::Op<'a>>
    where
        Self: 'a;

    fn transmit_op(&self, value: T) -> Option<S::Op<'_>> {
        self.as_ref().map(|sender| sender.transmit_op(value))
    }
}

/// Everything of [`Branches`] that a combinator hands on unchanged to the field that holds its subtree.
macro_rules! forward_branches {
    ($field:ident) => {
        #[inline]
        fn leaves(&self) -> usize {
            self.$field.leaves()
        }

        #[inline]
        fn pick(&self, picker: &mut $crate::op::Picker) {
            self.$field.pick(picker);
        }

        #[inline]
        fn attempt(&self, leaf: usize, me: &mut $crate::op::cell::Me<'_>) -> $crate::op::cell::Attempt {
            self.$field.attempt(leaf, me)
        }

        #[inline]
        fn publish(&self, leaf: usize, me: &mut $crate::op::cell::Me<'_>) -> $crate::op::cell::Attempt {
            self.$field.publish(leaf, me)
        }

        #[inline]
        fn retract(&self, leaf: usize) {
            self.$field.retract(leaf);
        }

        #[inline]
        fn leave(&self, leaf: usize) {
            self.$field.leave(leaf);
        }

        #[inline]
        fn concede(&mut self, winner: Option<usize>) {
            self.$field.concede(winner);
        }

        #[inline]
        fn kind(&self) -> $crate::sched::WaitKind {
            self.$field.kind()
        }
    };
}
pub(crate) use forward_branches;
