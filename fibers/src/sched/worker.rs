//! A worker: one thread that runs its fibers, and the loop that it runs when no fiber does.
//!
//! ```text
//!    work: turn(now)  due alarms, the inbox, and at times a glance at the poller
//!          next       a started fiber, else an unstarted one; returns after 16 picks, or when none is left
//!          rest       nothing to run: watch the others, then sleep (idle)
//! ```
//!
//! A fiber that suspends picks the next started one by itself and switches to it; only when its budget of picks is spent,
//! or nothing started is left, it comes back to the loop here. The clock is read at most once per turn, and only if there
//! are alarms or descriptors, or the placement policy needs the time.
//!
//! Everything in [`Core`] belongs to the worker's thread. What others may touch is in [`Remote`].
#![expect(unsafe_code, reason = "fibers are handled through pointers")]

use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::panic::Location;
use std::ptr::{NonNull, null};
use std::sync::Arc;

use slab::Slab;

use super::clock::Clock;
use super::context::StackHeader;
use super::current::Resumed;
use super::forbid::Forbidden;
use super::placement::Placement;
use super::queue::Started;
use super::random::Random;
use super::shared::{Remote, Shared, phase};
use super::task::{Task, TaskRef, flag};
use super::unstarted::Unstarted;
use crate::arch::Sp;
use crate::blocks::Blocks;
use crate::epoll::Events;
use crate::prim::plain::{AtomicU64, Ordering};
use crate::stack::StackCache;
use crate::timer::{Key, Wheel, ticks_ceil, ticks_floor, ticks_to_ns};

/// Picks per turn: how many times fibers may switch among themselves before the worker looks around. A turn costs 5 to
/// 25 ns, a switch 2: at 16 the turns are noise, and a fiber of a few µs still lets others in within 100 µs.
pub(super) const BUDGET: u32 = 16;
/// Alarms fired per turn at most, so that a jump of the clock does not stop the fibers.
const ALARMS_PER_TURN: usize = 256;
/// How many of them are looked at ahead: each lies on the stack of a fiber that has slept, so its memory is cold.
const ALARMS_AHEAD: usize = 16;
/// Remote wakes that overtake the local ones per drain at most. What comes from afar has waited long, and the ones who
/// sent it wait as well (a sieve over two workers: 45 µs per prime at the tail, 15 to 26 at the front); but half of each
/// turn is left to the others.
const FRONT_WAKES: usize = BUDGET as usize / 2;
/// Between two glances at the poller, of 1 µs each. At 20 µs a busy server spent 5 % of its time on them, and got its events in
/// smaller portions.
const POLL_NS: u64 = 100_000;
/// How long the oldest unstarted fiber waits at most while newer ones keep overtaking it.
const OLDEST_NS: u64 = 5_000_000;
/// Stacks that a worker keeps when it has nothing to do.
const CACHED_STACKS: usize = 64;

/// Bits of `Core::unusual`: why a fiber that suspends has to take the slow path.
pub(super) mod unusual {
    /// The run ends, and suspended fibers are unwound.
    pub(in crate::sched) const ENDING: u32 = 1 << 0;
    /// A guard forbids to suspend.
    pub(in crate::sched) const FORBIDDEN: u32 = 1 << 1;
    /// Some fiber has been resumed without a wake. Never cleared.
    pub(in crate::sched) const OFFERED: u32 = 1 << 2;
    /// There is a watchdog: each fiber that goes on is shown to it. Never cleared.
    pub(in crate::sched) const WATCHED: u32 = 1 << 3;
}

/// How many operations the fibers of a worker perform before one of them lets the worker look around first. Without that, a
/// receiver whose channel is never empty does not suspend, and kept the timers of its worker waiting for 0.9 ms in the median. A
/// turn costs 5 to 25 ns.
pub(super) const PATIENCE: i32 = 256;

/// What the wheel holds. When it is due the worker calls `fire(data)` on its own stack, holding no lock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Alarm {
    pub(crate) data: *const (),
    /// Safe to call with `data` until the alarm is taken back.
    pub(crate) fire: unsafe fn(*const ()),
}

