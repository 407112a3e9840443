//! A meeting point of a fixed number of parties.
//!
//! # Invariants (under the lock)
//! - Fewer performs wait than parties are needed: the last one to arrive takes all of them with it.
//! - A round is one commit of all its parties ([`Queue::rally`]): a party that withdraws, because another branch of its choice was
//!   taken, has not arrived, and a round never ends with a party missing.
//! - Who has been released waits in a queue of their own until the last to arrive wakes them, so a next round may begin at once.

use crate::op::cell::{Attempt, Batch, Me, Queue, RX_READY, Rally, Source, State};
use crate::op::leaf::{Leaf, Side};
use crate::op::{Branches, Graph, Op, Picker, Receive};
use crate::prim::const_fn;
use crate::sched::{self, WaitKind};
use std::fmt;
use std::panic::RefUnwindSafe;

/// Lets a number of fibers and threads wait for each other, again and again: all go on when the last of them has arrived.
///
/// Works between fibers of any runtime and plain threads, also as a `static`.
///
/// ```
/// use fibers::{spawn, sync::Barrier};
/// use std::sync::Arc;
/// fibers::run(|| {
///     let barrier = Arc::new(Barrier::new(3));
///     let arrive = || {
///         let barrier = barrier.clone();
///         spawn(move || barrier.wait().is_leader())
///     };
///     let fibers = [arrive(), arrive(), arrive()];
///     let leaders = fibers.into_iter().map(|fiber| fiber.join().unwrap());
///     assert_eq!(leaders.filter(|leads| *leads).count(), 1);
/// });
/// ```
///
/// # Withdrawing
/// As an operation a wait can be one branch among others. If another branch is taken, a deadline for example, the party has not
/// arrived, and the others go on waiting. Either all parties of a round are committed to it, or none is. Several branches of one
/// choice that wait at the same barrier are one party.
///
/// # Panics and unwinding
/// A party that panics before it arrives never arrives: the others wait for ever, unless they wait with a timeout or for
/// something else as well. One that is unwound while it waits, because its runtime ends, has withdrawn. If the leader unwinds after
/// the round was complete (from a panic in another part of its operation), the others go on, and nobody is the leader.
pub struct Barrier {
    source: Source<BarrierState>,
    /// How many have to wait before one who arrives completes the round.
    others: usize,
}

struct BarrierState {
    others: usize,
    waiting: Queue<Arrival>,
    /// Those whose round is complete, and who are to be woken.
    released: Queue<Arrival>,
}

/// What a party waits with.
#[derive(Debug, Default)]
struct Arrival {
    leader: bool,
    /// In which queue it waits.
    released: bool,
}

impl State for BarrierState {
    /// Enough may be there: whether all of them still wait takes a look under the lock.
    fn readiness(&self) -> u32 {
        if self.waiting.len() >= self.others { RX_READY } else { 0 }
    }
}

impl Barrier {
    const_fn! {
        /// A barrier for so many parties. With none or one, nobody waits, and everybody is the leader.
        pub const fn new(parties: usize) -> Self {
            let others = parties.saturating_sub(1);
            let state = BarrierState { others, waiting: Queue::new(), released: Queue::new() };
            Barrier { source: Source::ready(state, if others == 0 { RX_READY } else { 0 }), others }
        }
    }

    /// Waits until all parties of this round have arrived.
    ///
    /// # Blocking
    /// Suspends the fiber, or blocks the thread, unless it is the last to arrive.
    pub fn wait(&self) -> BarrierWaitResult {
        self.wait_op().perform()
    }

    /// The operation that is ready when all other parties of a round wait. A party that withdraws from it has not arrived.
    ///
    /// ```
    /// use fibers::{Op, sync::Barrier};
    /// use std::time::Duration;
    /// let barrier = Barrier::new(2);
    /// assert!(barrier.wait_op().timeout(Duration::from_millis(1)).perform().is_err());
    /// assert!(barrier.wait_op().try_perform().is_none()); // nobody waits any more
    /// ```
    pub fn wait_op(&self) -> BarrierOp<'_> {
        BarrierOp(self)
    }

    /// Wakes those whose round is complete.
    fn release(&self) {
        let mut batch = Batch::new();
        loop {
            let more = self.source.lock().released.release(&mut batch);
            batch.wake(sched::here());
            if !more {
                return;
            }
        }
    }
}

