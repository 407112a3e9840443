//! One run: the calling thread becomes worker 0, and the main fiber decides when it is over.
#![expect(unsafe_code, reason = "the main fiber borrows from its caller")]

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::ptr::NonNull;
use std::sync::Arc;

use super::affinity::{Pinned, Punctual};
use super::current;
use super::deadlock::Deadlock;
use super::shared::{Shared, phase};
use super::task::{Body, Place, Spec, Task, allocate, flag};
use super::worker::Core;
use crate::prim::plain::Ordering;
use crate::stack::AltStack;

/// What the main fiber can use at least: it is where deep recursion is usually first tried, and there is only one.
const MAIN_STACK: usize = 8 << 20;

type Outcome<T> = Result<T, Box<dyn Any + Send>>;

/// The main closure, and what has become of it. Both are reached through the pointers, in the frame of [`run`].
struct Main<F, T> {
    closure: *const Cell<Option<F>>,
    outcome: *const Cell<Option<Outcome<T>>>,
}

impl<T, F: FnOnce() -> T> Body for Main<F, T> {
    fn run(&self, _cancelled: bool) {
        // SAFETY: `run` keeps both cells until the main fiber has ended, and it is on this thread.
        let (closure, outcome) = unsafe { (&*self.closure, &*self.outcome) };
        let Some(main) = closure.take() else { return };
        outcome.set(Some(catch_unwind(AssertUnwindSafe(main))));
        if let Some(here) = current::here() {
            here.end_locals();
            here.core().main.set(None);
            let shared = here.shared();
            shared.advance(shared.config.shutdown.first_phase());
        }
    }
}

/// Panics if the caller is on a worker.
pub(super) fn refuse_nesting() {
    assert!(
        current::worker().is_none(),
        "a runtime was entered inside a fiber: spawn a fiber there, or enter the other runtime from a thread of its own"
    );
}

/// See [`Runtime::run`](super::Runtime::run).
pub(super) fn run<T, F: FnOnce() -> T>(shared: &Arc<Shared>, main: F) -> T {
    refuse_nesting();
    let _entered = Entered::new(shared);
    let _stack = AltStack::install().ok(); // without it an overflow ends in a plain SIGSEGV
    let _punctual = Punctual::new();
    let _pinned = Pinned::new(shared, 0);
    let outcome = Cell::new(None);
    let closure = Cell::new(Some(main));
    work_as_zero(
        shared,
        Main {
            closure: &closure,
            outcome: &outcome,
        },
    );
    match outcome.take() {
        Some(Ok(_)) if shared.board.has_verdict() && shared.config.deadlock == Deadlock::Panic => {
            panic!("deadlock: all fibers are asleep")
        }
        Some(Ok(value)) => value,
        Some(Err(payload)) => resume_unwind(payload),
        None => unreachable!("a run ends after its main fiber"),
    }
}

/// Runs the main fiber, and whatever else there is, until the run is over.
fn work_as_zero<B: Body>(shared: &Arc<Shared>, main: B) {
    let core = Core::new(shared.clone(), 0);
    let usable = MAIN_STACK.max(shared.config.stack_size.saturating_sub(shared.config.guard_size));
    let spec = Spec {
        name: Some("main".into()),
        stack_size: Some(usable),
        place: Place::Local,
        site: Location::caller(),
    };
    let fiber = match allocate(spec, shared.take_ids(1), main, &shared.stacks, None) {
        Ok(fiber) => fiber,
        Err(error) => {
            shared.advance(phase::LEAVE);
            panic!("there is no stack for the main fiber: {error}");
        }
    };
    fiber.header().set(flag::MAIN);
    fiber.header().link.store(super::task::PARKED, Ordering::Relaxed);
    core.main.set(Some(fiber.task()));
    core.held.set(Some(fiber.task().0));
    drop(fiber);
    let _current = Current::new(&core);
    core.work();
}

/// The calling thread is a worker for as long as this lives.
pub(super) struct Current;

impl Current {
    pub(super) fn new(core: &Core) -> Current {
        current::set_worker(core);
        Current
    }
}

impl Drop for Current {
    fn drop(&mut self) {
        current::set_worker(std::ptr::null());
    }
}

/// The run is on for as long as this lives.
struct Entered<'a>(&'a Shared);

impl<'a> Entered<'a> {
    fn new(shared: &'a Shared) -> Entered<'a> {
        let mut lifecycle = shared.lifecycle();
        let running = std::mem::replace(&mut lifecycle.running, true);
        if running {
            drop(lifecycle);
            panic!("this runtime runs in another thread: use a Handle to spawn into it, or build a second runtime");
        }
        lifecycle.run += 1;
        lifecycle.present = shared.workers.len() - 1;
        shared.board.reset();
        shared.phase.store(phase::RUN, Ordering::SeqCst);
        shared.announce();
        Entered(shared)
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        let lifecycle = self.0.lifecycle();
        drop(self.0.wait_until(lifecycle, |l| l.present == 0));
        if let Some(io) = self.0.io.get() {
            io.end();
        }
        let mut lifecycle = self.0.lifecycle();
        self.0.phase.store(phase::REST, Ordering::SeqCst);
        lifecycle.running = false;
    }
}

/// Ends a runtime whose threads are gone: what was spawned too late is dropped, here.
pub(super) fn close(shared: &Shared) {
    shared.blocking.close();
    for worker in &shared.workers {
        let unstarted = worker.unstarted.close();
        let sent = worker.inbox.close().filter(|task| {
            // SAFETY: a fiber in the inbox is alive. A started one was leaked, and this is its late wake.
            unsafe { !task.as_ref().has(flag::STARTED) }
        });
        for task in unstarted.into_iter().chain(sent.collect::<Vec<_>>()) {
            cancel(task);
        }
    }
}

/// Lets a fiber that will never start drop its closure.
fn cancel(task: NonNull<Task>) {
    // SAFETY: out of a queue of unstarted fibers, so this is its only run, and the reference is that of the run.
    unsafe {
        task.as_ref().run(true);
        Task::release(task);
    }
}