/// The owner's part of a worker, for the length of a run.
pub(super) struct Core {
    /// The running fiber; null while the worker itself runs.
    pub(super) current: Cell<*const Task>,
    pub(super) started: Started,
    /// Picks left in this turn.
    pub(super) budget: Cell<u32>,
    /// See [`unusual`].
    pub(super) unusual: Cell<u32>,
    /// How many operations may still be performed; see [`PATIENCE`]. None while suspending is forbidden.
    pub(super) patience: Cell<i32>,
    /// What the next fiber to go on is told.
    pub(super) verdict: Cell<Resumed>,
    /// The worker's own context, while a fiber runs.
    pub(super) native: Cell<Sp>,
    /// For the sanitizer: the bounds of the worker's own stack, which are learnt when it is left.
    pub(super) left_native: Cell<bool>,
    pub(super) native_bounds: Cell<(*const c_void, usize)>,
    pub(super) remote: *const Remote,
    /// There are other workers.
    pub(super) several: bool,
    turns: Cell<u64>,
    /// The slice in which a fiber that has not suspended yet was started.
    pub(super) fresh: Cell<u64>,
    /// That fiber. Not to be touched unless it is in that slice.
    pub(super) fresh_task: Cell<*const Task>,
    /// Where the fiber that was started last was spawned.
    pub(super) started_site: Cell<*const Location<'static>>,
    /// The last slice that spawned.
    pub(super) spawned: Cell<u64>,
    /// The ids that this worker may still hand out.
    pub(super) ids: Cell<u64>,
    pub(super) ids_end: Cell<u64>,
    /// Unstarted fibers that thieves do not see.
    pub(super) fixed: Unstarted,
    /// Taken out of a queue, to be started next.
    pub(super) held: Cell<Option<NonNull<Task>>>,
    /// There was no stack for the held fiber.
    pub(super) stuck: Cell<bool>,
    /// Since when there has been none.
    pub(super) stuck_since: Cell<Option<u64>>,
    /// The stack whose fiber ended last: the next one starts there.
    pub(super) warm: Cell<Option<NonNull<StackHeader>>>,
    /// A stack of its own size whose fiber has ended.
    pub(super) ended: Cell<Option<NonNull<StackHeader>>>,
    /// The running fiber has been given up by a shutdown.
    pub(super) abandoned: Cell<bool>,
    pub(super) forbidden: Cell<Option<Forbidden>>,
    /// How many fibers are suspended in the middle of a panic.
    pub(super) panicking: Cell<usize>,
    pub(super) phase: Cell<u32>,
    /// The main fiber, until it ends, on worker 0.
    pub(super) main: Cell<Option<TaskRef>>,
    /// The main fiber is to be resumed, to panic.
    pub(super) doomed: Cell<Option<TaskRef>>,
    /// The last question of the board that was answered here.
    pub(super) answered: Cell<u64>,
    /// Worker 0 knows that this one is idle.
    pub(super) told: Cell<bool>,
    /// Since when nothing goes on, after the end of the main fiber.
    pub(super) quiet_since: Cell<Option<u64>>,
    /// What the workers had counted when this one last asked whether the run is over.
    pub(super) looked_at: Cell<u64>,
    pub(super) random: Random,
    pub(super) clock: Clock,
    /// When it last looked at its poller.
    polled_last: Cell<u64>,
    /// When it last looked whether another one does not come to its poller.
    pub(super) saw_to_pollers: Cell<u64>,
    /// When stacks were last given back.
    pub(super) trimmed: Cell<u64>,
    /// Picks since an unstarted fiber was started out of turn, and when the oldest was.
    overtaken: Cell<u32>,
    oldest_started: Cell<u64>,
    /// That was one of the fixed ones, if there was any.
    fixed_was_oldest: Cell<bool>,
    /// Names this worker in this run: no other one has the number.
    pub(super) serial: u64,
    pub(super) index: usize,
    pub(super) wheel: RefCell<Wheel<Alarm>>,
    pub(super) registry: RefCell<Slab<NonNull<StackHeader>>>,
    pub(super) cache: RefCell<StackCache>,
    /// What the fibers that are spawned here are kept in.
    pub(super) blocks: Blocks,
    /// What was seen last, and whether it has not been served yet.
    pub(super) events: RefCell<Events>,
    pub(super) undelivered: Cell<bool>,
    /// How many events have ended the last sleep.
    pub(super) events_last: Cell<usize>,
    pub(super) placement: RefCell<Placement>,
    pub(super) shared: Arc<Shared>,
}

/// The slice of no fiber.
pub(super) const NO_SLICE: u64 = u64::MAX - 1;

