//! A variable that is written once, as in I-structures (Arvind, Nikhil and Pingali 1989) and in CML's `SyncVar`, where it is
//! `ivar` with `iPut`, `iGet`, `iGetEvt` and `iGetPoll`.
//!
//! # Invariants
//! - The value is there before the event is set, and neither ever changes back. So whoever sees the event may keep a reference for
//!   as long as the variable lives, and copying a value (code of the user) happens on the reader, under no lock.

use super::PutError;
use crate::op::cell::{Attempt, Me, Queue, RX_READY, Source};
use crate::op::event::{Event, EventState};
use crate::op::leaf::{Leaf, Side};
use crate::op::{Graph, Op, Receive, Wrap};
use crate::prim::Arc;
use crate::sched::{self, WaitKind};
use std::fmt;
use std::sync::OnceLock;

/// A variable that is empty until it is written, once, and full from then on. Clones are the same variable.
///
/// A full one never changes, so reading it gives a reference ([`wait`](IVar::wait)) or a copy ([`get`](IVar::get)). CML calls it
/// `ivar`: `iPut` is [`put`](IVar::put), `iGet` is `get`, `iGetPoll` is [`try_get`](IVar::try_get).
///
/// If every handle that could write it is dropped, those who wait do so for ever.
///
/// ```
/// use fibers::{spawn, sync::IVar};
/// fibers::run(|| {
///     let answer = IVar::new();
///     let there = answer.clone();
///     spawn(move || there.put("42".to_string()).unwrap());
///     assert_eq!(answer.wait(), "42"); // a reference
///     assert!(answer.put("43".to_string()).is_err());
/// });
/// ```
pub struct IVar<T>(Arc<Inner<T>>);

struct Inner<T> {
    value: OnceLock<T>,
    full: Event,
}

impl<T> IVar<T> {
    /// An empty one.
    pub fn new() -> Self {
        IVar(Arc::new(Inner {
            value: OnceLock::new(),
            full: Event::new(),
        }))
    }

    /// Writes it, and releases all who wait. Never waits.
    ///
    /// # Errors
    /// Gives the value back if the variable is full already.
    pub fn put(&self, value: T) -> Result<(), PutError<T>> {
        self.0.value.set(value).map_err(PutError)?;
        self.0.full.set(sched::here());
        Ok(())
    }

    /// Waits until it is full, and lends the value.
    ///
    /// # Blocking
    /// Suspends the fiber, or blocks the thread, while it is empty.
    pub fn wait(&self) -> &T {
        self.wait_op().perform()
    }

    /// The operation that is ready once it is full, and yields a reference to the value.
    pub fn wait_op(&self) -> IVarOp<'_, T> {
        IVarOp(self)
    }

    /// Waits until it is full, and copies the value.
    ///
    /// # Blocking
    /// As [`wait`](IVar::wait).
    pub fn get(&self) -> T
    where
        T: Clone,
    {
        self.get_op().perform()
    }

    /// The operation that is ready once it is full, and yields a copy of the value. The copy is made by whoever performs it.
    pub fn get_op(&self) -> Wrap<IVarOp<'_, T>, fn(&T) -> T>
    where
        T: Clone,
    {
        self.wait_op().wrap(T::clone)
    }

    /// The value, if it is full.
    pub fn try_get(&self) -> Option<&T> {
        // Not the event, which comes later: a `put` may have been refused by then, and who was told so finds the value.
        self.0.value.get()
    }

    /// Whether it has been written.
    pub fn is_full(&self) -> bool {
        self.try_get().is_some()
    }

    /// Whether both are the same variable.
    pub fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<T> Clone for IVar<T> {
    fn clone(&self) -> Self {
        IVar(self.0.clone())
    }
}

impl<T> Default for IVar<T> {
    fn default() -> Self {
        IVar::new()
    }
}

/// A full one.
impl<T> From<T> for IVar<T> {
    fn from(value: T) -> Self {
        let full = IVar::new();
        let put = full.put(value);
        debug_assert!(put.is_ok(), "nobody else knows it");
        full
    }
}

impl<T: fmt::Debug> fmt::Debug for IVar<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("IVar").field(&self.try_get()).finish()
    }
}

impl<T: Clone> Receive for IVar<T> {
    type Output = T;
    type Op<'a>
        = Wrap<IVarOp<'a, T>, fn(&T) -> T>
    where
        Self: 'a;

    fn receive_op(&self) -> Self::Op<'_> {
        self.get_op()
    }
}

/// See [`IVar::wait_op`].
#[must_use = "an operation does nothing until it is performed"]
pub struct IVarOp<'a, T>(&'a IVar<T>);

impl<T> Clone for IVarOp<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for IVarOp<'_, T> {}

impl<T> fmt::Debug for IVarOp<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IVarOp").field("full", &self.0.is_full()).finish()
    }
}

impl<'a, T> Op for IVarOp<'a, T> {
    type Output = &'a T;
    type Branches = Leaf<Reading<'a, T>>;
    const IMMEDIATE: bool = true;

    fn force(self) -> Self::Branches {
        Leaf::new(Reading(self.0), ())
    }

    fn graph(&self) -> Graph {
        Reading(self.0).graph()
    }
}

/// Waits until the variable is full.
#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct Reading<'a, T>(&'a IVar<T>);

impl<'a, T> Side for Reading<'a, T> {
    type State = EventState;
    type Slot = ();
    type Output = &'a T;

    const READY: u32 = RX_READY;
    const KIND: WaitKind = WaitKind::Other;

    fn source(&self) -> &Source<EventState> {
        self.0.0.full.source()
    }

    fn attempt(&self, state: &mut EventState, (): &mut (), me: &mut Me<'_>) -> Attempt {
        match state.is_set() {
            false => Attempt::Wait,
            true if me.commit() => Attempt::Done(None),
            true => Attempt::Lost,
        }
    }

    fn queue(state: &mut EventState) -> &mut Queue<()> {
        &mut state.waiters
    }

    fn output(&mut self, (): &mut ()) -> &'a T {
        self.0.try_get().expect("the value comes before the event")
    }

    fn graph(&self) -> Graph {
        Graph::leaf("ivar")
    }
}
