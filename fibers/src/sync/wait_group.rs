//! Waiting for a number of things to be done.

use crate::op::cell::{Attempt, Batch, Locked, Me, Queue, RX_READY, Source, State};
use crate::op::leaf::{Leaf, Side};
use crate::op::{Graph, Op, Receive};
use crate::prim::Arc;
use crate::sched::{self, WaitKind};
use std::fmt;
use std::panic::RefUnwindSafe;

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
///
/// # Panics and unwinding
/// What was announced by [`go`](WaitGroup::go) or [`guard`](WaitGroup::guard) is done when its closure or guard ends, also by a
/// panic or when the runtime shuts down. A `done` that a panic skips is missing for ever: write it as `defer!(wg.done())`.
#[derive(Clone)]
pub struct WaitGroup(Arc<Source<GroupState>>);

/// How much is to be done, and who waits for it.
#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct GroupState {
    /// Never negative.
    count: isize,
    /// How often the counter has come to zero. A waiter's slot says in which round it came.
    round: u64,
    waiters: Queue<Joined>,
}

/// The round in which a waiter came, once it has come. It keeps that while it looks again and again.
type Joined = Option<u64>;

impl State for GroupState {
    fn readiness(&self) -> u32 {
        if self.count == 0 { RX_READY } else { 0 }
    }
}

const TOO_OFTEN: &str = "WaitGroup: `done` was called more often than `add` announced";

#[cold]
#[track_caller]
fn refuse(why: &'static str) -> ! {
    panic!("{why}")
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

    /// There are `delta` more things to be done, or fewer if it is negative. If that makes zero, all who wait are released.
    ///
    /// Call it before the fibers that do them are spawned: a `wait` that finds zero returns at once.
    ///
    /// ```
    /// use fibers::WaitGroup;
    /// let wg = WaitGroup::new();
    /// wg.add(2);
    /// wg.done();
    /// wg.add(-1);
    /// wg.wait();
    /// ```
    ///
    /// # Panics
    /// If that makes less than zero, or more than an `isize` can count. The counter stays as it was.
    #[track_caller]
    pub fn add(&self, delta: isize) {
        if let Err(why) = self.change(delta) {
            refuse(why);
        }
    }

    /// One thing is done; the last one releases all who wait.
    ///
    /// # Panics
    /// If there was nothing to be done: a `done` without its `add`.
    #[track_caller]
    pub fn done(&self) {
        if let Err(why) = self.change(-1) {
            refuse(why);
        }
    }

    /// Inlined: most of its callers pass a constant, and are short themselves.
    #[inline(always)]
    fn change(&self, delta: isize) -> Result<(), &'static str> {
        let mut state = self.0.lock();
        let before = state.count;
        match before.checked_add(delta) {
            None => return Err("WaitGroup: `add` has overflowed its counter"),
            Some(sum) if sum < 0 => return Err(TOO_OFTEN),
            Some(sum) => state.count = sum,
        }
        if state.count == 0 && before > 0 {
            self.release_all(state);
        }
        Ok(())
    }

    /// All who wait now are released, and nobody who comes after the next `add`.
    #[inline(never)]
    fn release_all<'a>(&'a self, mut state: Locked<'a, GroupState>) {
        let round = state.round;
        state.round += 1;
        let mut batch = Batch::new();
        loop {
            let more = state
                .waiters
                .drain_while(&mut batch, |joined| joined.is_some_and(|joined| joined <= round));
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
        self.0.lock().count.unsigned_abs()
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
        let done = self.guard();
        crate::spawn(move || {
            let _done = done;
            f()
        })
    }

    /// Adds one, which is done when the guard is dropped: for work that is not a fiber of its own.
    ///
    /// ```
    /// use fibers::WaitGroup;
    /// let wg = WaitGroup::new();
    /// let done = wg.guard();
    /// let thread = std::thread::spawn(move || {
    ///     // work
    ///     drop(done);
    /// });
    /// wg.wait();
    /// # thread.join().unwrap();
    /// ```
    ///
    /// # Panics
    /// If an `isize` cannot count them all.
    #[track_caller]
    pub fn guard(&self) -> DoneGuard {
        self.add(1);
        DoneGuard(self.clone())
    }
}

/// Counts one thing of its [`WaitGroup`] done when it is dropped; see [`WaitGroup::guard`].
///
/// # Panics
/// When dropped, if somebody else has called `done` for it; not while the thread panics already.
#[must_use = "the thing counts as done as soon as this is dropped: move it to where the work is done"]
#[derive(Debug)]
pub struct DoneGuard(WaitGroup);

impl Drop for DoneGuard {
    fn drop(&mut self) {
        match self.0.change(-1) {
            Err(why) if !std::thread::panicking() => panic!("{why}"),
            _ => {}
        }
    }
}

impl Default for WaitGroup {
    fn default() -> Self {
        WaitGroup::new()
    }
}

/// Nothing of it is left half done by a panic.
impl RefUnwindSafe for WaitGroup {}

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
        Leaf::new(Done(self.0), None)
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
    type Slot = Joined;
    type Output = ();

    const READY: u32 = RX_READY;
    const KIND: WaitKind = WaitKind::Join;

    fn source(&self) -> &Source<GroupState> {
        &self.0.0
    }

    /// A performer that was told by another branch's source to look again has not been in the queue for a moment. If the counter
    /// came to zero then, and has left it by now, that counts for it too.
    fn attempt(&self, state: &mut GroupState, joined: &mut Joined, me: &mut Me<'_>) -> Attempt {
        let joined = *joined.get_or_insert(state.round);
        match state.count == 0 || joined < state.round {
            false => Attempt::Wait,
            true if me.commit() => Attempt::Done(None),
            true => Attempt::Lost,
        }
    }

    fn queue(state: &mut GroupState) -> &mut Queue<Joined> {
        &mut state.waiters
    }

    fn output(&mut self, _: &mut Joined) {}

    fn graph(&self) -> Graph {
        Graph::leaf(format!("wait group ({} to be done)", self.0.count()))
    }
}
