//! Waiting for a change of what a mutex protects.

use super::mutex::{Mutex, MutexGuard};
use crate::op::cell::{Attempt, Batch, Me, Queue, RX_READY, Source, State};
use crate::op::leaf::{Leaf, Side};
use crate::op::{Branches, Elapsed, Graph, Op, Picker};
use crate::prim::const_fn;
use crate::sched::{self, WaitKind};
use std::cell::Cell;
use std::fmt;
use std::mem;
use std::time::Duration;

/// Lets fibers and threads wait until somebody has changed what a [`Mutex`] protects, and says so.
///
/// Who waits gives the mutex up for that time, and has it again afterwards. It joins those who wait *before* it gives the mutex up,
/// so no notification is lost between the two: whoever changes the value under the mutex and notifies then, before or after it
/// unlocks, reaches everybody who has found the value unchanged.
///
/// A notification is for those who wait at that moment; nobody keeps it for others. The value may have changed once more before the
/// mutex is locked again, so the condition belongs into a loop, or use [`wait_while`](Self::wait_while). (Something that happens
/// once is a [`Cond`](crate::Cond), and values that go from one to another are a channel: both need no mutex.)
///
/// # When the holder panics
/// The mutex does not poison, so whoever waits for a change by a fiber that panics before it notifies waits on. A waiter that was
/// notified and unwinds before it has the mutex again hands the notification on to another one.
///
/// ```
/// use fibers::{spawn, sync::{Condvar, Mutex}};
/// use std::sync::Arc;
/// fibers::run(|| {
///     let shared = Arc::new((Mutex::new(Vec::new()), Condvar::new()));
///     let theirs = shared.clone();
///     spawn(move || {
///         theirs.0.lock().push("job");
///         theirs.1.notify_one();
///     });
///     let (jobs, changed) = &*shared;
///     let mut jobs = changed.wait_while(jobs.lock(), |jobs| jobs.is_empty());
///     assert_eq!(jobs.pop(), Some("job"));
/// });
/// ```
pub struct Condvar(Source<CondvarState>);

/// Who waits.
struct CondvarState {
    /// How many notifications there have been.
    notified: u64,
    waiters: Queue<Waiting>,
}

/// One that waits.
#[derive(Default)]
struct Waiting {
    /// The notifications that there had been when it began to wait.
    since: Option<u64>,
    /// The notification that has ended the wait was for nobody else.
    alone: bool,
}

impl State for CondvarState {
    /// Nobody finds a notification that has come before.
    fn readiness(&self) -> u32 {
        0
    }
}

impl Condvar {
    const_fn! {
        /// Nobody waits. Can be a static.
        pub const fn new() -> Self {
            let state = CondvarState {
                notified: 0,
                waiters: Queue::new(),
            };
            Condvar(Source::ready(state, 0))
        }
    }

    /// Ends the wait of the one who has waited longest, if anybody waits.
    ///
    /// It is sure to reach somebody: a waiter that is leaving by another branch of its choice does not use it up.
    pub fn notify_one(&self) {
        let mut state = self.0.lock();
        state.notified += 1;
        let waiter = state.waiters.admit_any(|waiting| waiting.alone = true);
        drop(state);
        if let Some(waiter) = waiter {
            waiter.wake(sched::here());
        }
    }

    /// Ends the wait of all who wait now.
    pub fn notify_all(&self) {
        let mut batch = Batch::new();
        let mut state = self.0.lock();
        state.notified += 1;
        let now = state.notified;
        loop {
            let waits_already = |waiting: &Waiting| waiting.since.is_some_and(|since| since < now);
            let more = state.waiters.drain_while(&mut batch, waits_already);
            drop(state);
            batch.wake(sched::here());
            if !more {
                return;
            }
            state = self.0.lock();
        }
    }

