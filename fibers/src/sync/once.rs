//! Something that is done once, by whoever comes first, while all others wait.
//!
//! # Invariants (under the lock)
//! - At most one caller has the turn: its initialiser runs. Callers and waiters wait only while somebody has the turn, callers for
//!   the turn or the end, waiters for the end.
//! - A turn that ends by a panic or an unwinding goes to the first caller who waits, from hand to hand. Whoever is decided this way
//!   and unwinds before it begins hands it on in turn.
//!
//! No lock is held while an initialiser runs, so it may suspend, and others wait for it as for any operation.

use crate::op::cell::{Attempt, Batch, Me, Queue, RX_READY, Source, State, TX_READY};
use crate::op::leaf::{Leaf, Side};
use crate::op::{Branches, Graph, Op, Receive};
use crate::prim::{self, ThreadId, const_fn};
use crate::sched::{self, TaskRef, WaitKind};
use std::fmt;
use std::mem;
use std::panic::RefUnwindSafe;

/// Runs one initialiser, once, whoever calls first; all others wait until it has ended.
///
/// The initialiser may suspend: others wait as for any operation, and block no worker. Works between fibers of any runtime and
/// plain threads, also as a `static`.
///
/// ```
/// use fibers::{spawn, sync::Once};
/// static SETUP: Once = Once::new();
/// fibers::run(|| {
///     let fibers: Vec<_> = (0..3).map(|_| spawn(|| SETUP.call_once(|| println!("once")))).collect();
///     fibers.into_iter().for_each(|fiber| fiber.join().unwrap());
///     assert!(SETUP.is_completed());
/// });
/// ```
///
/// # Panics and unwinding
/// An initialiser that panics, or is unwound because its runtime ends, was none: nothing is poisoned, and the next caller runs
/// its own. (Go counts it as run; `std` poisons.) An initialiser whose fiber a shutdown leaks keeps its turn for ever.
pub struct Once(Source<OnceState>);

#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct OnceState {
    phase: Phase,
    callers: Queue<Turn>,
    waiters: Queue<()>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Incomplete,
    Running(Who),
    Complete,
}

/// Who performs: no two that live at a time are equal.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    Fiber(TaskRef),
    Thread(ThreadId),
}

impl Who {
    fn me() -> Self {
        match sched::here() {
            Some(here) => Who::Fiber(here.task()),
            None => Who::Thread(prim::current_thread().id()),
        }
    }
}

impl fmt::Debug for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Who::Fiber(_) => f.write_str("a fiber"),
            Who::Thread(id) => id.fmt(f),
        }
    }
}

/// What a caller waits for: to run its initialiser. If it is decided without, somebody else's has ended.
struct Turn {
    who: Who,
    mine: bool,
}

impl State for OnceState {
    /// For a waiter (`RX_READY`), and for a caller (`TX_READY`).
    fn readiness(&self) -> u32 {
        match self.phase {
            Phase::Incomplete => TX_READY,
            Phase::Running(_) => 0,
            Phase::Complete => RX_READY | TX_READY,
        }
    }
}

impl Once {
    const_fn! {
        /// Nothing has been run.
        pub const fn new() -> Self {
            Once::at(Phase::Incomplete, TX_READY)
        }
    }

    const_fn! {
        /// As if it had been run.
        pub(super) const fn completed() -> Self {
            Once::at(Phase::Complete, RX_READY | TX_READY)
        }
    }

    const_fn! {
        const fn at(phase: Phase, readiness: u32) -> Self {
            let state = OnceState { phase, callers: Queue::new(), waiters: Queue::new() };
            Once(Source::ready(state, readiness))
        }
    }

    /// Runs `f`, unless an initialiser has been run; if one is running, waits for its end. When this returns, some initialiser
    /// has been run, and what it did is visible.
    ///
    /// # Panics
    /// As `f` does; then the next caller runs its own. If it is called from inside its own initialiser, by the same fiber or
    /// thread. (By another one that the initialiser waits for, it waits for ever.)
    ///
    /// # Blocking
    /// Suspends the fiber, or blocks the thread, while another initialiser runs. Does nothing of the kind once it is completed.
    pub fn call_once(&self, f: impl FnOnce()) {
        if !self.is_completed() {
            self.call_once_op(f).perform();
        }
    }

    /// The operation that runs `f` unless an initialiser has been run. It is ready when none is running; `f` itself runs after the
    /// commit, so a timeout ends the wait for others, but not `f`.
    pub fn call_once_op<F: FnOnce()>(&self, f: F) -> impl Op<Output = ()> + use<'_, F> {
        self.turn_op().wrap(|running| {
            if let Some(running) = running {
                f();
                running.complete();
            }
        })
    }

    /// Whether an initialiser has been run to its end.
    pub fn is_completed(&self) -> bool {
        self.0.peek(RX_READY)
    }

    /// Waits until some initialiser has been run, without running one.
    ///
    /// # Blocking
    /// Suspends the fiber, or blocks the thread. Inside of the initialiser it waits for ever.
    pub fn wait(&self) {
        self.wait_op().perform();
    }

    /// The operation that is ready once some initialiser has been run.
    pub fn wait_op(&self) -> OnceOp<'_> {
        OnceOp(self)
    }

    pub(super) fn turn_op(&self) -> TurnOp<'_> {
        TurnOp(self)
    }

    /// The branch behind [`Once::wait_op`].
    pub(super) fn completion(&self) -> Leaf<Completion<'_>> {
        Leaf::new(Completion(self), ())
    }

    /// The turn ends by success: releases everybody.
    fn complete(&self) {
        let mut batch = Batch::new();
        loop {
            let mut state = self.0.lock();
            state.phase = Phase::Complete;
            let more = state.callers.drain(&mut batch, |_| ()) || state.waiters.drain(&mut batch, |()| ());
            drop(state);
            batch.wake(sched::here());
            if !more {
                return;
            }
        }
    }

    /// The turn ends without: hands it on.
    fn give_up(&self) {
        let mut next = Phase::Incomplete;
        let mut state = self.0.lock();
        let met = state.callers.admit_any(|turn| {
            turn.mine = true;
            next = Phase::Running(turn.who);
        });
        state.phase = next;
        drop(state);
        if let Some(waiter) = met {
            waiter.wake(sched::here());
        }
    }
}

