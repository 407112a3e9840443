//! The scheduler as the model checker sees it: what the operations need of it, and nothing else.
//!
//! A fiber of the model is a thread that continues only by a wake meant for it. This scheduler is strict where the real one may
//! rely on the operations: it panics if a fiber is woken twice, if a wake comes after the fiber has ended, and if a wake is left
//! over. An alarm goes off as soon as its fiber waits and has not been woken; when that happens, compared with what other threads
//! do, is up to the checker, as it is when a fiber of a runtime that shuts down is resumed without a wake.

use crate::prim::{self, AtomicU32, Ordering, Thread, plain};
use crate::timer::{self, Key, Wheel};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub(crate) use prim::monotonic_ns as now_ns;

/// The number of a fiber, which is never used again, so that a wake for one that has ended is noticed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TaskRef(u64);

/// A fiber, as others reach it.
struct Task {
    /// Wakes not yet consumed: 0 or 1.
    wakes: AtomicU32,
    thread: Thread,
}

/// All fibers that have not ended. What the lock guards is nothing that the operations rely on, so the checker need not know it.
static TASKS: Mutex<Option<HashMap<u64, Arc<Task>>>> = Mutex::new(None);

fn tasks<R>(f: impl FnOnce(&mut HashMap<u64, Arc<Task>>) -> R) -> R {
    f(TASKS.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default())
}

fn task(number: u64) -> Arc<Task> {
    tasks(|tasks| tasks.get(&number).cloned()).expect("a wake for a fiber that has ended")
}

/// A fiber, as it reaches itself.
struct Current {
    number: u64,
    wheel: RefCell<Wheel<Alarm>>,
    /// The runtime ends: the next wait is resumed without a wake.
    unwinds: Cell<bool>,
}

loom::thread_local! {
    static CURRENT: RefCell<Option<Rc<Current>>> = RefCell::new(None);
}

fn current() -> Rc<Current> {
    CURRENT.with(|current| current.borrow().clone()).expect("on a fiber")
}

/// The fiber that runs here.
#[derive(Clone, Copy, Debug)]
pub struct Here(u64);

pub(crate) fn here() -> Option<Here> {
    CURRENT.with(|current| current.borrow().as_ref().map(|current| Here(current.number)))
}

impl Here {
    pub(crate) fn task(self) -> TaskRef {
        TaskRef(self.0)
    }

    pub(crate) fn park(self, wait: Wait<'_>) -> Resumed {
        let Wait { kind: _, report: _ } = wait;
        let (me, task) = (current(), task(self.0));
        // Acquire: pairs with the Release of `ready`, as the inbox of a worker does.
        while task.wakes.swap(0, Ordering::Acquire) == 0 {
            if me.unwinds.take() {
                return Resumed::Unwind;
            }
            if !go_off(&me) {
                prim::park();
            }
        }
        Resumed::Ready
    }

    pub(crate) fn ready(self, task: TaskRef) {
        wake(task);
    }

    pub(crate) fn random(self) -> u64 {
        prim::random()
    }

    pub(crate) fn arm(self, deadline_ns: u64, alarm: Alarm) -> Key {
        current().wheel.borrow_mut().insert(timer::ticks_ceil(deadline_ns), alarm)
    }

    pub(crate) fn arm_after(self, delay_ns: u64, alarm: Alarm) -> Key {
        self.arm(now_ns().saturating_add(delay_ns), alarm)
    }

    pub(crate) fn armed_for(self, key: Key) -> Option<u64> {
        current().wheel.borrow().deadline(key).map(timer::ticks_to_ns)
    }

    pub(crate) fn disarm(self, key: Key) -> bool {
        current().wheel.borrow_mut().remove(key).is_some()
    }

    pub(crate) fn is_alone(self) -> bool {
        false
    }

    pub(crate) fn forbid_suspend(self, _why: &'static str) -> NoSuspend {
        NoSuspend
    }
}

pub(crate) struct NoSuspend;

pub(crate) fn is_held_up(_here: Option<Here>) -> bool {
    false
}

