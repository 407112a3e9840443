//! The wall clock as operations: at a certain date and time, or at the next one that a rule names.
//!
//! [`at_op`] is ready once the wall clock shows a time, whatever happens to the clock meanwhile: if it is set forward past that time,
//! at once; if it is set back, so much later. (Everything else in [`time`](super) counts by a clock that nobody sets.)
//!
//! # How it works
//! The wait itself is for the runtime's own clock, which says about when the wall clock will show that time; then, and at least once
//! a minute, it is looked at again, since the wall clock may be made to run faster or slower for a while. When somebody *sets* the
//! wall clock (or the machine wakes from sleep), the kernel says so through a timer descriptor that exists for this alone
//! (`TFD_TIMER_CANCEL_ON_SET`), and all who wait look again.

pub use super::calendar::{Rule, Weekday};

use super::{AlarmLeaf, Alarmed, Branches, Graph, Op, Picker, Receive, alarm_leaf, deadline_after};
use crate::caretaker::{Ward, look_after, look_again};
use crate::op::cell::{Attempt, Me, Queue, Source, State};
use crate::op::leaf::{Leaf, Side};
use crate::op::{guard, never};
use crate::prim::plain::{AtomicBool, Ordering};
use crate::sched::{self, WaitKind};
use crate::sys;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// Suspends the fiber, or blocks the thread, until the wall clock shows `moment`; returns at once if it has.
pub fn at(moment: SystemTime) {
    at_op(moment).perform();
}

/// The operation that is ready from when the wall clock shows `moment`.
///
/// ```
/// use fibers::{Op, time::alarm};
/// use std::time::{Duration, SystemTime};
/// let soon = SystemTime::now() + Duration::from_millis(5);
/// alarm::at_op(soon).perform();
/// assert!(SystemTime::now() >= soon);
/// ```
pub fn at_op(moment: SystemTime) -> At {
    At(moment)
}

/// Suspends the fiber, or blocks the thread, until the next moment of `rule`, and returns that; for ever if there is none.
pub fn next(rule: Rule) -> SystemTime {
    next_op(rule).perform()
}

/// The operation that is ready at the next moment of `rule` after its performer began to wait, and yields that moment. Never ready if
/// there is none.
///
/// A loop over it misses moments that come while nobody waits; who wants to know of those asks
/// [`Rule::next_after`] the moment that was yielded last, and waits with [`at_op`].
///
/// ```
/// use fibers::{Op, time::alarm::{self, Rule}};
/// use std::time::{Duration, SystemTime};
/// let second = Rule::new();
/// assert!(alarm::next_op(second).perform() <= SystemTime::now());
/// let backup = Rule::new().hour(3).minute(30);
/// let _ = alarm::next_op(backup).timeout(Duration::from_millis(1)).perform();
/// ```
pub fn next_op(rule: Rule) -> impl Op<Output = SystemTime> + Clone {
    guard(move || match rule.next_after(sys::wall_clock()) {
        Some(moment) => at_op(moment).wrap(move |()| moment).boxed(),
        None => never().boxed(),
    })
}

/// See [`at_op`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "an operation does nothing until it is performed"]
pub struct At(SystemTime);

impl At {
    fn is_due(&self) -> bool {
        sys::wall_clock() >= self.0
    }

    fn describe(&self) -> Graph {
        Graph::leaf(match self.0.duration_since(sys::wall_clock()) {
            Ok(left) => format!("alarm, {left:?} left"),
            Err(_) => "alarm, due".into(),
        })
    }
}

impl Op for At {
    type Output = ();
    type Branches = AtBranches;
    const IMMEDIATE: bool = true;

    fn force(self) -> AtBranches {
        if !self.is_due() {
            WALL_CLOCK.watch();
        }
        AtBranches {
            at: self,
            leaf: Leaf::new(Showing(self), ()),
            alarm: alarm_leaf(0, u64::MAX, Alarmed::Retry),
        }
    }

    fn graph(&self) -> Graph {
        self.describe()
    }
}

impl Receive for At {
    type Output = ();
    type Op<'a> = At;

    fn receive_op(&self) -> At {
        *self
    }
}

/// Waits at the wall clock, to look again when it is set; and for the runtime's clock, to look again when it is about time.
#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct AtBranches {
    at: At,
    leaf: Leaf<Showing>,
    alarm: AlarmLeaf,
}

impl AtBranches {
    /// How long to wait before looking again.
    fn patience(&self) -> Duration {
        let most = match WALL_CLOCK.is_watched() {
            true => Duration::from_secs(60),
            false => Duration::from_secs(1),
        };
        // If it has become due since it was tried, at once.
        self.at
            .0
            .duration_since(sys::wall_clock())
            .map_or(Duration::ZERO, |left| left.min(most))
    }
}

