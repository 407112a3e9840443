//! Time as operations: sleeping, tickers and timers. All times are of the runtime's monotonic clock; sleeping is never early.
//! [`alarm`] is for the wall clock.

#[cfg(not(loom))]
pub mod alarm;
#[cfg(not(loom))]
mod calendar;

use crate::op::cell::{Attempt, Batch, Me, Queue, RX_READY, Source, State};
use crate::op::leaf::{Leaf, Side};
use crate::op::{AlarmLeaf, Alarmed, Branches, Graph, Op, Picker, Receive, alarm_after, alarm_leaf, deadline_after};
use crate::prim::Arc;
use crate::prim::plain::{AtomicU64, Ordering};
use crate::sched::{self, WaitKind};
use std::fmt;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Suspends the fiber, or blocks the thread, for at least `duration`. Zero returns at once; a duration too long to be
/// represented never ends.
///
/// ```
/// use std::time::Duration;
/// let before = fibers::time::now();
/// fibers::sleep(Duration::from_millis(2));
/// assert!(before.elapsed() >= Duration::from_millis(2));
/// ```
pub fn sleep(duration: Duration) {
    sleep_op(duration).perform();
}

/// Suspends the fiber, or blocks the thread, until `deadline`; returns at once if it has passed.
pub fn sleep_until(deadline: Instant) {
    sleep_until_op(deadline).perform();
}

/// The operation that becomes ready `duration` after its performer began to wait. Each perform measures anew; see [`after`].
pub fn sleep_op(duration: Duration) -> Sleep {
    Sleep(duration)
}

/// The operation that is ready from `deadline` on.
pub fn sleep_until_op(deadline: Instant) -> After {
    After(deadline_of(deadline))
}

/// The operation that is ready from `duration` after this call on: one deadline for many performs, such as a whole loop.
///
/// ```
/// use fibers::{Op, channel, time};
/// use std::time::Duration;
///
/// let (_tx, rx) = channel::<u32>(0);
/// let deadline = time::after(Duration::from_millis(2));
/// let got = rx.recv_op().wrap(Some).or(deadline.wrap(|_| None)).perform();
/// assert_eq!(got, None);
/// ```
pub fn after(duration: Duration) -> After {
    After(deadline_after(sched::now_ns(), duration))
}

/// The time now, as the runtime's clock has it.
pub fn now() -> Instant {
    instant_of(sched::now_ns())
}

/// One moment in both kinds of time.
fn origin() -> (Instant, u64) {
    static ORIGIN: OnceLock<(Instant, u64)> = OnceLock::new();
    *ORIGIN.get_or_init(|| (Instant::now(), sched::now_ns()))
}

pub(crate) fn instant_of(ns: u64) -> Instant {
    let (instant, at) = origin();
    match ns.checked_sub(at) {
        Some(later) => instant + Duration::from_nanos(later),
        None => instant - Duration::from_nanos(at - ns),
    }
}

pub(crate) fn deadline_of(instant: Instant) -> u64 {
    let (origin, at) = origin();
    match instant.checked_duration_since(origin) {
        Some(later) => deadline_after(at, later),
        None => at.saturating_sub(u64::try_from((origin - instant).as_nanos()).unwrap_or(u64::MAX)),
    }
}

/// See [`sleep_op`].
#[derive(Clone, Copy, Debug)]
#[must_use = "an operation does nothing until it is performed"]
pub struct Sleep(Duration);

impl Op for Sleep {
    type Output = ();
    type Branches = AlarmLeaf;
    const IMMEDIATE: bool = true;

    fn force(self) -> AlarmLeaf {
        alarm_after(self.0)
    }

    fn graph(&self) -> Graph {
        Graph::leaf(format!("sleep {:?}", self.0))
    }
}

/// See [`after`] and [`sleep_until_op`]. Ready for ever once its moment has come.
#[derive(Clone, Copy, Debug)]
#[must_use = "an operation does nothing until it is performed"]
pub struct After(u64);

impl Op for After {
    type Output = ();
    type Branches = AlarmLeaf;
    const IMMEDIATE: bool = true;

    fn force(self) -> AlarmLeaf {
        alarm_leaf(sched::now_ns(), self.0, Alarmed::Commit)
    }

    fn graph(&self) -> Graph {
        self.force().graph()
    }
}

impl Receive for After {
    type Output = ();
    type Op<'a> = After;

    fn receive_op(&self) -> After {
        *self
    }
}

/// When the next tick of a [`Ticker`] or [`Timer`] is due, and who waits for it.
#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct ClockState {
    /// In nanoseconds; `u64::MAX` while stopped.
    next: u64,
    /// In nanoseconds; a timer has none and stops after one tick.
    period: Option<u64>,
    waiters: Queue<Option<u64>>,
}

