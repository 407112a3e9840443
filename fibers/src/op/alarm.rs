//! Waiting for a moment: the branch that a worker's timer wheel decides, and `timeout`.
//!
//! A fiber arms its alarm on its own worker's wheel and disarms it itself, since it never changes workers: no lock, no message. A
//! thread keeps its earliest deadline and parks with a timeout.
#![expect(unsafe_code, reason = "the wheel reaches the alarm of a fiber that waits")]

use super::Op;
use super::branches::{Branches, Picker};
use super::cell::{Attempt, Cell, Decision, Me};
use super::graph::Graph;
use crate::sched::{self, Alarm, Here, WaitKind};
use crate::timer::Key;
use std::cell::Cell as Plain;
use std::error::Error;
use std::fmt;
use std::marker::PhantomPinned;
use std::ptr;
use std::time::Duration;

/// What happens when an alarm goes off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alarmed {
    /// Its branch is committed.
    Commit,
    /// The performer looks at all branches again.
    Retry,
}

/// When an alarm goes off, in nanoseconds of the runtime's clock; `u64::MAX` is never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    At(u64),
    /// So long after it is armed.
    After(u64),
    /// As `After`; it has been armed, and taken back before anybody read the clock. Armed once more it reads the clock, so that
    /// a performer that looks again and again does not start anew for ever.
    Again(u64),
}

/// A branch that is decided at a point in time.
#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct AlarmLeaf {
    when: Plain<When>,
    /// The deadline had passed when the operation was forced, so no clock is read for a peek.
    due: bool,
    then: Alarmed,
    cell: Plain<*const Cell>,
    branch: Plain<usize>,
    armed: Plain<Option<(Here, Key)>>,
    _pinned: PhantomPinned,
}

/// An alarm at `deadline`, forced at `now` (both in nanoseconds).
pub(crate) fn alarm_leaf(now: u64, deadline: u64, then: Alarmed) -> AlarmLeaf {
    AlarmLeaf::new(When::At(deadline), deadline <= now, then)
}

/// An alarm some time after its performer begins to wait. It commits.
pub(crate) fn alarm_after(duration: Duration) -> AlarmLeaf {
    let delay = deadline_after(0, duration);
    let when = if delay == u64::MAX {
        When::At(delay)
    } else {
        When::After(delay)
    };
    AlarmLeaf::new(when, delay == 0, Alarmed::Commit)
}

impl AlarmLeaf {
    fn new(when: When, due: bool, then: Alarmed) -> AlarmLeaf {
        AlarmLeaf {
            when: Plain::new(when),
            due,
            then,
            cell: Plain::new(ptr::null()),
            branch: Plain::new(0),
            armed: Plain::new(None),
            _pinned: PhantomPinned,
        }
    }

    /// Moves an alarm that is not armed.
    pub(crate) fn set_deadline(&self, deadline: u64) {
        debug_assert!(self.armed.get().is_none(), "an armed alarm stays where it is");
        self.when.set(When::At(deadline));
    }

    /// Arms the alarm for the current branch of `me`.
    pub(crate) fn arm(&self, me: &mut Me<'_>) {
        if self.when.get() == When::At(u64::MAX) {
            return;
        }
        match me.here() {
            Some(here) => self.arm_wheel(here, me),
            None => self.arm_thread(me),
        }
    }

    fn arm_wheel(&self, here: Here, me: &mut Me<'_>) {
        self.cell.set(me.cell());
        self.branch.set(me.branch());
        let alarm = Alarm {
            data: ptr::from_ref(self).cast(),
            fire: go_off,
        };
        let key = match self.when.get() {
            // Alone it is certain to wait, so the clock can be read, and siblings that compute do not delay the beginning.
            When::After(delay) if !me.is_lone() => here.arm_after(delay, alarm),
            _ => here.arm(self.resolve(), alarm),
        };
        self.armed.set(Some((here, key)));
        me.share();
    }

    fn arm_thread(&self, me: &mut Me<'_>) {
        let then = match self.then {
            Alarmed::Commit => Decision::Branch(me.branch()),
            Alarmed::Retry => Decision::Retry,
        };
        let deadline = self.resolve();
        if me.timeout.is_none_or(|(earliest, _)| deadline < earliest) {
            me.timeout = Some((deadline, then));
        }
    }

    /// The deadline; one that was not fixed is from now on.
    fn resolve(&self) -> u64 {
        match self.when.get() {
            When::At(deadline) => deadline,
            When::After(delay) | When::Again(delay) => {
                let deadline = sched::now_ns().saturating_add(delay);
                self.when.set(When::At(deadline));
                deadline
            }
        }
    }

    /// Takes the alarm out of the wheel, if it is there.
    pub(crate) fn disarm(&self) {
        if let Some((here, key)) = self.armed.take() {
            if let When::After(delay) = self.when.get() {
                // Should it be armed again, for another round of the same perform, it keeps its deadline.
                self.when.set(here.armed_for(key).map_or(When::Again(delay), When::At));
            }
            here.disarm(key);
        }
    }
}