impl Core {
    pub(super) fn new(shared: Arc<Shared>, index: usize) -> Core {
        static SERIAL: AtomicU64 = AtomicU64::new(1);
        let clock = Clock::new();
        let now = clock.now();
        Core {
            current: Cell::new(null()),
            started: Started::new(),
            budget: Cell::new(0),
            unusual: Cell::new(if shared.config.watchdog.is_some() {
                unusual::WATCHED
            } else {
                0
            }),
            patience: Cell::new(PATIENCE),
            verdict: Cell::new(Resumed::Ready),
            native: Cell::new(Sp::NULL),
            left_native: Cell::new(false),
            native_bounds: Cell::new((null(), 0)),
            remote: &shared.workers[index],
            several: shared.several(),
            turns: Cell::new(0),
            fresh: Cell::new(NO_SLICE),
            fresh_task: Cell::new(null()),
            started_site: Cell::new(null()),
            spawned: Cell::new(NO_SLICE),
            ids: Cell::new(0),
            ids_end: Cell::new(0),
            fixed: Unstarted::new(false),
            held: Cell::new(None),
            stuck: Cell::new(false),
            stuck_since: Cell::new(None),
            warm: Cell::new(None),
            ended: Cell::new(None),
            abandoned: Cell::new(false),
            forbidden: Cell::new(None),
            // One that an earlier run has leaked, or the caller's own.
            panicking: Cell::new(usize::from(std::thread::panicking())),
            phase: Cell::new(phase::RUN),
            main: Cell::new(None),
            doomed: Cell::new(None),
            answered: Cell::new(shared.board.question()),
            told: Cell::new(false),
            quiet_since: Cell::new(None),
            looked_at: Cell::new(0),
            random: Random::new(shared.config.seed, index as u64),
            polled_last: Cell::new(now),
            saw_to_pollers: Cell::new(now),
            trimmed: Cell::new(now),
            overtaken: Cell::new(0),
            oldest_started: Cell::new(now),
            fixed_was_oldest: Cell::new(false),
            serial: SERIAL.fetch_add(1, Ordering::Relaxed),
            index,
            wheel: RefCell::new(Wheel::new(ticks_floor(now))),
            registry: RefCell::default(),
            cache: RefCell::new(StackCache::new(shared.stacks.clone(), CACHED_STACKS)),
            blocks: Blocks::new(),
            events: RefCell::new(Events::with_capacity(256)),
            undelivered: Cell::new(false),
            events_last: Cell::new(0),
            placement: RefCell::new(Placement::new(shared.workers.len())),
            clock,
            shared,
        }
    }

    #[inline(always)]
    pub(super) fn remote(&self) -> &Remote {
        // SAFETY: a part of `shared`, which this worker holds.
        unsafe { &*self.remote }
    }

    /// Names the present slice of fiber time: it changes with every pick.
    #[inline(always)]
    pub(super) fn slice(&self) -> u64 {
        self.turns.get() << 8 | u64::from(self.budget.get())
    }

    /// Runs until the run is left. What goes wrong here cannot be mended: fibers hold pointers into this worker.
    pub(super) fn work(&self) {
        if self.several || self.shared.config.watchdog.is_some() {
            self.remote().set_pulse();
        }
        let abort = AbortOnUnwind;
        self.work_until_left();
        std::mem::forget(abort);
    }

    fn work_until_left(&self) {
        loop {
            let came_from = self.slice();
            let now = self.turn();
            if self.phase.get() == phase::LEAVE {
                return self.leave();
            }
            if !self.next(came_from, now) {
                self.rest();
            }
        }
    }

    /// Looks around. Returns the time if it was needed, else 0.
    fn turn(&self) -> u64 {
        self.account();
        let phase = self.shared.phase.load(Ordering::Relaxed);
        if phase != self.phase.get() {
            self.enter(phase);
        }
        let alarms = !self.wheel.borrow().is_empty();
        let descriptors = self.shared.descriptors.load(Ordering::Relaxed) != 0;
        let policy = self.several && !self.remote().unstarted.is_empty();
        let now = if alarms || descriptors || policy {
            self.clock.now()
        } else {
            0
        };
        if alarms {
            self.fire_due(now);
        }
        if !self.remote().inbox.is_empty() {
            self.drain_inbox();
        }
        if descriptors && now.saturating_sub(self.polled_last.get()) >= POLL_NS {
            self.poll(now);
        }
        now
    }

    /// A turn with nothing to see but started fibers, on the stack of a fiber: to go to the worker's own and come back costs more
    /// than the turn. False, and nothing is done, if there is anything else.
    #[inline]
    pub(super) fn turn_in_place(&self) -> bool {
        let remote = self.remote();
        let alone = self.may_start_inline()
            && remote.inbox.is_empty()
            && remote.unstarted.is_empty()
            && self.fixed.is_empty()
            && self.held.get().is_none()
            && self.doomed.get().is_none()
            && self.shared.phase.load(Ordering::Relaxed) == self.phase.get()
            && self.shared.descriptors.load(Ordering::Relaxed) == 0;
        if alone {
            self.account();
        }
        alone
    }

