//! The children of a scope: what they run, when they count as ended, and the handle to join one.
#![expect(
    unsafe_code,
    reason = "a child borrows from the frame of its scope, and the scheduler is promised that this lasts"
)]

use super::{Scope, ScopeData};
use crate::fiber::{Builder, Job, JoinError, JoinHandle, Outcome, job};
use crate::op::{JoinOp, Op, Receive};
use crate::prim::plain::{AtomicU32, AtomicU64, Ordering};
use crate::sched::{self, Body, Place};
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::ptr::NonNull;
use std::sync::Arc;

/// What a child of a scope runs.
struct Child<F, T> {
    job: Job<F, T>,
    link: Link,
}

// SAFETY: as for `Job`; the link is shared by its own rules.
unsafe impl<F, T> Sync for Child<F, T> {}

/// What a child shares with its handle, whatever it runs.
struct Link {
    scope: Arc<ScopeData>,
    /// Some of the bits of [`bit`].
    state: AtomicU32,
    /// If it has panicked: as which one in its scope. Written by the child before `ENDED`, read by the handle after it.
    panicked: AtomicU64,
}

/// The one of the two that sets its bit last has the result to itself, and drops it.
mod bit {
    /// The child has ended. Set by the child.
    pub(super) const ENDED: u32 = 1 << 0;
    /// The handle is dropped. Set by the handle.
    pub(super) const DETACHED: u32 = 1 << 1;
    /// The scope counts this child no more. Set by whoever owns the body: the child, or a spawn that has failed.
    pub(super) const UNCOUNTED: u32 = 1 << 2;
}

impl Link {
    /// Counts the child that is about to be.
    fn new(scope: &Arc<ScopeData>) -> Link {
        scope.children.add(1);
        Link {
            scope: scope.clone(),
            state: AtomicU32::new(0),
            panicked: AtomicU64::new(0),
        }
    }

    /// Sets one of the first two bits. Whether the other one was set before: then the result, should there be one, is the caller's.
    fn set(&self, bit: u32) -> bool {
        // Release for what the caller has done with the block, acquire for what the other one has.
        self.state.fetch_or(bit, Ordering::AcqRel) & (bit::ENDED | bit::DETACHED) != 0
    }

    /// Nothing of the child borrows any more.
    fn count_down(&self) {
        if self.forget_count() {
            self.scope.children.done();
        }
    }

    /// The scope will count the child for ever, unless it has done so already.
    fn forget_count(&self) -> bool {
        self.state.fetch_or(bit::UNCOUNTED, Ordering::Relaxed) & bit::UNCOUNTED == 0
    }

    /// Drops a result that nobody has joined. A panic is the scope's.
    fn discard<T>(&self, outcome: &Outcome<T>) {
        let left = outcome.source().lock().take();
        if let Err(Ok(payload)) = left.map(drop).map_err(JoinError::into_payload) {
            self.scope.keep_panic(self.panicked.load(Ordering::Relaxed), payload);
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // Still counted if it was never spawned: then the closure has been dropped by now, since it stands before this.
        self.count_down();
    }
}

impl<F: FnOnce() -> T, T> Body for Child<F, T> {
    fn run(&self, cancelled: bool) {
        let (job, link) = (&self.job, &self.link);
        if sched::run_number() != Some(link.scope.run) {
            // Not even dropped: see the head of the module, 5.
            job.forget_closure();
            link.forget_count();
            return job.abandon();
        }
        let result = job.call(cancelled);
        if result.as_ref().is_err_and(JoinError::is_panic) {
            link.panicked.store(link.scope.number_panic(), Ordering::Relaxed);
        }
        job.complete(result);
        if link.set(bit::ENDED) {
            // A destructor may panic, which the hook has reported, and a shutdown may raise in it.
            let _ = catch_unwind(AssertUnwindSafe(|| link.discard(job.outcome())));
        }
        link.count_down();
    }

