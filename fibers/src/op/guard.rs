//! Operations that are made anew for each perform: `guard`, `with_nack`, and the abort actions.

use super::branches::Branches;
use super::cell::{Attempt, Me, Queue, RX_READY, Source};
use super::event::{Event, EventState};
use super::graph::Graph;
use super::leaf::{Leaf, Side};
use super::{Op, Receive};
use crate::prim::Arc;
use crate::sched::{self, WaitKind};
use std::fmt;

/// An operation that is computed when it is performed: `f` runs once per perform, in source order with the other guards, before
/// anything is tried. It may block, and it may return any operation: choices and further guards are flattened into the whole.
///
/// If `f` panics, the perform unwinds and nothing is left behind.
///
/// ```
/// use fibers::{Op, channel, op};
/// let (tx, rx) = channel::<u64>(1);
/// let mut request = 0;
/// let send_next = op::guard(|| {
///     request += 1; // numbered when performed, not when described
///     tx.send_op(request)
/// });
/// send_next.perform().unwrap();
/// assert_eq!(rx.recv(), Ok(1));
/// ```
pub fn guard<O: Op, F: FnOnce() -> O>(f: F) -> Guard<F> {
    Guard(f)
}

/// See [`guard`].
#[derive(Clone)]
#[must_use = "an operation does nothing until it is performed"]
pub struct Guard<F>(F);

impl<F> fmt::Debug for Guard<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guard")
    }
}

impl<O: Op, F: FnOnce() -> O> Op for Guard<F> {
    type Output = O::Output;
    type Branches = O::Branches;

    fn force(self) -> O::Branches {
        (self.0)().force()
    }

    fn graph(&self) -> Graph {
        Graph::leaf("guard (computed when performed)")
    }
}

/// Like [`guard`], but `f` receives a [`Nack`]: an event that fires if and only if no operation of the subtree that `f` returns
/// is committed. Another branch won, a try found nothing, the perform panicked, or the runtime shut down.
///
/// The nack is fresh for each perform, can be cloned and sent anywhere, and stays fired for ever. It fires before the wraps of
/// the winner run. This is how a server learns that its client has given up (Reppy, *Concurrent Programming in ML*, 1999).
///
/// ```
/// use fibers::{Op, op};
/// let mut saved = None;
/// let lost = op::with_nack(|nack| {
///     saved = Some(nack);
///     op::never::<u32>()
/// });
/// assert_eq!(lost.or(op::always(1)).perform(), 1);
/// saved.unwrap().perform(); // the other branch won: fired
/// ```
pub fn with_nack<O: Op, F: FnOnce(Nack) -> O>(f: F) -> WithNack<F> {
    WithNack(f)
}

/// See [`with_nack`].
#[derive(Clone)]
#[must_use = "an operation does nothing until it is performed"]
pub struct WithNack<F>(F);

impl<F> fmt::Debug for WithNack<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WithNack")
    }
}

impl<O: Op, F: FnOnce(Nack) -> O> Op for WithNack<F> {
    type Output = O::Output;
    type Branches = NackBranches<O::Branches>;

    fn force(self) -> Self::Branches {
        // Made before `f` runs: if `f` panics after it gave the nack away, dropping this fires it.
        let pending = Pending(Some(Arc::new(Event::new())));
        let nack = Nack(pending.0.clone().expect("just made"));
        let branches = (self.0)(nack).force();
        NackBranches { pending, branches }
    }

    fn graph(&self) -> Graph {
        Graph::leaf("with_nack (computed when performed)")
    }
}

/// Fires when the operation that it was made for was not chosen. An operation itself, and a source for `<-nack`.
///
/// Any number of clones may be performed by any number of fibers and threads, at any time.
#[derive(Clone)]
#[must_use = "an operation does nothing until it is performed"]
pub struct Nack(Arc<Event>);

impl Nack {
    /// Whether it has fired already.
    pub fn is_fired(&self) -> bool {
        self.0.is_set()
    }
}

impl fmt::Debug for Nack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nack").field("fired", &self.is_fired()).finish()
    }
}

impl Op for Nack {
    type Output = ();
    type Branches = EventLeaf<Arc<Event>>;
    const IMMEDIATE: bool = true;

    fn force(self) -> Self::Branches {
        event_leaf(self.0, "nack")
    }

    fn graph(&self) -> Graph {
        Graph::leaf("nack")
    }
}

impl Receive for Nack {
    type Output = ();
    type Op<'a> = Nack;

    fn receive_op(&self) -> Nack {
        self.clone()
    }
}

/// Fires its event when dropped, unless it was settled before.
struct Pending(Option<Arc<Event>>);