/// Nothing of it is left half done by a panic.
impl RefUnwindSafe for Barrier {}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.source.lock().waiting.len();
        f.debug_struct("Barrier")
            .field("parties", &(self.others + 1))
            .field("waiting", &waiting)
            .finish()
    }
}

/// Of all parties that have passed a [`Barrier`] together, one is the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BarrierWaitResult(bool);

impl BarrierWaitResult {
    /// Whether this party is the one of its round that arrived last.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.0
    }
}

/// See [`Barrier::wait_op`].
#[derive(Clone, Copy, Debug)]
#[must_use = "an operation does nothing until it is performed"]
pub struct BarrierOp<'a>(&'a Barrier);

impl<'a> Op for BarrierOp<'a> {
    type Output = BarrierWaitResult;
    type Branches = BarrierBranches<'a>;
    const IMMEDIATE: bool = true;

    fn force(self) -> Self::Branches {
        BarrierBranches(Leaf::new(Arriving(self.0), Arrival::default()))
    }

    fn graph(&self) -> Graph {
        Arriving(self.0).graph()
    }
}

impl Receive for Barrier {
    type Output = BarrierWaitResult;
    type Op<'a> = BarrierOp<'a>;

    fn receive_op(&self) -> BarrierOp<'_> {
        self.wait_op()
    }
}

/// The side of a party.
struct Arriving<'a>(&'a Barrier);

impl Side for Arriving<'_> {
    type State = BarrierState;
    type Slot = Arrival;
    type Output = BarrierWaitResult;

    const READY: u32 = RX_READY;
    const KIND: WaitKind = WaitKind::Other;

    fn source(&self) -> &Source<BarrierState> {
        &self.0.source
    }

    fn attempt(&self, state: &mut BarrierState, arrival: &mut Arrival, me: &mut Me<'_>) -> Attempt {
        if state.waiting.len() < state.others {
            return Attempt::Wait;
        }
        let BarrierState {
            others,
            waiting,
            released,
        } = state;
        match waiting.rally(me, *others, released, |arrival| arrival.released = true) {
            Rally::Short => Attempt::Wait,
            Rally::Lost => Attempt::Lost,
            Rally::Complete => {
                arrival.leader = true;
                Attempt::Done(None)
            }
        }
    }

    fn queue(state: &mut BarrierState) -> &mut Queue<Arrival> {
        &mut state.waiting
    }

    fn output(&mut self, arrival: &mut Arrival) -> BarrierWaitResult {
        BarrierWaitResult(arrival.leader)
    }

    fn graph(&self) -> Graph {
        let waiting = self.0.source.lock().waiting.len();
        Graph::leaf(format!("barrier ({waiting} of {} have arrived)", self.0.others + 1))
    }
}

/// A forced [`BarrierOp`].
#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct BarrierBranches<'a>(Leaf<Arriving<'a>>);

impl BarrierBranches<'_> {
    /// The last to arrive wakes the others, after the unlock.
    fn arrived(&self, result: Attempt) -> Attempt {
        if matches!(result, Attempt::Done(_)) {
            self.0.side().0.release();
        }
        result
    }
}

impl Branches for BarrierBranches<'_> {
    type Output = BarrierWaitResult;

    fn leaves(&self) -> usize {
        1
    }

    fn pick(&self, picker: &mut Picker) {
        let Barrier { source, others } = self.0.side().0;
        picker.leaf(source.peek(RX_READY) && source.lock().waiting.performs(None) >= *others);
    }

    fn attempt(&self, leaf: usize, me: &mut Me<'_>) -> Attempt {
        self.arrived(self.0.attempt(leaf, me))
    }

    fn publish(&self, leaf: usize, me: &mut Me<'_>) -> Attempt {
        self.arrived(self.0.publish(leaf, me))
    }

    fn retract(&self, _: usize) {
        self.0.retract_from(|state, arrival| match arrival.released {
            true => &mut state.released,
            false => &mut state.waiting,
        });
    }

    /// The last to arrive decides the others before it takes them out: a thread that sees it early takes itself out.
    fn leave(&self, leaf: usize) {
        self.retract(leaf);
    }

    fn abandon(&mut self, _: Option<usize>) {}

    fn finish(&mut self, leaf: usize) -> BarrierWaitResult {
        self.0.finish(leaf)
    }

    fn kind(&self) -> WaitKind {
        self.0.kind()
    }

    fn graph(&self) -> Graph {
        self.0.graph()
    }
}
