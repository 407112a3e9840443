//! Joining a fiber, as an operation.

use super::cell::{Attempt, Me, Queue, RX_READY, Source};
use super::graph::Graph;
use super::leaf::{Leaf, Side};
use super::{Op, Receive};
use crate::fiber::{JoinError, JoinHandle, OutcomeState};
use crate::sched::WaitKind;
use std::fmt;

impl<T> JoinHandle<T> {
    /// Waits until the fiber has ended and takes its result.
    ///
    /// # Errors
    /// If the fiber panicked (the payload is inside), if it was ended by a shutdown, or if the result has been taken before
    /// through [`join_op`](JoinHandle::join_op).
    ///
    /// # Blocking
    /// Suspends the fiber, or blocks the thread.
    pub fn join(self) -> Result<T, JoinError> {
        self.join_op().perform()
    }

    /// The operation that waits until the fiber has ended and takes its result. The first to perform it gets the result.
    ///
    /// ```
    /// use fibers::{Op, spawn, time};
    /// use std::time::Duration;
    /// fibers::run(|| {
    ///     let slow = spawn(|| fibers::sleep(Duration::from_secs(3600)));
    ///     assert!(slow.join_op().timeout(Duration::from_millis(1)).perform().is_err());
    /// });
    /// ```
    pub fn join_op(&self) -> JoinOp<'_, T> {
        JoinOp(self)
    }
}

/// See [`JoinHandle::join_op`].
#[must_use = "an operation does nothing until it is performed"]
pub struct JoinOp<'a, T>(&'a JoinHandle<T>);

impl<T> Clone for JoinOp<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for JoinOp<'_, T> {}

impl<T> fmt::Debug for JoinOp<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("JoinOp").field(self.0).finish()
    }
}

impl<'a, T> Op for JoinOp<'a, T> {
    type Output = Result<T, JoinError>;
    type Branches = Leaf<Joining<'a, T>>;
    const IMMEDIATE: bool = true;

    fn force(self) -> Self::Branches {
        Leaf::new(Joining(self.0), None)
    }

    fn graph(&self) -> Graph {
        Joining(self.0).graph()
    }
}

impl<T> Receive for JoinHandle<T> {
    type Output = Result<T, JoinError>;
    type Op<'a>
        = JoinOp<'a, T>
    where
        Self: 'a;

    fn receive_op(&self) -> JoinOp<'_, T> {
        self.join_op()
    }
}

/// Waits for the end of a fiber.
#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct Joining<'a, T>(&'a JoinHandle<T>);

impl<T> Side for Joining<'_, T> {
    type State = OutcomeState<T>;
    type Slot = Option<Result<T, JoinError>>;
    type Output = Result<T, JoinError>;

    const READY: u32 = RX_READY;
    const KIND: WaitKind = WaitKind::Join;

    fn source(&self) -> &Source<OutcomeState<T>> {
        self.0.outcome().source()
    }

    fn attempt(&self, state: &mut OutcomeState<T>, slot: &mut Self::Slot, me: &mut Me<'_>) -> Attempt {
        if !state.has_ended() {
            return Attempt::Wait;
        }
        if !me.commit() {
            return Attempt::Lost;
        }
        *slot = Some(state.take());
        Attempt::Done(None)
    }

    fn queue(state: &mut OutcomeState<T>) -> &mut Queue<Self::Slot> {
        &mut state.waiters
    }

    fn output(&mut self, slot: &mut Self::Slot) -> Result<T, JoinError> {
        slot.take().expect("a join that was decided has its result")
    }

    fn graph(&self) -> Graph {
        match self.0.name() {
            Some(name) => Graph::leaf(format!("join {} ({name})", self.0.id())),
            None => Graph::leaf(format!("join {}", self.0.id())),
        }
    }
}