    /// Counts the picks of the last turn and opens a new one.
    fn account(&self) {
        let picks = BUDGET - self.budget.replace(BUDGET);
        self.turns.set(self.turns.get() + 1);
        self.overtaken.set(self.overtaken.get() + picks);
        let counter = &self.remote().counters.picks;
        counter.store(counter.load(Ordering::Relaxed) + u64::from(picks), Ordering::Relaxed);
    }

    /// Runs fibers, until they come back here. False if there is none.
    fn next(&self, came_from: u64, now: u64) -> bool {
        if self.several && !self.remote().unstarted.is_empty() {
            self.place(came_from, now);
        }
        if let Some(main) = self.doomed.take() {
            self.verdict.set(Resumed::Deadlock);
            // SAFETY: suspended, in no queue; on the native context.
            unsafe { self.resume(main.0) };
        } else if let Some(task) = self.overdue(now) {
            self.begin(task);
        } else if let Some(task) = self.started.pop() {
            self.budget.set(self.budget.get() - 1);
            // SAFETY: out of the queue of suspended fibers, on the native context.
            unsafe { self.resume(task) };
        } else if let Some(task) = self.pop_unstarted() {
            self.begin(task);
        } else {
            return self.is_ending() && self.sweep();
        }
        true
    }

    /// Starts a fiber that was taken out of a queue, now or when there is a stack for it.
    pub(super) fn begin(&self, task: NonNull<Task>) {
        self.budget.set(self.budget.get() - 1);
        if self.several && !self.share_surplus(task) {
            return;
        }
        // SAFETY: out of a queue of unstarted fibers, on the native context.
        match unsafe { self.start(task) } {
            Ok(()) => {
                self.stuck.set(false);
                self.stuck_since.set(None);
            }
            Err(_) => {
                debug_assert!(self.held.get().is_none(), "a held fiber is forgotten");
                self.held.set(Some(task));
                self.stuck.set(true);
                if self.stuck_since.get().is_none() {
                    self.stuck_since.set(Some(self.clock.now()));
                }
            }
        }
    }

    /// An unstarted fiber whose turn it is although started ones want to go on: the newest every 16 picks, the oldest
    /// every 5 ms.
    fn overdue(&self, now: u64) -> Option<NonNull<Task>> {
        if self.overtaken.get() < BUDGET {
            return None;
        }
        self.overtaken.set(0);
        // There is one place for a fiber that was taken out and could not be started, so nothing is taken while it is in use.
        if self.held.get().is_some() || !self.has_unstarted() {
            return self.pop_unstarted();
        }
        let now = if now == 0 { self.clock.now() } else { now };
        if now.saturating_sub(self.oldest_started.get()) < OLDEST_NS {
            return self.pop_unstarted();
        }
        self.oldest_started.set(now);
        // Those of the two queues have no common order, so they take turns.
        let fixed_first = !self.fixed_was_oldest.get();
        let fixed = || self.fixed.pop_oldest();
        let task = match fixed_first {
            true => fixed().or_else(|| self.remote().unstarted.pop_oldest()),
            false => self.remote().unstarted.pop_oldest().or_else(fixed),
        };
        self.fixed_was_oldest.set(fixed_first);
        task
    }

    /// Whether the stack of an ended fiber may start the next one by itself: alarms come before that, and so do shutdowns.
    #[inline(always)]
    pub(super) fn may_start_inline(&self) -> bool {
        self.wheel.borrow().is_empty()
    }

    /// The next unstarted fiber: of the newer one of the two newest batches.
    #[inline(always)]
    pub(super) fn pop_unstarted(&self) -> Option<NonNull<Task>> {
        if self.held.get().is_some() || !self.fixed.is_empty() {
            return self.pop_uncommon();
        }
        self.remote().unstarted.pop_newest()
    }

    #[cold]
    fn pop_uncommon(&self) -> Option<NonNull<Task>> {
        if self.held.get().is_some() {
            if self.stuck.get() && self.shared.stacks.exhausted().is_some() {
                return None;
            }
            return self.held.take();
        }
        if self.fixed.newest_slice() >= self.remote().unstarted.newest_slice() {
            return self.fixed.pop_newest();
        }
        self.remote().unstarted.pop_newest()
    }

