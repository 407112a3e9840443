//! A one-shot broadcast, as in the ancestors: unsignalled, then signalled for ever.

use crate::op::event::Event;
use crate::op::{EventLeaf, Graph, Op, Receive, event_leaf};
use crate::prim::Arc;
use crate::sched;
use std::fmt;

/// A condition that becomes true once. All who wait are released, and nobody who comes later waits. Clones are the same cond.
///
/// What Go does by closing a channel of nothing. (A condition variable is something else: it belongs to a lock.)
///
/// ```
/// use fibers::{Cond, spawn};
/// fibers::run(|| {
///     let ready = Cond::new();
///     let waiters: Vec<_> = (0..3).map(|i| { let ready = ready.clone(); spawn(move || { ready.wait(); i }) }).collect();
///     ready.signal();
///     assert_eq!(waiters.into_iter().map(|w| w.join().unwrap()).sum::<i32>(), 3);
/// });
/// ```
#[derive(Clone)]
pub struct Cond(Arc<Event>);

impl Cond {
    /// Not signalled.
    pub fn new() -> Self {
        Cond(Arc::new(Event::new()))
    }

    /// Signals it: releases everybody, now and later. Again: nothing happens.
    pub fn signal(&self) {
        self.0.set(sched::here());
    }

    /// Whether it has been signalled.
    pub fn is_signalled(&self) -> bool {
        self.0.is_set()
    }

    /// Waits until it is signalled.
    ///
    /// # Blocking
    /// Suspends the fiber, or blocks the thread.
    pub fn wait(&self) {
        self.wait_op().perform();
    }

    /// The operation that is ready once it is signalled.
    pub fn wait_op(&self) -> CondOp<'_> {
        CondOp(self)
    }
}

impl Default for Cond {
    fn default() -> Self {
        Cond::new()
    }
}

impl fmt::Debug for Cond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cond").field("signalled", &self.is_signalled()).finish()
    }
}

/// See [`Cond::wait_op`].
#[derive(Clone, Copy, Debug)]
#[must_use = "an operation does nothing until it is performed"]
pub struct CondOp<'a>(&'a Cond);

impl<'a> Op for CondOp<'a> {
    type Output = ();
    type Branches = EventLeaf<&'a Event>;
    const IMMEDIATE: bool = true;

    fn force(self) -> Self::Branches {
        event_leaf(&self.0.0, "cond")
    }

    fn graph(&self) -> Graph {
        Graph::leaf("cond")
    }
}

impl Receive for Cond {
    type Output = ();
    type Op<'a> = CondOp<'a>;

    fn receive_op(&self) -> CondOp<'_> {
        self.wait_op()
    }
}