pub(crate) fn refuse_to_suspend(_here: Option<Here>, _what: &dyn Report) {
    unreachable!("the model forbids nothing")
}

/// Lets the time of the next alarm come; false if there is none.
#[expect(unsafe_code, reason = "the wheel calls what was armed")]
fn go_off(me: &Current) -> bool {
    let mut wheel = me.wheel.borrow_mut();
    let Some(next) = wheel.next() else { return false };
    let later = timer::ticks_to_ns(next).saturating_sub(now_ns());
    prim::park_timeout(Duration::from_nanos(later));
    wheel.advance(next);
    let due = wheel.pop_due();
    drop(wheel);
    if let Some(alarm) = due {
        // SAFETY: it was armed by this fiber, which waits, and it has not been disarmed.
        unsafe { (alarm.fire)(alarm.data) };
    }
    true
}

/// # Safety
/// None here; with the real scheduler, the wake must be owed.
#[expect(unsafe_code, reason = "the signature of the real one")]
pub(crate) unsafe fn ready(of: TaskRef) {
    wake(of);
}

fn wake(of: TaskRef) {
    let task = task(of.0);
    // Release: pairs with the Acquire of `park`.
    let owed = task.wakes.fetch_add(1, Ordering::Release);
    assert_eq!(owed, 0, "a fiber was woken twice");
    task.thread.unpark();
}

/// How a wait ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Resumed {
    Ready,
    Unwind,
    #[expect(dead_code, reason = "the model checker itself reports a deadlock")]
    Deadlock,
}

/// What is thrown when a runtime ends.
struct Ended;

pub(crate) fn unwind() -> ! {
    panic::resume_unwind(Box::new(Ended))
}

pub(crate) fn deadlock() -> ! {
    unreachable!("the model checker itself reports a deadlock")
}

/// Runs `f` as a fiber.
pub fn run<T>(f: impl FnOnce() -> T) -> T {
    fiber(false, f)
}

/// Runs `f` as a fiber of a runtime that ends when the fiber waits for the first time; `None` if that has unwound it.
pub fn shut_down<T>(f: impl FnOnce() -> T) -> Option<T> {
    match panic::catch_unwind(AssertUnwindSafe(|| fiber(true, f))) {
        Ok(result) => Some(result),
        Err(payload) if payload.is::<Ended>() => None,
        Err(payload) => panic::resume_unwind(payload),
    }
}

fn fiber<T>(unwinds: bool, f: impl FnOnce() -> T) -> T {
    static NEXT: plain::AtomicU64 = plain::AtomicU64::new(1);
    let number = NEXT.fetch_add(1, plain::Ordering::Relaxed);
    let task = Arc::new(Task {
        wakes: AtomicU32::new(0),
        thread: prim::current_thread(),
    });
    tasks(|tasks| tasks.insert(number, task));
    let current = Current {
        number,
        wheel: RefCell::new(Wheel::new(0)),
        unwinds: Cell::new(unwinds),
    };
    CURRENT.with(|slot| *slot.borrow_mut() = Some(Rc::new(current)));
    let _end = End(number);
    f()
}

/// The end of a fiber, also by a panic.
struct End(u64);

impl Drop for End {
    fn drop(&mut self) {
        let me = CURRENT.with(|current| current.borrow_mut().take()).expect("on a fiber");
        let task = tasks(|tasks| tasks.remove(&self.0)).expect("a fiber ends once");
        if !std::thread::panicking() {
            assert!(me.wheel.borrow().is_empty(), "an alarm was left armed");
            assert_eq!(task.wakes.load(Ordering::Acquire), 0, "a wake was left over");
        }
    }
}

/// Called by the wheel when the time has come.
#[derive(Clone, Copy)]
pub(crate) struct Alarm {
    pub(crate) data: *const (),
    pub(crate) fire: unsafe fn(*const ()),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WaitKind {
    Receive,
    Send,
    Time,
    Join,
    Other,
}

pub(crate) struct Wait<'a> {
    pub(crate) kind: WaitKind,
    pub(crate) report: &'a dyn Report,
}

pub(crate) trait Report {
    fn report(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;
}