    /// Hands the wakes from other threads to the started queue, and the fibers that are to start here to theirs.
    pub(super) fn drain_inbox(&self) {
        let mut front = [None; FRONT_WAKES];
        let mut wakes = 0;
        for task in self.remote().inbox.drain() {
            // SAFETY: a fiber in the inbox is alive.
            let header = unsafe { task.as_ref() };
            if !header.has(flag::STARTED) {
                let queue = if header.has(flag::FIXED) {
                    &self.fixed
                } else {
                    &self.remote().unstarted
                };
                queue.push(self.slice(), task);
            } else if header.has(flag::LEAKED) {
                // Nobody will ever resume it.
            } else if let Some(place) = front.get_mut(wakes) {
                header.prefetch();
                *place = Some(task);
                wakes += 1;
            } else {
                // SAFETY: alive, and out of the inbox.
                unsafe { self.started.push(task) };
            }
        }
        for task in front[..wakes].iter().rev().flatten() {
            // SAFETY: as above.
            unsafe { self.started.push_front(*task) };
        }
    }

    /// Fires what is due.
    pub(super) fn fire_due(&self, now: u64) {
        {
            let mut wheel = self.wheel.borrow_mut();
            wheel.settle(|delay_ns| ticks_ceil(now.saturating_add(delay_ns)));
            wheel.advance(ticks_floor(now));
        }
        for i in 0..ALARMS_PER_TURN {
            if i % ALARMS_AHEAD == 0 {
                let wheel = self.wheel.borrow();
                wheel
                    .peek_due()
                    .take(ALARMS_AHEAD)
                    .for_each(|alarm| crate::arch::prefetch(alarm.data.cast(), 2));
            }
            let Some(alarm) = self.wheel.borrow_mut().pop_due() else {
                return;
            };
            // SAFETY: whoever armed it keeps `data` until it is fired or taken back.
            unsafe { (alarm.fire)(alarm.data) };
        }
    }

    #[inline]
    pub(super) fn arm(&self, deadline_ns: u64, alarm: Alarm) -> Key {
        self.wheel.borrow_mut().insert(ticks_ceil(deadline_ns), alarm)
    }

    /// The delay counts from the next reading of the clock, which is that of the next turn.
    #[inline]
    pub(super) fn arm_after(&self, delay_ns: u64, alarm: Alarm) -> Key {
        self.wheel.borrow_mut().insert_unsettled(delay_ns, alarm)
    }

    /// When an alarm goes off; `None` if it was armed with a delay, in this very turn.
    #[inline]
    pub(super) fn armed_for(&self, key: Key) -> Option<u64> {
        self.wheel.borrow().deadline(key).map(ticks_to_ns)
    }

    #[inline]
    pub(super) fn disarm(&self, key: Key) -> bool {
        self.wheel.borrow_mut().remove(key).is_some()
    }

    /// A glance at the own poller, without waiting.
    fn poll(&self, now: u64) {
        self.polled(now);
        self.glance(self.remote());
        if self.undelivered.take() {
            self.dispatch();
        }
        if self.several {
            self.see_to_pollers(now);
        }
    }

    /// It has just looked at its poller.
    pub(super) fn polled(&self, now: u64) {
        self.polled_last.set(now);
        self.remote().counters.polled_ns.store(now, Ordering::Relaxed);
    }

    /// A glance at the poller of a worker that has been busy for so long that it does not come to it.
    pub(super) fn poll_for(&self, busy: &Remote, now: u64) {
        busy.counters.polled_ns.store(now, Ordering::Relaxed);
        self.glance(busy);
        if self.events.borrow().notified() {
            // It has gone to sleep meanwhile, and this was meant to wake it.
            let _ = busy.poller.notify();
        }
    }

    fn glance(&self, of: &Remote) {
        let seen = of.poller.wait(Some(std::time::Duration::ZERO), &mut self.events.borrow_mut());
        self.undelivered.set(seen.is_ok_and(|count| count != 0));
    }

    /// Serves the events that were seen last.
    pub(super) fn dispatch(&self) {
        if let Some(io) = self.shared.io.get() {
            self.events.borrow().iter().for_each(|event| io.event(event));
        }
    }
}

/// Ends the process if it is dropped.
struct AbortOnUnwind;

impl Drop for AbortOnUnwind {
    fn drop(&mut self) {
        crate::sys::write_stderr(b"a worker has panicked: giving up\n");
        crate::sys::abort();
    }
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core")
            .field("index", &self.index)
            .field("serial", &self.serial)
            .finish_non_exhaustive()
    }
}