impl State for ClockState {
    /// Readiness depends on the time, so it cannot lie in the lock word; see [`TickBranches::pick`].
    fn readiness(&self) -> u32 {
        0
    }
}

impl ClockState {
    /// Takes the tick that is due at `now`. A ticker that is behind drops the ticks it has missed, and keeps its phase.
    fn take(&mut self, now: u64) -> u64 {
        let due = self.next;
        self.next = match self.period {
            None => u64::MAX,
            Some(period) => due.saturating_add(period.saturating_mul((now - due) / period + 1)),
        };
        due
    }
}

struct Clock {
    source: Source<ClockState>,
    /// A copy of `next` for peeking. Written under the lock.
    next: AtomicU64,
}

impl Clock {
    fn new(next: u64, period: Option<u64>) -> Arc<Self> {
        let state = ClockState {
            next,
            period,
            waiters: Queue::new(),
        };
        Arc::new(Clock {
            source: Source::new(state),
            next: AtomicU64::new(next),
        })
    }

    /// Sets the next tick and lets all waiters look again; returns whether one was pending.
    fn set(&self, next: u64, period: Option<u64>) -> bool {
        let mut pending = None;
        let mut batch = Batch::new();
        loop {
            let mut state = self.source.lock();
            if pending.is_none() {
                pending = Some(state.next != u64::MAX);
                (state.next, state.period) = (next, period);
                // Release: pairs with the peek, as an unlock does.
                self.next.store(next, Ordering::Release);
            }
            let more = state.waiters.retry_all(&mut batch);
            drop(state);
            batch.wake(sched::here());
            if !more {
                return pending.unwrap_or(false);
            }
        }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.source.lock();
        let (next, period) = (state.next, state.period);
        drop(state);
        let left = (next != u64::MAX).then(|| Duration::from_nanos(next.saturating_sub(sched::now_ns())));
        f.debug_struct("Clock")
            .field("next_in", &left)
            .field("period", &period.map(Duration::from_nanos))
            .finish()
    }
}

/// Waits for the tick of a clock.
#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct Ticking<'a>(&'a Clock);

impl Side for Ticking<'_> {
    type State = ClockState;
    type Slot = Option<u64>;
    type Output = Instant;

    const READY: u32 = RX_READY;
    const KIND: WaitKind = WaitKind::Time;

    fn source(&self) -> &Source<ClockState> {
        &self.0.source
    }

    fn attempt(&self, state: &mut ClockState, slot: &mut Option<u64>, me: &mut Me<'_>) -> Attempt {
        let now = sched::now_ns();
        *slot = Some(state.next);
        if state.next > now {
            return Attempt::Wait;
        }
        if !me.commit() {
            return Attempt::Lost;
        }
        *slot = Some(state.take(now));
        self.0.next.store(state.next, Ordering::Release);
        Attempt::Done(None)
    }

    fn queue(state: &mut ClockState) -> &mut Queue<Option<u64>> {
        &mut state.waiters
    }

    fn output(&mut self, slot: &mut Option<u64>) -> Instant {
        instant_of(slot.take().expect("a tick that was taken"))
    }

    fn graph(&self) -> Graph {
        Graph::leaf(format!("tick of {:?}", self.0))
    }
}

/// Waits in the clock's queue, to hear of resets, and on the wheel, to look again when the tick is due.
#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct TickBranches<'a> {
    clock: &'a Clock,
    leaf: Leaf<Ticking<'a>>,
    alarm: AlarmLeaf,
}

impl<'a> TickBranches<'a> {
    fn new(clock: &'a Clock) -> Self {
        TickBranches {
            clock,
            leaf: Leaf::new(Ticking(clock), None),
            alarm: alarm_leaf(0, u64::MAX, Alarmed::Retry),
        }
    }
}

impl Branches for TickBranches<'_> {
    type Output = Instant;

    fn leaves(&self) -> usize {
        1
    }

    fn pick(&self, picker: &mut Picker) {
        // Acquire: pairs with whoever set the tick.
        let next = self.clock.next.load(Ordering::Acquire);
        picker.leaf(next != u64::MAX && next <= sched::now_ns());
    }

    fn attempt(&self, leaf: usize, me: &mut Me<'_>) -> Attempt {
        self.leaf.attempt(leaf, me)
    }

    fn publish(&self, leaf: usize, me: &mut Me<'_>) -> Attempt {
        let result = self.leaf.publish(leaf, me);
        if matches!(result, Attempt::Wait) {
            // If the clock is reset in between, this performer has been told to look again already.
            self.alarm.set_deadline(self.clock.next.load(Ordering::Acquire));
            self.alarm.arm(me);
        }
        result
    }

    fn retract(&self, leaf: usize) {
        self.alarm.disarm();
        self.leaf.retract(leaf);
    }

    fn abandon(&mut self, _: Option<usize>) {}

    fn finish(&mut self, leaf: usize) -> Instant {
        self.leaf.finish(leaf)
    }

    fn kind(&self) -> WaitKind {
        WaitKind::Time
    }

    fn graph(&self) -> Graph {
        self.leaf.graph()
    }
}