/// # Safety
/// `alarm` is an [`AlarmLeaf`] that was armed, has not been disarmed, and whose performer has not left its perform.
unsafe fn go_off(alarm: *const ()) {
    // SAFETY: the wheel holds the alarm only between `arm` and `disarm`, in which span it stays in place (contract of `Me::new`).
    let (alarm, cell) = unsafe {
        let alarm = &*alarm.cast::<AlarmLeaf>();
        (alarm, &*alarm.cell.get())
    };
    alarm.armed.set(None);
    if let When::After(_) = alarm.when.get() {
        // Should the performer look again, because it has been told to just before this: the time is over.
        alarm.when.set(When::At(0));
    }
    let waiter = cell.waiter();
    let decided = match alarm.then {
        Alarmed::Commit => cell.commit(alarm.branch.get()),
        Alarmed::Retry => cell.retry(),
    };
    if decided {
        waiter.wake(None);
    }
}

impl Branches for AlarmLeaf {
    type Output = ();

    fn leaves(&self) -> usize {
        1
    }

    fn pick(&self, picker: &mut Picker) {
        picker.leaf(self.due);
    }

    fn attempt(&self, _: usize, me: &mut Me<'_>) -> Attempt {
        match self.due {
            false => Attempt::Wait,
            true if me.commit() => Attempt::Done(None),
            true => Attempt::Lost,
        }
    }

    fn publish(&self, leaf: usize, me: &mut Me<'_>) -> Attempt {
        let result = self.attempt(leaf, me);
        if matches!(result, Attempt::Wait) {
            self.arm(me);
        }
        result
    }

    fn retract(&self, _: usize) {
        self.disarm();
    }

    fn abandon(&mut self, _: Option<usize>) {}

    fn finish(&mut self, _: usize) {}

    fn kind(&self) -> WaitKind {
        WaitKind::Time
    }

    fn graph(&self) -> Graph {
        let settled = self.armed.get().and_then(|(here, key)| here.armed_for(key));
        let left = match settled.map_or(self.when.get(), When::At) {
            When::At(u64::MAX) => return Graph::leaf("sleep for ever"),
            When::At(deadline) => deadline.saturating_sub(sched::now_ns()),
            When::After(delay) | When::Again(delay) => delay,
        };
        Graph::leaf(format!("sleep, {:?} left", Duration::from_nanos(left)))
    }
}

/// `duration` from `now` on, in nanoseconds; too long is never.
pub(crate) fn deadline_after(now: u64, duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).map_or(u64::MAX, |nanos| now.saturating_add(nanos))
}

/// The operation was not possible before its time was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the time for the operation has elapsed")
    }
}

impl Error for Elapsed {}

/// See [`Op::timeout`].
#[derive(Clone, Debug)]
#[must_use = "an operation does nothing until it is performed"]
pub struct Timeout<O> {
    op: O,
    duration: Duration,
}

impl<O> Timeout<O> {
    pub(super) fn new(op: O, duration: Duration) -> Self {
        Timeout { op, duration }
    }
}

impl<O: Op> Op for Timeout<O> {
    type Output = Result<O::Output, Elapsed>;
    type Branches = TimeoutBranches<O::Branches>;
    const IMMEDIATE: bool = O::IMMEDIATE;

    fn force(self) -> Self::Branches {
        let alarm = if O::IMMEDIATE {
            alarm_after(self.duration)
        } else {
            // What guards take counts.
            let now = sched::now_ns();
            alarm_leaf(now, deadline_after(now, self.duration), Alarmed::Commit)
        };
        TimeoutBranches {
            branches: self.op.force(),
            alarm,
        }
    }

    fn graph(&self) -> Graph {
        Graph::node(format!("timeout after {:?}", self.duration), [self.op.graph()])
    }
}

/// The leaves of the operation, then the alarm.
#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct TimeoutBranches<B> {
    branches: B,
    alarm: AlarmLeaf,
}

impl<B: Branches> Branches for TimeoutBranches<B> {
    type Output = Result<B::Output, Elapsed>;

    fn leaves(&self) -> usize {
        self.branches.leaves() + 1
    }

    fn pick(&self, picker: &mut Picker) {
        picker.group(self.leaves(), |picker| {
            self.branches.pick(picker);
            if !picker.found() {
                self.alarm.pick(picker);
            }
        });
    }

    fn attempt(&self, leaf: usize, me: &mut Me<'_>) -> Attempt {
        match leaf < self.branches.leaves() {
            true => self.branches.attempt(leaf, me),
            false => self.alarm.attempt(0, me),
        }
    }

    fn publish(&self, leaf: usize, me: &mut Me<'_>) -> Attempt {
        match leaf < self.branches.leaves() {
            true => self.branches.publish(leaf, me),
            false => self.alarm.publish(0, me),
        }
    }

    fn retract(&self, leaf: usize) {
        match leaf < self.branches.leaves() {
            true => self.branches.retract(leaf),
            false => self.alarm.disarm(),
        }
    }

    fn leave(&self, leaf: usize) {
        match leaf < self.branches.leaves() {
            true => self.branches.leave(leaf),
            false => self.alarm.disarm(),
        }
    }

    fn concede(&mut self, winner: Option<usize>) {
        let leaves = self.branches.leaves();
        self.branches.concede(winner.filter(|leaf| *leaf < leaves));
    }

    fn abandon(&mut self, winner: Option<usize>) {
        let leaves = self.branches.leaves();
        self.branches.abandon(winner.filter(|leaf| *leaf < leaves));
    }

    fn finish(&mut self, leaf: usize) -> Self::Output {
        match leaf < self.branches.leaves() {
            true => Ok(self.branches.finish(leaf)),
            false => Err(Elapsed),
        }
    }

    fn kind(&self) -> WaitKind {
        self.branches.kind()
    }

    fn graph(&self) -> Graph {
        Graph::node("timeout", [self.branches.graph(), self.alarm.graph()])
    }
}