impl Pending {
    fn fire(&mut self) {
        if let Some(event) = self.0.take() {
            event.set(sched::here());
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.fire();
    }
}

#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct NackBranches<B> {
    pending: Pending,
    branches: B,
}

impl<B: Branches> Branches for NackBranches<B> {
    type Output = B::Output;

    super::forward_branches!(branches);

    fn abandon(&mut self, winner: Option<usize>) {
        match winner {
            Some(_) => drop(self.pending.0.take()),
            None => self.pending.fire(),
        }
        self.branches.abandon(winner);
    }

    fn finish(&mut self, leaf: usize) -> B::Output {
        self.branches.finish(leaf)
    }

    fn graph(&self) -> Graph {
        Graph::node("with_nack", [self.branches.graph()])
    }
}

/// See [`Op::on_abort`].
#[derive(Clone)]
#[must_use = "an operation does nothing until it is performed"]
pub struct OnAbort<O, F: FnOnce()> {
    pub(super) op: O,
    pub(super) f: F,
}

impl<O: fmt::Debug, F: FnOnce()> fmt::Debug for OnAbort<O, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnAbort").field("op", &self.op).finish_non_exhaustive()
    }
}

impl<O: Op, F: FnOnce()> Op for OnAbort<O, F> {
    type Output = O::Output;
    type Branches = AbortBranches<O::Branches, F>;
    const IMMEDIATE: bool = O::IMMEDIATE;

    fn force(self) -> Self::Branches {
        // The action is in place before the operation is forced, so that a panic in a guard beneath runs it as well.
        let action = Action(Some(self.f));
        AbortBranches {
            branches: self.op.force(),
            action,
        }
    }

    fn graph(&self) -> Graph {
        Graph::node("on_abort", [self.op.graph()])
    }
}

/// Runs when dropped, unless it was settled before.
struct Action<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> Drop for Action<F> {
    fn drop(&mut self) {
        if let Some(f) = self.0.take() {
            f();
        }
    }
}

#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct AbortBranches<B, F: FnOnce()> {
    branches: B,
    action: Action<F>,
}

impl<B: Branches, F: FnOnce()> Branches for AbortBranches<B, F> {
    type Output = B::Output;

    super::forward_branches!(branches);

    fn abandon(&mut self, winner: Option<usize>) {
        if winner.is_some() {
            // Before anything that may panic: the action of a chosen subtree must not run while unwinding.
            self.action.0 = None;
        }
        self.branches.abandon(winner);
        if let Some(f) = self.action.0.take() {
            f();
        }
    }

    fn finish(&mut self, leaf: usize) -> B::Output {
        self.branches.finish(leaf)
    }

    fn graph(&self) -> Graph {
        Graph::node("on_abort", [self.branches.graph()])
    }
}

/// An event as an operation, described as `what` in graphs.
pub(crate) fn event_op(event: Arc<Event>, what: &'static str) -> EventOp {
    EventOp { event, what }
}

/// See [`event_op`].
pub(crate) struct EventOp {
    event: Arc<Event>,
    what: &'static str,
}

impl Op for EventOp {
    type Output = ();
    type Branches = EventLeaf<Arc<Event>>;
    const IMMEDIATE: bool = true;

    fn force(self) -> Self::Branches {
        event_leaf(self.event, self.what)
    }

    fn graph(&self) -> Graph {
        Graph::leaf(self.what)
    }
}

/// Waits for an event that `E` leads to.
#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct Signalled<E> {
    event: E,
    what: &'static str,
}

pub(crate) type EventLeaf<E> = Leaf<Signalled<E>>;

/// The branch that waits for an event, described as `what` in graphs.
pub(crate) fn event_leaf<E: AsRef<Event>>(event: E, what: &'static str) -> EventLeaf<E> {
    Leaf::new(Signalled { event, what }, ())
}

impl<E: AsRef<Event>> Side for Signalled<E> {
    type State = EventState;
    type Slot = ();
    type Output = ();

    const READY: u32 = RX_READY;
    const KIND: WaitKind = WaitKind::Other;

    fn source(&self) -> &Source<EventState> {
        self.event.as_ref().source()
    }

    fn attempt(&self, state: &mut EventState, (): &mut (), me: &mut Me<'_>) -> Attempt {
        match (state.is_set(), me) {
            (false, _) => Attempt::Wait,
            (true, me) if me.commit() => Attempt::Done(None),
            (true, _) => Attempt::Lost,
        }
    }

    fn queue(state: &mut EventState) -> &mut Queue<()> {
        &mut state.waiters
    }

    fn output(&mut self, (): &mut ()) {}

    fn graph(&self) -> Graph {
        Graph::leaf(self.what)
    }
}

impl AsRef<Event> for Event {
    fn as_ref(&self) -> &Event {
        self
    }
}
