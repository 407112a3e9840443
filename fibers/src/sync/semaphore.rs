//! A number of permits that many hold at a time.
//!
//! # Invariants (under the lock)
//! - Permits go from hand to hand: whoever gives some back decides those whom they suffice for, in order of arrival, before anybody
//!   else can take them. Nobody is woken in order to try again.
//! - Waiters wait only behind others, or while there are too few permits. The head of the queue is served first: those behind a
//!   large demand wait until it has been met or withdrawn.
//! - A closed semaphore has no waiters.
//!
//! The queue is that of Go's `golang.org/x/sync/semaphore` and of Tokio's semaphore. What this one does not do: it does not know
//! who holds permits, so nobody is told of a holder that waits for itself.

use crate::op::Op;
use crate::op::cell::{Batch, Cell, Queue, RX_READY, Source, State};
use crate::prim::const_fn;
use crate::sched;
use std::cell::Cell as Plain;
use std::fmt;
use std::panic::RefUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

mod error;
mod ops;
mod permit;

pub use error::{AcquireError, AcquireTimeoutError, TryAcquireError};
use ops::Demand;
pub use ops::{AcquireOp, AcquireOwnedOp};
pub use permit::{OwnedPermit, Permit};

/// A number of permits. Whoever has acquired some holds them until they drop the [`Permit`]; who wants more than there are waits,
/// first come, first served.
///
/// It bounds how many fibers or threads do something at a time. Works between fibers of any runtime and plain threads, also as a
/// `static`.
///
/// ```
/// use fibers::{spawn, sync::Semaphore};
/// use std::sync::Arc;
/// fibers::run(|| {
///     let two_at_a_time = Arc::new(Semaphore::new(2));
///     for _ in 0..10 {
///         let permit = two_at_a_time.clone().acquire_owned().unwrap();
///         spawn(move || {
///             // work
///             drop(permit);
///         });
///     }
///     let _all = two_at_a_time.acquire_many(2).unwrap(); // everybody has finished
/// });
/// ```
///
/// # Order
/// An acquire is admitted when there are enough permits and nobody else waits before it. So a large demand is not starved by small
/// ones, and small ones wait behind a large one that there are too few permits for. When that withdraws (another branch of its
/// choice was taken, its time was over), those behind it are looked at again. Zero permits are acquired at once.
///
/// Several branches of one choice may acquire from the same semaphore: since only one of them is taken, they do not wait for each
/// other, and if all could be met the usual rules of the choice apply. What a choice does wait for is permits that its own
/// performer holds.
///
/// # Panics and unwinding
/// A holder that panics drops its permits, which gives them back; nothing is poisoned. An acquire that is committed while its
/// performer unwinds (because of a panic in another part of the operation, or since its runtime ends) gives them back as well.
pub struct Semaphore(Source<SemaphoreState>);

/// How many permits nobody holds, and who waits for some.
struct SemaphoreState {
    available: usize,
    closed: bool,
    waiters: Queue<Demand>,
}

/// In the lock word: there are permits, and there are waiters. Whether they come together takes a look under the lock.
const LOOK: u32 = 8;

impl State for SemaphoreState {
    /// Ready for one permit: that is what the lock word can tell.
    fn readiness(&self) -> u32 {
        match (self.closed, self.available, self.waiters.is_empty()) {
            (true, ..) => RX_READY,
            (false, 0, _) => 0,
            (false, _, true) => RX_READY,
            (false, _, false) => LOOK,
        }
    }
}

impl SemaphoreState {
    /// Whether an acquire would end now, `own` being the cell of its perform: by success, or because the semaphore is closed.
    fn is_ready_for(&mut self, permits: usize, own: Option<&Cell>) -> bool {
        self.closed || permits == 0 || permits <= self.available && self.waiters.is_empty_but_for(own)
    }

    /// After [`is_ready_for`](Self::is_ready_for); false if it is closed.
    fn take(&mut self, permits: usize) -> bool {
        if !self.closed {
            self.available -= permits;
        }
        !self.closed
    }

    /// Serves up to a batch of waiters; returns whether there may be more to serve.
    fn grant(&mut self, batch: &mut Batch) -> bool {
        if self.closed {
            return false; // they are being told so
        }
        let available = Plain::new(self.available);
        let more = self.waiters.grant(
            batch,
            |demand| demand.permits <= available.get(),
            |demand| {
                available.set(available.get() - demand.permits);
                demand.granted = true;
            },
        );
        self.available = available.get();
        more
    }
}