impl Branches for AtBranches {
    type Output = ();

    fn leaves(&self) -> usize {
        1
    }

    fn pick(&self, picker: &mut Picker) {
        picker.leaf(self.at.is_due());
    }

    fn attempt(&self, leaf: usize, me: &mut Me<'_>) -> Attempt {
        self.leaf.attempt(leaf, me)
    }

    fn publish(&self, leaf: usize, me: &mut Me<'_>) -> Attempt {
        let result = self.leaf.publish(leaf, me);
        if matches!(result, Attempt::Wait) {
            // If the clock is set in between, this performer has been told to look again already.
            self.alarm.set_deadline(deadline_after(sched::now_ns(), self.patience()));
            self.alarm.arm(me);
        }
        result
    }

    fn retract(&self, leaf: usize) {
        self.alarm.disarm();
        self.leaf.retract(leaf);
    }

    fn abandon(&mut self, _: Option<usize>) {}

    fn finish(&mut self, leaf: usize) {
        self.leaf.finish(leaf);
    }

    fn kind(&self) -> WaitKind {
        WaitKind::Time
    }

    fn graph(&self) -> Graph {
        self.at.describe()
    }
}

/// The wall clock shows the time, or will.
#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct Showing(At);

impl Side for Showing {
    type State = Waiters;
    type Slot = ();
    type Output = ();

    /// Readiness depends on the time, so it cannot lie in the lock word; see [`AtBranches::pick`].
    const READY: u32 = 0;
    const KIND: WaitKind = WaitKind::Time;

    fn source(&self) -> &Source<Waiters> {
        &WALL_CLOCK.waiters
    }

    fn attempt(&self, _: &mut Waiters, (): &mut (), me: &mut Me<'_>) -> Attempt {
        match self.0.is_due() {
            false => Attempt::Wait,
            true if me.commit() => Attempt::Done(None),
            true => Attempt::Lost,
        }
    }

    fn queue(state: &mut Waiters) -> &mut Queue<()> {
        &mut state.queue
    }

    fn output(&mut self, (): &mut ()) {}

    fn graph(&self) -> Graph {
        self.0.describe()
    }
}

/// Those who wait for the wall clock.
#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct Waiters {
    queue: Queue<()>,
}

impl State for Waiters {
    fn readiness(&self) -> u32 {
        0
    }
}

struct WallClock {
    waiters: Source<Waiters>,
    /// The caretaker tells when it is set.
    watched: AtomicBool,
    starting: Mutex<()>,
}

static WALL_CLOCK: LazyLock<WallClock> = LazyLock::new(|| WallClock {
    waiters: Source::new(Waiters { queue: Queue::new() }),
    watched: AtomicBool::new(false),
    starting: Mutex::new(()),
});

impl WallClock {
    fn is_watched(&self) -> bool {
        self.watched.load(Ordering::Acquire)
    }

    /// Makes sure that somebody tells when the clock is set, if anybody can: there may be no descriptor or no thread for it.
    fn watch(&self) {
        if !self.is_watched() {
            let _ = self.begin_to_watch();
        }
    }

    #[cold]
    fn begin_to_watch(&self) -> io::Result<()> {
        let _starting = self.starting.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.watched.load(Ordering::Relaxed) {
            let timer = sys::wall_timer()?;
            sys::arm_for_jumps(timer.as_fd())?;
            look_after(Box::new(Jumps(timer))).map_err(|(error, _)| error)?;
            self.watched.store(true, Ordering::Release);
            // It may have been set before that, while others waited who could not have it watched.
            self.was_set();
        }
        Ok(())
    }

    fn was_set(&self) {
        look_again(&self.waiters, |state| &mut state.queue);
    }
}

/// Is told by the kernel when the clock is set.
struct Jumps(OwnedFd);

impl Ward for Jumps {
    fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    fn tend(&mut self) -> bool {
        // Armed anew before anybody looks, so that whoever looks too early is told again. Reading fails with ECANCELED, as it should.
        let _ = sys::arm_for_jumps(self.fd());
        let _ = sys::read(self.fd(), &mut [0; 8]);
        WALL_CLOCK.was_set();
        true
    }
}

/// Does what the kernel causes when the wall clock is set. For tests; not part of the API.
#[cfg(any(test, feature = "fault-injection"))]
#[doc(hidden)]
pub fn wall_clock_was_set() {
    WALL_CLOCK.was_set();
}
