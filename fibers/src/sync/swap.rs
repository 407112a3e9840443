//! Swap channels: two performers meet, and each goes on with the value of the other.
//!
//! The example of chapter 6 in Reppy's *Concurrent Programming in ML* (1999). There it takes a choice of sending and receiving, with
//! nacks or a reply channel to keep the two halves together. Here it is one queue of the commit protocol: both sides are the same
//! operation, which meets a waiting one of another performer, or else waits itself.
//!
//! # Invariants
//! - Whoever waits holds their own value in the slot of their node; whoever meets them exchanges it for another one in one step.
//! - Nodes of several performers wait at once only for as long as one of them is claimed elsewhere: the later one waits for that
//!   claim, and meets what is left. Two nodes of one choice do not meet.

use super::SwapError;
use crate::op::cell::{Attempt, Me, Met, Queue, RX_READY, Source, State};
use crate::op::leaf::{Leaf, Side};
use crate::op::{Graph, Op};
use crate::prim::Arc;
use crate::sched::{self, WaitKind};
use std::fmt;
use std::mem;

/// A place where performers meet in pairs and exchange a value each. Clones are the same place.
///
/// ```
/// use fibers::{spawn, sync::Swap};
/// fibers::run(|| {
///     let swap = Swap::new();
///     let theirs = swap.clone();
///     let other = spawn(move || theirs.swap("ping"));
///     assert_eq!(swap.swap("pong"), "ping");
///     assert_eq!(other.join().unwrap(), "pong");
/// });
/// ```
pub struct Swap<T>(Arc<Source<SwapState<T>>>);

/// Who waits for a partner.
#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct SwapState<T> {
    waiting: Queue<Option<T>>,
}

impl<T> State for SwapState<T> {
    fn readiness(&self) -> u32 {
        if self.waiting.is_empty() { 0 } else { RX_READY }
    }
}

impl<T> Swap<T> {
    /// A place where nobody waits yet.
    pub fn new() -> Self {
        Swap(Arc::new(Source::new(SwapState { waiting: Queue::new() })))
    }

    /// Gives `value` to another performer and returns theirs, waiting for one.
    ///
    /// # Blocking
    /// Suspends the fiber, or blocks the thread, until somebody comes.
    pub fn swap(&self, value: T) -> T {
        self.swap_op(value).perform()
    }

    /// Exchanges `value` with somebody who waits already.
    ///
    /// # Errors
    /// Gives the value back if nobody waits.
    pub fn try_swap(&self, value: T) -> Result<T, SwapError<T>> {
        let mut value = Some(value);
        let met = self.0.lock().waiting.admit_any(|theirs| mem::swap(theirs, &mut value));
        let value = value.expect("exchanged for another one, if at all");
        match met {
            Some(waiter) => {
                waiter.wake(sched::here());
                Ok(value)
            }
            None => Err(SwapError(value)),
        }
    }

    /// The operation that exchanges `value` with another performer of it. Two of them in one choice do not meet each other. If it
    /// is not chosen, the value is dropped with it.
    pub fn swap_op(&self, value: T) -> SwapOp<'_, T> {
        SwapOp { swap: self, value }
    }

    /// How many performs wait for a partner now.
    pub fn waiting(&self) -> usize {
        self.0.lock().waiting.len()
    }

    /// Whether both are the same place.
    pub fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<T> Clone for Swap<T> {
    fn clone(&self) -> Self {
        Swap(self.0.clone())
    }
}

impl<T> Default for Swap<T> {
    fn default() -> Self {
        Swap::new()
    }
}

impl<T> fmt::Debug for Swap<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Swap").field("waiting", &self.waiting()).finish()
    }
}

/// See [`Swap::swap_op`].
#[derive(Clone)]
#[must_use = "an operation does nothing until it is performed"]
pub struct SwapOp<'a, T> {
    swap: &'a Swap<T>,
    value: T,
}

impl<T> fmt::Debug for SwapOp<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SwapOp").field(self.swap).finish()
    }
}

impl<'a, T> Op for SwapOp<'a, T> {
    type Output = T;
    type Branches = Leaf<Swapping<'a, T>>;
    const IMMEDIATE: bool = true;

    #[inline]
    fn force(self) -> Self::Branches {
        Leaf::new(Swapping(self.swap), Some(self.value))
    }

    fn graph(&self) -> Graph {
        Swapping(self.swap).graph()
    }
}

/// Either side of an exchange.
#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct Swapping<'a, T>(&'a Swap<T>);

impl<T> Side for Swapping<'_, T> {
    type State = SwapState<T>;
    /// The own value; once committed, the other's.
    type Slot = Option<T>;
    type Output = T;

    const READY: u32 = RX_READY;
    const KIND: WaitKind = WaitKind::Receive;

    fn source(&self) -> &Source<SwapState<T>> {
        &self.0.0
    }

    fn attempt(&self, state: &mut SwapState<T>, slot: &mut Option<T>, me: &mut Me<'_>) -> Attempt {
        match state.waiting.meet(me, |theirs| mem::swap(theirs, slot)) {
            Met::Someone((), waiter) => Attempt::Done(Some(waiter)),
            Met::Nobody => Attempt::Wait,
            Met::Lost => Attempt::Lost,
        }
    }

    fn queue(state: &mut SwapState<T>) -> &mut Queue<Option<T>> {
        &mut state.waiting
    }

    fn output(&mut self, slot: &mut Option<T>) -> T {
        slot.take().expect("each side has a value all the time")
    }

    fn graph(&self) -> Graph {
        Graph::leaf(format!("swap ({} waiting)", self.0.waiting()))
    }
}