    /// Gives the mutex up, waits for a notification, and locks the mutex again.
    ///
    /// # Blocking
    /// Suspends the fiber, or blocks the thread, until somebody notifies, and then until the mutex is free.
    pub fn wait<'a, T: ?Sized>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.wait_op(guard).perform()
    }

    /// Waits as long as `condition` holds. Returns at once if it does not.
    ///
    /// # Blocking
    /// As [`wait`](Self::wait).
    pub fn wait_while<'a, T: ?Sized>(
        &self,
        mut guard: MutexGuard<'a, T>,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> MutexGuard<'a, T> {
        while condition(&mut guard) {
            guard = self.wait(guard);
        }
        guard
    }

    /// As [`wait`](Self::wait), for `timeout` at most; says whether that has passed. The mutex is locked again in any case.
    ///
    /// # Blocking
    /// As [`wait`](Self::wait). It may take longer than `timeout` until the mutex is free.
    ///
    /// ```
    /// use fibers::sync::{Condvar, Mutex};
    /// use std::time::Duration;
    /// let (mutex, changed) = (Mutex::new(1), Condvar::new());
    /// let (guard, waited) = changed.wait_timeout(mutex.lock(), Duration::from_millis(1));
    /// assert!(waited.timed_out());
    /// assert_eq!(*guard, 1);
    /// ```
    pub fn wait_timeout<'a, T: ?Sized>(
        &self,
        guard: MutexGuard<'a, T>,
        timeout: Duration,
    ) -> (MutexGuard<'a, T>, WaitTimeoutResult) {
        let mutex = guard.mutex();
        match self.wait_op(guard).timeout(timeout).perform() {
            Ok(guard) => (guard, WaitTimeoutResult(false)),
            Err(Elapsed) => (mutex.lock(), WaitTimeoutResult(true)),
        }
    }

    /// As [`wait_while`](Self::wait_while), for `timeout` at most in all; says whether `condition` still held then.
    ///
    /// # Blocking
    /// As [`wait_timeout`](Self::wait_timeout).
    pub fn wait_timeout_while<'a, T: ?Sized>(
        &self,
        mut guard: MutexGuard<'a, T>,
        timeout: Duration,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> (MutexGuard<'a, T>, WaitTimeoutResult) {
        let start = sched::now_ns();
        loop {
            if !condition(&mut guard) {
                return (guard, WaitTimeoutResult(false));
            }
            let passed = Duration::from_nanos(sched::now_ns() - start);
            let Some(left) = timeout.checked_sub(passed).filter(|left| !left.is_zero()) else {
                return (guard, WaitTimeoutResult(true));
            };
            guard = self.wait_timeout(guard, left).0;
        }
    }

    /// The operation that gives the mutex up, waits for a notification, and locks the mutex again after the commit.
    ///
    /// The mutex is given up when the performer begins to wait, and is not locked again if another branch is chosen: the arm that
    /// wins has no guard, and locks for itself if it needs the value. Tried only ([`Op::try_perform`]), it is never ready.
    ///
    /// Beside a branch whose source tells its waiters to look again (a mutex that others contend for, a timer that is reset), a
    /// notification that was meant for another waiter may end the wait as well.
    ///
    /// ```
    /// use fibers::{Op, sync::{Condvar, Mutex}, time};
    /// use std::time::Duration;
    /// let (mutex, changed) = (Mutex::new(1), Condvar::new());
    /// let deadline = time::after(Duration::from_millis(1));
    /// let waited = changed.wait_op(mutex.lock()).wrap(|guard| Some(*guard));
    /// assert_eq!(waited.or(deadline.wrap(|()| None)).perform(), None);
    /// assert!(mutex.try_lock().is_some());
    /// ```
    pub fn wait_op<'a, T: ?Sized>(&self, guard: MutexGuard<'a, T>) -> CondvarOp<'_, 'a, T> {
        CondvarOp { condvar: self, guard }
    }
}

impl Default for Condvar {
    fn default() -> Self {
        Condvar::new()
    }
}

impl fmt::Debug for Condvar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.0.lock().waiters.len();
        f.debug_struct("Condvar").field("waiting", &waiting).finish()
    }
}

/// Whether a wait has ended because its time was over; see [`Condvar::wait_timeout`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    /// Whether the time was over.
    pub fn timed_out(&self) -> bool {
        self.0
    }
}

