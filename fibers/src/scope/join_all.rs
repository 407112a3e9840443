//! Waiting for many fibers at once, as one operation.
//!
//! It is ready when all have ended, and takes all results or none. So it waits at one fiber after the other without wanting its
//! result: at the first one that has not ended, it asks to be told to look again ([`OutcomeState::watch`]), and goes on to the
//! next. What has ended stays so, hence nothing is looked at twice, and no wake can be lost.

use super::ScopedJoinHandle;
use crate::fiber::{JoinError, JoinHandle, OutcomeState};
use crate::op::cell::{Attempt, Exchange, Me, Node, Queue};
use crate::op::{Branches, Graph, Op, Picker};
use crate::sched::WaitKind;
use std::cell::Cell;
use std::fmt;

/// What can be joined: a [`JoinHandle`] or a [`ScopedJoinHandle`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be joined",
    label = "not a join handle",
    note = "`join_all` takes a slice of handles that `spawn`, `scope` or `spawn_blocking` returned: `join_all(&handles)`"
)]
pub trait Join: sealed::Sealed {
    /// The result of the fiber.
    type Value;

    #[doc(hidden)]
    fn handle(&self) -> &JoinHandle<Self::Value>;
}

/// Nobody else says which handle it is: that has to be the same one each time, since a node is taken out where it was put in.
mod sealed {
    pub trait Sealed {}
}

impl<T> sealed::Sealed for JoinHandle<T> {}
impl<T> sealed::Sealed for ScopedJoinHandle<'_, T> {}

impl<T> Join for JoinHandle<T> {
    type Value = T;

    fn handle(&self) -> &JoinHandle<T> {
        self
    }
}

impl<T> Join for ScopedJoinHandle<'_, T> {
    type Value = T;

    fn handle(&self) -> &JoinHandle<T> {
        &self.handle
    }
}

/// The operation that waits until all fibers have ended, and takes their results, in the order of the handles. If it is not chosen it
/// takes none, and each fiber can still be joined.
///
/// A fiber that panics does not end the wait for the others: its place holds the error. A result that somebody else has taken is an
/// error as well.
///
/// ```
/// use fibers::{Op, scope, time};
/// use std::time::Duration;
/// fibers::run(|| {
///     scope(|s| {
///         let children: Vec<_> = (0..3).map(|i| s.spawn(move || i * i)).collect();
///         let squares = scope::join_all(&children).timeout(Duration::from_secs(60)).perform().unwrap();
///         assert_eq!(squares.into_iter().map(Result::unwrap).collect::<Vec<_>>(), [0, 1, 4]);
///     });
/// });
/// ```
pub fn join_all<H: Join>(handles: &[H]) -> JoinAllOp<'_, H> {
    JoinAllOp(handles)
}

/// See [`join_all`].
#[must_use = "an operation does nothing until it is performed"]
pub struct JoinAllOp<'a, H>(&'a [H]);

impl<H> Clone for JoinAllOp<'_, H> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<H> Copy for JoinAllOp<'_, H> {}

impl<H: Join> JoinAllOp<'_, H> {
    fn left(&self) -> usize {
        self.0.iter().filter(|handle| !handle.handle().is_finished()).count()
    }
}

impl<H: Join> fmt::Debug for JoinAllOp<'_, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinAllOp")
            .field("handles", &self.0.len())
            .field("left", &self.left())
            .finish()
    }
}

impl<'a, H: Join> Op for JoinAllOp<'a, H> {
    type Output = Vec<Result<H::Value, JoinError>>;
    type Branches = JoinAll<'a, H>;
    const IMMEDIATE: bool = true;

    fn force(self) -> Self::Branches {
        JoinAll {
            handles: self.0,
            node: Node::new(None),
            first: Cell::new(0),
            waits_at: Cell::new(0),
        }
    }

    fn graph(&self) -> Graph {
        Graph::leaf(format!("join all of {} ({} have not ended)", self.0.len(), self.left()))
    }
}

/// A forced [`JoinAllOp`].
#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct JoinAll<'a, H: Join> {
    handles: &'a [H],
    node: Node<Option<Result<H::Value, JoinError>>>,
    /// All before this one have ended.
    first: Cell<usize>,
    /// Where the node was linked last.
    waits_at: Cell<usize>,
}

impl<H: Join> JoinAll<'_, H> {
    /// The first one that has not ended.
    fn left(&self) -> Option<usize> {
        let ended = |i: &usize| self.handles[*i].handle().is_finished();
        let first = (self.first.get()..self.handles.len()).find(|i| !ended(i));
        self.first.set(first.unwrap_or(self.handles.len()));
        first
    }

    fn commit(me: &Me<'_>) -> Attempt {
        if me.commit() { Attempt::Done(None) } else { Attempt::Lost }
    }
}

impl<H: Join> Branches for JoinAll<'_, H> {
    type Output = Vec<Result<H::Value, JoinError>>;

    fn leaves(&self) -> usize {
        1
    }

    fn pick(&self, picker: &mut Picker) {
        picker.leaf(self.left().is_none());
    }

    fn attempt(&self, _: usize, me: &mut Me<'_>) -> Attempt {
        match self.left() {
            Some(_) => Attempt::Wait,
            None => Self::commit(me),
        }
    }

    fn publish(&self, _: usize, me: &mut Me<'_>) -> Attempt {
        while let Some(i) = self.left() {
            self.waits_at.set(i);
            // Not linked if that one has just ended.
            if let Attempt::Wait = self.node.publish(self.handles[i].handle().outcome().source(), me, &Watching) {
                return Attempt::Wait;
            }
        }
        Self::commit(me)
    }

    fn retract(&self, _: usize) {
        if let Some(handle) = self.handles.get(self.waits_at.get()) {
            self.node.retract(handle.handle().outcome().source(), queue);
        }
    }

    fn abandon(&mut self, _: Option<usize>) {}

    fn finish(&mut self, _: usize) -> Self::Output {
        let take = |handle: &H| handle.handle().outcome().source().lock().take();
        self.handles.iter().map(take).collect()
    }

    fn kind(&self) -> WaitKind {
        WaitKind::Join
    }

    fn graph(&self) -> Graph {
        JoinAllOp(self.handles).graph()
    }
}

/// Waits for the end of a fiber, to look at the next one then.
struct Watching;

fn queue<T>(state: &mut OutcomeState<T>) -> &mut Queue<Option<Result<T, JoinError>>> {
    &mut state.waiters
}

impl<T> Exchange<OutcomeState<T>, Option<Result<T, JoinError>>> for Watching {
    fn attempt(&self, state: &mut OutcomeState<T>, _: &mut Option<Result<T, JoinError>>, _: &mut Me<'_>) -> Attempt {
        // Nothing is ever committed here: "lost" says that there is nothing to wait for.
        if state.watch() { Attempt::Wait } else { Attempt::Lost }
    }

    fn queue(state: &mut OutcomeState<T>) -> &mut Queue<Option<Result<T, JoinError>>> {
        queue(state)
    }
}
