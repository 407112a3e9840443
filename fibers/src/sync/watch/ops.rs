//! Waiting for a change, and for a condition, as operations.

use super::{View, WatchClosed, WatchRef, Watcher};
use crate::op::{Branches, Graph, Op, forward_branches};
use crate::sync::until::{Accept, Subject, Until};
use std::fmt;

/// Waits for a value that has not been seen; see [`Watcher::changed_op`].
#[must_use = "an operation does nothing until it is performed"]
pub struct ChangedOp<'a, T>(pub(super) &'a Watcher<T>);

impl<T> Clone for ChangedOp<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for ChangedOp<'_, T> {}

impl<T> fmt::Debug for ChangedOp<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ChangedOp").field(self.0).finish()
    }
}

/// Waits until a condition holds; see [`Watcher::wait_for_op`].
#[derive(Clone)]
#[must_use = "an operation does nothing until it is performed"]
pub struct WaitForOp<'a, T, F> {
    pub(super) watcher: &'a Watcher<T>,
    pub(super) condition: F,
}

impl<T, F> fmt::Debug for WaitForOp<'_, T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WaitForOp").field(self.watcher).finish()
    }
}

impl<'a, T> Op for ChangedOp<'a, T> {
    type Output = Result<WatchRef<T>, WatchClosed>;
    type Branches = Seeing<'a, T, Newer<'a, T>>;
    const IMMEDIATE: bool = true;

    fn force(self) -> Self::Branches {
        seeing(self.0, Newer(self.0))
    }

    fn graph(&self) -> Graph {
        self.0.graph()
    }
}

impl<'a, T, F: FnMut(&T) -> bool> Op for WaitForOp<'a, T, F> {
    type Output = Result<WatchRef<T>, WatchClosed>;
    type Branches = Seeing<'a, T, Holds<F>>;
    const IMMEDIATE: bool = true;

    fn force(self) -> Self::Branches {
        seeing(self.watcher, Holds(self.condition))
    }

    fn graph(&self) -> Graph {
        self.watcher.graph()
    }
}

/// Accepts a value that the watcher has not seen.
#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct Newer<'a, T>(&'a Watcher<T>);

impl<T> Accept<View<T>> for Newer<'_, T> {
    type Found = Result<View<T>, WatchClosed>;

    fn accept(&mut self, view: View<T>) -> Option<Self::Found> {
        let newer = view.version > self.0.seen();
        found(newer, view)
    }
}

/// Accepts a value for which a condition holds.
#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct Holds<F>(F);

impl<T, F: FnMut(&T) -> bool> Accept<View<T>> for Holds<F> {
    type Found = Result<View<T>, WatchClosed>;

    fn accept(&mut self, view: View<T>) -> Option<Self::Found> {
        let holds = (self.0)(&view.value);
        found(holds, view)
    }
}

/// A value that is not accepted ends the wait all the same if it is the last one.
fn found<T>(accepted: bool, view: View<T>) -> Option<Result<View<T>, WatchClosed>> {
    match accepted {
        true => Some(Ok(view)),
        false => view.closed.then_some(Err(WatchClosed)),
    }
}

/// A forced wait. What it yields in the end counts as seen; while it may still lose, nothing does.
#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct Seeing<'a, T, A: Accept<View<T>>> {
    watcher: &'a Watcher<T>,
    until: Until<&'a Watcher<T>, A>,
}

fn seeing<T, A: Accept<View<T>>>(watcher: &Watcher<T>, accept: A) -> Seeing<'_, T, A> {
    Seeing {
        watcher,
        until: Until::new(watcher, accept),
    }
}

impl<T, A: Accept<View<T>, Found = Result<View<T>, WatchClosed>>> Branches for Seeing<'_, T, A> {
    type Output = Result<WatchRef<T>, WatchClosed>;

    forward_branches!(until);

    fn abandon(&mut self, winner: Option<usize>) {
        self.until.abandon(winner);
    }

    fn finish(&mut self, leaf: usize) -> Self::Output {
        let view = self.until.finish(leaf)?;
        self.watcher.see(view.version);
        Ok(view.value)
    }

    fn graph(&self) -> Graph {
        self.until.graph()
    }
}