/// The operation that takes the next tick; see [`Ticker::recv_op`] and [`Timer::recv_op`].
#[derive(Clone, Copy, Debug)]
#[must_use = "an operation does nothing until it is performed"]
pub struct TickOp<'a>(&'a Clock);

impl<'a> Op for TickOp<'a> {
    type Output = Instant;
    type Branches = TickBranches<'a>;
    const IMMEDIATE: bool = true;

    fn force(self) -> TickBranches<'a> {
        TickBranches::new(self.0)
    }

    fn graph(&self) -> Graph {
        Ticking(self.0).graph()
    }
}

macro_rules! clock {
    ($Clock:ident) => {
        impl $Clock {
            /// Waits for the next tick and takes it. Yields the moment at which it was due.
            ///
            /// # Blocking
            /// Suspends the fiber, or blocks the thread; for ever if it is stopped.
            pub fn recv(&self) -> Instant {
                self.recv_op().perform()
            }

            /// The operation that takes the next tick.
            pub fn recv_op(&self) -> TickOp<'_> {
                TickOp(&self.0)
            }

            /// Takes the tick if it is due.
            pub fn try_recv(&self) -> Option<Instant> {
                self.recv_op().try_perform()
            }

            /// Stops it. Afterwards nobody receives a tick of the time before; who waits goes on waiting, for a reset.
            ///
            /// Returns whether a tick was still to come: `true` means that this call has prevented it.
            pub fn stop(&self) -> bool {
                self.0.set(u64::MAX, None)
            }
        }

        impl Receive for $Clock {
            type Output = Instant;
            type Op<'a> = TickOp<'a>;

            fn receive_op(&self) -> TickOp<'_> {
                self.recv_op()
            }
        }
    };
}

/// Ticks every period. Each tick is taken by one receiver; ticks that nobody takes in time are dropped, and the phase is kept.
///
/// Clones share the ticks. Dropping the last one ends it; there is nothing to stop.
///
/// ```
/// use fibers::time::Ticker;
/// use std::time::Duration;
/// let ticker = Ticker::new(Duration::from_millis(1));
/// let (first, second) = (ticker.recv(), ticker.recv());
/// assert!(second - first >= Duration::from_millis(1));
/// ```
#[derive(Clone, Debug)]
pub struct Ticker(Arc<Clock>);

clock!(Ticker);

impl Ticker {
    /// The first tick is due one period from now.
    ///
    /// # Panics
    /// If the period is zero.
    #[track_caller]
    pub fn new(period: Duration) -> Self {
        let (next, period) = start(period);
        Ticker(Clock::new(next, Some(period)))
    }

    /// Sets a new period; the next tick is due one period from now. Starts a stopped ticker again.
    ///
    /// # Panics
    /// If the period is zero.
    #[track_caller]
    pub fn reset(&self, period: Duration) {
        let (next, period) = start(period);
        self.0.set(next, Some(period));
    }
}

#[track_caller]
fn start(period: Duration) -> (u64, u64) {
    assert!(
        !period.is_zero(),
        "a ticker needs a period longer than zero; for a loop without pauses, use `yield_now`"
    );
    let period = deadline_after(0, period);
    (sched::now_ns().saturating_add(period), period)
}

/// Ticks once. Unlike [`after`], it can be stopped and reset, and its tick is taken by one receiver.
///
/// ```
/// use fibers::time::Timer;
/// use std::time::Duration;
/// let timer = Timer::new(Duration::from_secs(3600));
/// assert!(timer.stop()); // prevented
/// assert!(!timer.reset(Duration::ZERO)); // it was not running
/// timer.recv();
/// assert!(!timer.stop()); // too late: the tick has been taken
/// ```
#[derive(Clone, Debug)]
pub struct Timer(Arc<Clock>);

clock!(Timer);

impl Timer {
    /// The tick is due `duration` from now; too long to be represented is never.
    pub fn new(duration: Duration) -> Self {
        Timer(Clock::new(deadline_after(sched::now_ns(), duration), None))
    }

    /// The tick is due at `deadline`.
    pub fn at(deadline: Instant) -> Self {
        Timer(Clock::new(deadline_of(deadline), None))
    }

    /// Starts it again: the tick is due `duration` from now, and none of the time before will be received.
    ///
    /// Returns whether a tick was still to come: `true` means that this call has replaced it.
    pub fn reset(&self, duration: Duration) -> bool {
        self.0.set(deadline_after(sched::now_ns(), duration), None)
    }
}