impl Semaphore {
    /// The largest number of permits that a semaphore can be made with.
    pub const MAX_PERMITS: usize = usize::MAX >> 3;

    const_fn! {
        /// A semaphore with so many permits to hand out.
        ///
        /// # Panics
        /// If that is more than [`MAX_PERMITS`](Semaphore::MAX_PERMITS).
        #[track_caller]
        pub const fn new(permits: usize) -> Self {
            assert!(permits <= Semaphore::MAX_PERMITS, "a semaphore cannot have so many permits");
            let state = SemaphoreState { available: permits, closed: false, waiters: Queue::new() };
            Semaphore(Source::ready(state, if permits > 0 { RX_READY } else { 0 }))
        }
    }

    /// Acquires one permit, waiting for it.
    ///
    /// # Errors
    /// If the semaphore is closed.
    ///
    /// # Blocking
    /// Suspends the fiber, or blocks the thread, until there is a permit and nobody waits before.
    pub fn acquire(&self) -> Result<Permit<'_>, AcquireError> {
        self.acquire_op().perform()
    }

    /// Acquires so many permits at once, waiting for them. If there are never so many, it waits for ever.
    ///
    /// # Errors
    /// If the semaphore is closed.
    ///
    /// # Blocking
    /// Suspends the fiber, or blocks the thread, until there are enough permits and nobody waits before.
    pub fn acquire_many(&self, permits: usize) -> Result<Permit<'_>, AcquireError> {
        self.acquire_many_op(permits).perform()
    }

    /// Acquires one permit if there is one at once, and nobody waits for it.
    ///
    /// # Errors
    /// If there is none, or if the semaphore is closed.
    pub fn try_acquire(&self) -> Result<Permit<'_>, TryAcquireError> {
        self.try_acquire_many(1)
    }

    /// Acquires so many permits if they are there at once, and nobody waits for them.
    ///
    /// # Errors
    /// If they are not, or if the semaphore is closed.
    pub fn try_acquire_many(&self, permits: usize) -> Result<Permit<'_>, TryAcquireError> {
        let tried = self.acquire_many_op(permits).try_perform();
        Ok(tried.ok_or(TryAcquireError::NoPermits)??)
    }

    /// Like [`acquire`](Semaphore::acquire), but gives up after `timeout`.
    ///
    /// # Errors
    /// If the time is over, or if the semaphore is closed.
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<Permit<'_>, AcquireTimeoutError> {
        self.acquire_many_timeout(1, timeout)
    }

    /// Like [`acquire_many`](Semaphore::acquire_many), but gives up after `timeout`.
    ///
    /// # Errors
    /// If the time is over, or if the semaphore is closed.
    pub fn acquire_many_timeout(&self, permits: usize, timeout: Duration) -> Result<Permit<'_>, AcquireTimeoutError> {
        Ok(self.acquire_many_op(permits).timeout(timeout).perform()??)
    }

    /// The operation that acquires one permit.
    ///
    #[cfg_attr(feature = "macros", doc = "```")]
    #[cfg_attr(not(feature = "macros"), doc = "```ignore")]
    /// use fibers::{channel, select, sync::Semaphore};
    /// let slots = Semaphore::new(1);
    /// let (_stop, quit) = channel::<()>(0);
    /// select! {
    ///     permit = slots.acquire_op() => assert_eq!(permit.unwrap().permits(), 1),
    ///     <-quit => unreachable!(),
    /// }
    /// assert_eq!(slots.available(), 1);
    /// ```
    pub fn acquire_op(&self) -> AcquireOp<'_> {
        self.acquire_many_op(1)
    }

    /// The operation that acquires so many permits at once.
    pub fn acquire_many_op(&self, permits: usize) -> AcquireOp<'_> {
        AcquireOp {
            semaphore: self,
            permits,
        }
    }

    /// As [`acquire`](Semaphore::acquire), for a permit that keeps the semaphore alive.
    ///
    /// # Errors
    /// If the semaphore is closed.
    ///
    /// # Blocking
    /// Suspends the fiber, or blocks the thread, until there is a permit and nobody waits before.
    pub fn acquire_owned(self: Arc<Self>) -> Result<OwnedPermit, AcquireError> {
        self.acquire_owned_op().perform()
    }

    /// As [`acquire_many`](Semaphore::acquire_many), for permits that keep the semaphore alive.
    ///
    /// # Errors
    /// If the semaphore is closed.
    ///
    /// # Blocking
    /// Suspends the fiber, or blocks the thread, until there are enough permits and nobody waits before.
    pub fn acquire_many_owned(self: Arc<Self>, permits: usize) -> Result<OwnedPermit, AcquireError> {
        self.acquire_many_owned_op(permits).perform()
    }

    /// As [`try_acquire`](Semaphore::try_acquire), for a permit that keeps the semaphore alive.
    ///
    /// # Errors
    /// If there is none, or if the semaphore is closed.
    pub fn try_acquire_owned(self: Arc<Self>) -> Result<OwnedPermit, TryAcquireError> {
        self.try_acquire_many_owned(1)
    }

    /// As [`try_acquire_many`](Semaphore::try_acquire_many), for permits that keep the semaphore alive.
    ///
    /// # Errors
    /// If they are not there, or if the semaphore is closed.
    pub fn try_acquire_many_owned(self: Arc<Self>, permits: usize) -> Result<OwnedPermit, TryAcquireError> {
        let tried = self.acquire_many_owned_op(permits).try_perform();
        Ok(tried.ok_or(TryAcquireError::NoPermits)??)
    }

    /// The operation that acquires one permit which keeps the semaphore alive.
    pub fn acquire_owned_op(self: Arc<Self>) -> AcquireOwnedOp {
        self.acquire_many_owned_op(1)
    }

    /// The operation that acquires so many permits at once, which keep the semaphore alive.
    pub fn acquire_many_owned_op(self: Arc<Self>, permits: usize) -> AcquireOwnedOp {
        AcquireOwnedOp {
            semaphore: self,
            permits,
        }
    }

    /// How many permits nobody holds now.
    pub fn available(&self) -> usize {
        self.0.lock().available
    }

    /// Hands out so many permits more than before.
    ///
    /// # Panics
    /// If that makes more than [`MAX_PERMITS`](Semaphore::MAX_PERMITS) available.
    #[track_caller]
    pub fn add_permits(&self, permits: usize) {
        let fits = permits <= Semaphore::MAX_PERMITS - self.available().min(Semaphore::MAX_PERMITS);
        assert!(fits, "a semaphore cannot have so many permits");
        self.hand_out(permits);
    }

    /// Takes up to so many available permits away for ever, past those who wait; returns how many there were to take.
    pub fn forget_permits(&self, permits: usize) -> usize {
        let mut state = self.0.lock();
        let taken = permits.min(state.available);
        state.available -= taken;
        taken
    }

    /// Closes it: those who wait and those who come later get an error. Permits that are held stay valid.
    pub fn close(&self) {
        let mut batch = Batch::new();
        loop {
            let mut state = self.0.lock();
            state.closed = true;
            let more = state.waiters.drain(&mut batch, |_| ());
            drop(state);
            batch.wake(sched::here());
            if !more {
                return;
            }
        }
    }

    /// Whether it is closed.
    pub fn is_closed(&self) -> bool {
        self.0.lock().closed
    }

    fn give_back(&self, permits: usize) {
        if permits > 0 {
            self.hand_out(permits);
        }
    }

    /// Adds permits and serves those who wait.
    fn hand_out(&self, permits: usize) {
        let mut batch = Batch::new();
        let mut state = self.0.lock();
        // No sum of permits that exist comes near to that, unless somebody adds and hides them on purpose.
        state.available = state.available.saturating_add(permits);
        while state.grant(&mut batch) {
            drop(state);
            batch.wake(sched::here());
            state = self.0.lock();
        }
        drop(state);
        batch.wake(sched::here());
    }
}

/// Nothing of it is left half done by a panic.
impl RefUnwindSafe for Semaphore {}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.lock();
        let (available, closed, waiting) = (state.available, state.closed, state.waiters.len());
        drop(state);
        f.debug_struct("Semaphore")
            .field("available", &available)
            .field("closed", &closed)
            .field("waiting", &waiting)
            .finish()
    }
}