/// See [`Condvar::wait_op`].
#[must_use = "an operation does nothing until it is performed"]
pub struct CondvarOp<'c, 'a, T: ?Sized> {
    condvar: &'c Condvar,
    guard: MutexGuard<'a, T>,
}

impl<'c, 'a, T: ?Sized> Op for CondvarOp<'c, 'a, T> {
    type Output = MutexGuard<'a, T>;
    type Branches = CondvarBranches<'c, 'a, T>;
    const IMMEDIATE: bool = true;

    fn force(self) -> Self::Branches {
        CondvarBranches {
            mutex: self.guard.mutex(),
            guard: Cell::new(Some(self.guard)),
            leaf: Leaf::new(Notified(self.condvar), Waiting::default()),
        }
    }

    fn graph(&self) -> Graph {
        Notified(self.condvar).graph()
    }
}

impl<T: ?Sized> fmt::Debug for CondvarOp<'_, '_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CondvarOp").field(self.condvar).finish()
    }
}

/// The side that waits.
struct Notified<'c>(&'c Condvar);

impl Side for Notified<'_> {
    type State = CondvarState;
    type Slot = Waiting;
    type Output = ();

    const READY: u32 = RX_READY;
    const KIND: WaitKind = WaitKind::Other;

    fn source(&self) -> &Source<CondvarState> {
        &self.0.0
    }

    /// A performer that was told by another branch's source to look again has not been in the queue for a moment. What was notified
    /// then counts for it too.
    fn attempt(&self, state: &mut CondvarState, waiting: &mut Waiting, me: &mut Me<'_>) -> Attempt {
        let since = *waiting.since.get_or_insert(state.notified);
        match since != state.notified {
            false => Attempt::Wait,
            true if me.commit() => Attempt::Done(None),
            true => Attempt::Lost,
        }
    }

    fn queue(state: &mut CondvarState) -> &mut Queue<Waiting> {
        &mut state.waiters
    }

    fn output(&mut self, _: &mut Waiting) {}

    fn graph(&self) -> Graph {
        Graph::leaf("wait for a condvar")
    }
}

/// A forced wait: has the guard until it waits, and afterwards perhaps a notification that nobody else has got.
#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct CondvarBranches<'c, 'a, T: ?Sized> {
    leaf: Leaf<Notified<'c>>,
    guard: Cell<Option<MutexGuard<'a, T>>>,
    mutex: &'a Mutex<T>,
}

impl<'a, T: ?Sized> Branches for CondvarBranches<'_, 'a, T> {
    type Output = MutexGuard<'a, T>;

    fn leaves(&self) -> usize {
        1
    }

    fn pick(&self, picker: &mut Picker) {
        self.leaf.pick(picker);
    }

    /// Nothing looks ready, so nobody calls it but to publish; a wait that has not begun has not been notified.
    fn attempt(&self, _: usize, _: &mut Me<'_>) -> Attempt {
        Attempt::Wait
    }

    /// Waits first, and then gives the mutex up.
    fn publish(&self, leaf: usize, me: &mut Me<'_>) -> Attempt {
        let result = self.leaf.publish(leaf, me);
        drop(self.guard.take());
        result
    }

    fn retract(&self, leaf: usize) {
        self.leaf.retract(leaf);
    }

    fn leave(&self, leaf: usize) {
        self.leaf.leave(leaf);
    }

    fn abandon(&mut self, winner: Option<usize>) {
        if winner.is_none() {
            // The arm that was chosen may want the mutex.
            drop(self.guard.take());
        }
    }

    fn finish(&mut self, _: usize) -> MutexGuard<'a, T> {
        // If this unwinds, the notification is still there to be handed on.
        let guard = self.mutex.lock();
        *self.leaf.slot() = Waiting::default();
        guard
    }

    fn kind(&self) -> WaitKind {
        self.leaf.kind()
    }

    fn graph(&self) -> Graph {
        self.leaf.graph()
    }
}

impl<T: ?Sized> Drop for CondvarBranches<'_, '_, T> {
    fn drop(&mut self) {
        if mem::take(&mut self.leaf.slot().alone) {
            self.leaf.side().0.notify_one();
        }
    }
}