    fn abandon(&self) {
        self.job.abandon();
    }
}

impl Builder {
    /// Spawns the fiber as a child of `scope`; see [`Scope::spawn`]. A name and a stack size may be chosen, and
    /// [`spread`](Builder::spread).
    ///
    /// ```
    /// use fibers::{fiber::Builder, scope};
    /// fibers::run(|| {
    ///     let text = String::from("borrowed");
    ///     let length = scope(|s| Builder::new().name("counter").spawn_scoped(s, || text.len()).unwrap().join().unwrap());
    ///     assert_eq!(length, 8);
    /// });
    /// ```
    ///
    /// # Errors
    /// As [`Builder::spawn`]; also if a certain worker was asked for.
    ///
    /// # Panics
    /// On a thread or in a runtime other than that of the scope.
    #[track_caller]
    pub fn spawn_scoped<'scope, F, T>(self, scope: &'scope Scope<'scope, '_>, f: F) -> io::Result<ScopedJoinHandle<'scope, T>>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        assert!(
            sched::run_number() == Some(scope.data.run),
            "a child was spawned outside of the runtime of its scope: spawn it from the closure of the scope, or from another child"
        );
        let spec = self.spec(Location::caller());
        if matches!(spec.place, Place::Worker(_)) {
            let message = "a child of a scope may run anywhere: leave `worker` away, or use `spread`";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let child = Child {
            job: job(f),
            link: Link::new(&scope.data),
        };
        // SAFETY: `F` and `T` are `Send`. They outlive `'scope`, and the frame of the scope is not left before this body holds
        // none of either, as the head of the module shows.
        let fiber = unsafe { sched::spawn(spec, child)? };
        Ok(ScopedJoinHandle {
            link: NonNull::from(&fiber.link),
            handle: JoinHandle::of_body(fiber, |child| &child.job),
            _scope: PhantomData,
        })
    }
}

/// Owns the result of a child of a scope. Dropping it detaches the child, which its scope waits for all the same.
///
/// `<-handle` waits for the result, as [`join_op`](ScopedJoinHandle::join_op) does.
pub struct ScopedJoinHandle<'scope, T> {
    pub(super) handle: JoinHandle<T>,
    link: NonNull<Link>,
    _scope: PhantomData<&'scope ()>,
}

// SAFETY: the link is shared by its own rules, and the rest is a join handle.
unsafe impl<T: Send> Send for ScopedJoinHandle<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for ScopedJoinHandle<'_, T> {}

impl<T> Drop for ScopedJoinHandle<'_, T> {
    fn drop(&mut self) {
        // SAFETY: `handle` counts a reference to the block in which the link lies.
        let link = unsafe { self.link.as_ref() };
        if link.set(bit::DETACHED) {
            link.discard(self.handle.outcome());
        }
    }
}

impl<T> ScopedJoinHandle<'_, T> {
    /// Waits until the child has ended and takes its result.
    ///
    /// # Errors
    /// If the child panicked: then its panic is the caller's, and the scope does not raise it. If it was ended by a shutdown, or if
    /// the result has been taken before through [`join_op`](ScopedJoinHandle::join_op).
    ///
    /// # Blocking
    /// Suspends the fiber.
    pub fn join(self) -> Result<T, JoinError> {
        self.join_op().perform()
    }

    /// The operation that waits until the child has ended and takes its result. The first to perform it gets the result.
    pub fn join_op(&self) -> JoinOp<'_, T> {
        self.handle.join_op()
    }

    /// Whether the child has ended. Its scope may still count it for a moment.
    pub fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }

    /// The child's number, unique in its runtime.
    pub fn id(&self) -> u64 {
        self.handle.id()
    }

    /// The child's name, if it was given one.
    pub fn name(&self) -> Option<&str> {
        self.handle.name()
    }
}

impl<T> fmt::Debug for ScopedJoinHandle<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopedJoinHandle")
            .field("id", &self.id())
            .field("name", &self.name())
            .field("finished", &self.is_finished())
            .finish()
    }
}

impl<T> Receive for ScopedJoinHandle<'_, T> {
    type Output = Result<T, JoinError>;
    type Op<'a>
        = JoinOp<'a, T>
    where
        Self: 'a;

    fn receive_op(&self) -> JoinOp<'_, T> {
        self.join_op()
    }
}
