//! Spawning and waking, from wherever the caller is.
#![expect(unsafe_code, reason = "fibers are handled through pointers")]

use std::io;
use std::ptr::NonNull;
use std::sync::Arc;

use super::current;
use super::shared::Shared;
use super::task::{Body, FiberRef, Place, Spec, Task, TaskRef, allocate, flag};
use super::worker::Core;

/// Ids that a worker takes from the runtime at a time.
const ID_BATCH: u64 = 256;

/// Spawns into the runtime of the caller.
///
/// # Errors
/// When there is no memory for stacks; the error names the limit.
///
/// # Panics
/// Outside of a runtime.
///
/// # Safety
/// The body may be sent to another thread, unless `spec.place` is `Local`. What it borrows lives until the body has been dropped,
/// or for ever, should that never happen: a shutdown may leak it.
#[inline]
pub(crate) unsafe fn spawn<B: Body>(spec: Spec, body: B) -> io::Result<FiberRef<B>> {
    match current::worker() {
        // SAFETY: the worker that the calling thread is lives.
        Some(core) => unsafe { core.as_ref() }.spawn(spec, body),
        None => outside(),
    }
}

#[cold]
#[track_caller]
fn outside() -> ! {
    panic!(
        "a fiber was spawned outside of a runtime: call it inside fibers::run(..) or Runtime::run(..), or spawn through a Handle"
    )
}

/// A block whose body is to run on a thread of the blocking pool.
pub(super) fn make_job<B: Body>(shared: &Shared, spec: Spec, body: B) -> FiberRef<B> {
    match allocate(spec, shared.take_ids(1), body, &shared.stacks, None) {
        Ok(job) => job,
        Err(_) => unreachable!("a job has no stack of its own"),
    }
}

/// Wakes a fiber, from any thread. Each park is owed one wake.
///
/// # Safety
/// A wake is owed to the fiber, and this is the only one.
#[inline]
pub(crate) unsafe fn ready(task: TaskRef) {
    match current::worker() {
        // SAFETY: the worker that the calling thread is lives; the rest is the caller's promise.
        Some(core) => unsafe { core.as_ref() }.ready_cold(task),
        None => ready_from_outside(task),
    }
}

/// As [`ready`], by a thread that does not belong to the fiber's runtime.
#[cold]
pub(super) fn ready_from_outside(task: TaskRef) {
    // SAFETY: a fiber that is owed a wake has not ended (or was leaked, with its runtime), so its owner is there. Once it
    // is in the inbox it may end, and its runtime with it: hence the count that is taken before and given back after.
    unsafe {
        let Some(owner) = task.0.as_ref().owner().as_ref() else {
            return; // given up by a shutdown: nobody will ever resume it
        };
        Arc::increment_strong_count(owner.shared());
        let keep = Arc::from_raw(owner.shared());
        owner.send(task.0);
        drop(keep);
    }
}

/// Spawns into a runtime that is not the caller's.
pub(super) fn spawn_from_outside<B: Body>(shared: &Arc<Shared>, spec: Spec, body: B) -> io::Result<FiberRef<B>> {
    if let Some(error) = shared.stacks.exhausted() {
        return Err(error);
    }
    let place = spec.place;
    shared.check_place(place)?;
    let fiber = allocate(spec, shared.take_ids(1), body, &shared.stacks, None)?;
    let task = fiber.task().0;
    let sent = match place {
        // Thieves see it there, even if the worker is busy for long.
        Place::Auto if shared.several() => {
            let sent = shared.workers[shared.next_spread()].hand_over(&[task]);
            shared.call_for_help();
            sent
        }
        Place::Spread if shared.several() => shared.workers[shared.next_spread()].deal(task),
        // SAFETY: a new fiber; the caller holds the runtime.
        Place::Worker(n) => unsafe { shared.workers[n].send(task) },
        // SAFETY: as above.
        _ => unsafe { shared.workers[0].send(task) },
    };
    if sent {
        return Ok(fiber);
    }
    debug_assert!(!fiber.header().has(flag::STARTED));
    // The runtime has ended: whoever joins the fiber hears that it was cancelled.
    // SAFETY: no queue has it, so this is its only run; then the reference of the run is given back.
    unsafe {
        task.as_ref().run(true);
        super::task::Task::release(task);
    }
    Ok(fiber)
}

impl Core {
    /// Spawns a fiber from this worker.
    #[inline]
    pub(super) fn spawn<B: Body>(&self, spec: Spec, body: B) -> std::io::Result<FiberRef<B>> {
        if let Some(error) = self.shared.stacks.exhausted() {
            return Err(error);
        }
        let place = spec.place;
        if place != Place::Auto {
            self.shared.check_place(place)?;
        }
        let fiber = allocate(spec, self.next_id(), body, &self.shared.stacks, Some(&self.blocks))?;
        let task = fiber.task().0;
        self.spawned.set(self.slice());
        if place == Place::Auto {
            self.remote().unstarted.push(self.slice(), task);
            if self.several {
                self.shared.call_for_help();
            }
        } else {
            self.send_to_place(place, task);
        }
        Ok(fiber)
    }

    #[cold]
    fn send_to_place(&self, place: Place, task: NonNull<Task>) {
        match place {
            Place::Auto | Place::Local => {
                self.fixed.push(self.slice(), task);
            }
            Place::Spread => {
                self.shared.workers[self.shared.next_spread()].deal(task);
            }
            Place::Worker(n) if n == self.index => {
                self.fixed.push(self.slice(), task);
            }
            // SAFETY: a new fiber; this worker's own runtime lives. No inbox of it is closed before its workers are gone.
            Place::Worker(n) => unsafe {
                self.shared.workers[n].send(task);
            },
        }
    }

    #[inline(always)]
    pub(super) fn next_id(&self) -> u64 {
        let id = self.ids.get();
        if id == self.ids_end.get() {
            return self.next_ids();
        }
        self.ids.set(id + 1);
        id
    }

    #[cold]
    fn next_ids(&self) -> u64 {
        let id = self.shared.take_ids(ID_BATCH);
        self.ids.set(id + 1);
        self.ids_end.set(id + ID_BATCH);
        id
    }
}