/// Has the turn of a [`Once`]. Dropping it hands the turn on.
pub(super) struct Running<'a>(&'a Once);

impl Running<'_> {
    pub(super) fn complete(self) {
        self.0.complete();
        mem::forget(self);
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.give_up();
    }
}

/// Nothing of it is left half done by a panic.
impl RefUnwindSafe for Once {}

impl Default for Once {
    fn default() -> Self {
        Once::new()
    }
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phase = self.0.lock().phase;
        f.debug_struct("Once").field("phase", &phase).finish()
    }
}

/// See [`Once::wait_op`].
#[derive(Clone, Copy, Debug)]
#[must_use = "an operation does nothing until it is performed"]
pub struct OnceOp<'a>(&'a Once);

impl<'a> Op for OnceOp<'a> {
    type Output = ();
    type Branches = Leaf<Completion<'a>>;
    const IMMEDIATE: bool = true;

    fn force(self) -> Self::Branches {
        self.0.completion()
    }

    fn graph(&self) -> Graph {
        Completion(self.0).graph()
    }
}

impl Receive for Once {
    type Output = ();
    type Op<'a> = OnceOp<'a>;

    fn receive_op(&self) -> OnceOp<'_> {
        self.wait_op()
    }
}

/// Waits for the end of an initialiser.
#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct Completion<'a>(&'a Once);

impl Side for Completion<'_> {
    type State = OnceState;
    type Slot = ();
    type Output = ();

    const READY: u32 = RX_READY;
    const KIND: WaitKind = WaitKind::Other;

    fn source(&self) -> &Source<OnceState> {
        &self.0.0
    }

    fn attempt(&self, state: &mut OnceState, (): &mut (), me: &mut Me<'_>) -> Attempt {
        match state.phase == Phase::Complete {
            false => Attempt::Wait,
            true if me.commit() => Attempt::Done(None),
            true => Attempt::Lost,
        }
    }

    fn queue(state: &mut OnceState) -> &mut Queue<()> {
        &mut state.waiters
    }

    fn output(&mut self, (): &mut ()) {}

    fn graph(&self) -> Graph {
        Graph::leaf("once: wait for its initialiser")
    }
}

/// Waits for the turn, or for the end of an initialiser: then there is none.
#[derive(Debug)]
pub(super) struct TurnOp<'a>(&'a Once);

impl<'a> Op for TurnOp<'a> {
    type Output = Option<Running<'a>>;
    type Branches = TurnBranches<'a>;
    const IMMEDIATE: bool = true;

    fn force(self) -> TurnBranches<'a> {
        let who = Who::me();
        let inside = self.0.0.lock().phase == Phase::Running(who);
        assert!(
            !inside,
            "an initialiser waits for itself: it was called again from inside its own run"
        );
        TurnBranches {
            once: self.0,
            leaf: Leaf::new(Calling(self.0), Turn { who, mine: false }),
        }
    }

    fn graph(&self) -> Graph {
        Calling(self.0).graph()
    }
}

/// The side of a caller.
struct Calling<'a>(&'a Once);

impl Side for Calling<'_> {
    type State = OnceState;
    type Slot = Turn;
    /// Whether the caller has the turn.
    type Output = bool;

    const READY: u32 = TX_READY;
    const KIND: WaitKind = WaitKind::Other;

    fn source(&self) -> &Source<OnceState> {
        &self.0.0
    }

    fn attempt(&self, state: &mut OnceState, turn: &mut Turn, me: &mut Me<'_>) -> Attempt {
        if matches!(state.phase, Phase::Running(_)) {
            return Attempt::Wait;
        }
        if !me.commit() {
            return Attempt::Lost;
        }
        if state.phase == Phase::Incomplete {
            state.phase = Phase::Running(turn.who);
            turn.mine = true;
        }
        Attempt::Done(None)
    }

    fn queue(state: &mut OnceState) -> &mut Queue<Turn> {
        &mut state.callers
    }

    /// Takes the turn out of the slot.
    fn output(&mut self, turn: &mut Turn) -> bool {
        mem::take(&mut turn.mine)
    }

    fn graph(&self) -> Graph {
        Graph::leaf("once: run its initialiser, or wait for it")
    }
}

/// A forced [`TurnOp`]. If it is committed but never finished, because something unwinds first, it hands its turn on.
pub(super) struct TurnBranches<'a> {
    once: &'a Once,
    leaf: Leaf<Calling<'a>>,
}

impl<'a> Branches for TurnBranches<'a> {
    type Output = Option<Running<'a>>;

    crate::op::forward_branches!(leaf);

    fn abandon(&mut self, _: Option<usize>) {}

    fn finish(&mut self, leaf: usize) -> Option<Running<'a>> {
        self.leaf.finish(leaf).then(|| Running(self.once))
    }

    fn graph(&self) -> Graph {
        self.leaf.graph()
    }
}

impl Drop for TurnBranches<'_> {
    fn drop(&mut self) {
        if self.leaf.slot().mine {
            self.once.give_up();
        }
    }
}
