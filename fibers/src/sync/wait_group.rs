//! Waiting for a number of things to be done.

use crate::op::cell::{Attempt, Batch, Me, Queue, RX_READY, Source, State};
use crate::op::leaf::{Leaf, Side};
use crate::op::{Graph, Op, Receive};
use crate::prim::Arc;
use crate::sched::{self, WaitKind};
use std::fmt;

/// Waits until a counter comes to zero, as in Go: `add` before the work starts, `done` when a part is finished. Clones are the
/// same group. Reusable once it has come to zero.
///
/// ```
/// use fibers::{WaitGroup, spawn};
/// fibers::run(|| {
///     let wg = WaitGroup::new();
///     for _ in 0..10 {
///         wg.go(|| { /* work */ });
///     }
///     wg.wait();
/// });
/// ```
#[derive(Clone)]
pub struct WaitGroup(Arc<Source<GroupState>>);

/// How much is to be done, and who waits for it.
#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct GroupState {
    count: usize,
    /// How often the counter has come to zero. A waiter's slot says in which round it came.
    round: u64,
    waiters: Queue<u64>,
}

impl State for GroupState {
    fn readiness(&self) -> u32 {
        if self.count == 0 { RX_READY } else { 0 }
    }
}

impl WaitGroup {
    /// Nothing to wait for yet.
    pub fn new() -> Self {
        WaitGroup(Arc::new(Source::new(GroupState {
            count: 0,
            round: 0,
            waiters: Queue::new(),
        })))
    }

    /// There are `n` more things to be done. Call it before the fibers that do them are spawned.
    ///
    /// # Panics
    /// If that is more than a `usize` can count.
    #[track_caller]
    pub fn add(&self, n: usize) {
        let mut state = self.0.lock();
        let sum = state.count.checked_add(n);
        state.count = sum.unwrap_or(state.count);
        drop(state);
        assert!(sum.is_some(), "WaitGroup: `add` has overflowed its counter");
    }

    /// One thing is done; the last one releases all who wait.
    ///
    /// # Panics
    /// If there was nothing to be done: a `done` without its `add`.
    #[track_caller]
    pub fn done(&self) {
        let mut state = self.0.lock();
        let Some(count) = state.count.checked_sub(1) else {
            drop(state);
            panic!("WaitGroup: `done` was called more often than `add` announced");
        };
        state.count = count;
        if count > 0 {
            return;
        }
        // All who wait now are released, and nobody who comes after the next `add`.
        let round = state.round;
        state.round += 1;
        let mut batch = Batch::new();
        loop {
            let more = state.waiters.drain_while(&mut batch, |joined| *joined <= round);
            drop(state);
            batch.wake(sched::here());
            if !more {
                return;
            }
            state = self.0.lock();
        }
    }

    /// How many things are to be done.
    pub fn count(&self) -> usize {
        self.0.lock().count
    }

    /// Waits until everything is done.
    ///
    /// # Blocking
    /// Suspends the fiber, or blocks the thread.
    pub fn wait(&self) {
        self.wait_op().perform();
    }

    /// The operation that is ready when everything is done.
    pub fn wait_op(&self) -> WaitGroupOp<'_> {
        WaitGroupOp(self)
    }

    /// Adds one, runs `f` in a new fiber, and counts it done when `f` ends, also by a panic.
    #[cfg(not(loom))]
    #[track_caller]
    pub fn go<T: Send + 'static>(&self, f: impl FnOnce() -> T + Send + 'static) -> crate::JoinHandle<T> {
        self.add(1);
        let done = DoneOnDrop(self.clone());
        crate::spawn(move || {
            let _done = done;
            f()
        })
    }
}

#[cfg(not(loom))]
struct DoneOnDrop(WaitGroup);

#[cfg(not(loom))]
impl Drop for DoneOnDrop {
    fn drop(&mut self) {
        self.0.done();
    }
}

impl Default for WaitGroup {
    fn default() -> Self {
        WaitGroup::new()
    }
}

impl fmt::Debug for WaitGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitGroup").field("count", &self.count()).finish()
    }
}

/// See [`WaitGroup::wait_op`].
#[derive(Clone, Copy, Debug)]
#[must_use = "an operation does nothing until it is performed"]
pub struct WaitGroupOp<'a>(&'a WaitGroup);

impl<'a> Op for WaitGroupOp<'a> {
    type Output = ();
    type Branches = Leaf<Done<'a>>;
    const IMMEDIATE: bool = true;

    fn force(self) -> Self::Branches {
        Leaf::new(Done(self.0), 0)
    }

    fn graph(&self) -> Graph {
        Done(self.0).graph()
    }
}

impl Receive for WaitGroup {
    type Output = ();
    type Op<'a> = WaitGroupOp<'a>;

    fn receive_op(&self) -> WaitGroupOp<'_> {
        self.wait_op()
    }
}

/// Waits for the counter to come to zero.
#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct Done<'a>(&'a WaitGroup);

impl Side for Done<'_> {
    type State = GroupState;
    type Slot = u64;
    type Output = ();

    const READY: u32 = RX_READY;
    const KIND: WaitKind = WaitKind::Join;

    fn source(&self) -> &Source<GroupState> {
        &self.0.0
    }

    fn attempt(&self, state: &mut GroupState, joined: &mut u64, me: &mut Me<'_>) -> Attempt {
        *joined = state.round;
        match state.count {
            0 if me.commit() => Attempt::Done(None),
            0 => Attempt::Lost,
            _ => Attempt::Wait,
        }
    }

    fn queue(state: &mut GroupState) -> &mut Queue<u64> {
        &mut state.waiters
    }

    fn output(&mut self, _: &mut u64) {}

    fn graph(&self) -> Graph {
        Graph::leaf(format!("wait group ({} to be done)", self.0.count()))
    }
}
