//! Error groups: a scope whose children may fail, and whose first error ends the rest.

use super::{CancelledOp, Scope, ScopedJoinHandle};
use crate::op::{Op, Receive, always, choice};
use crate::sync::{Permit, Semaphore};
use std::fmt;
use std::sync::{Mutex, OnceLock, PoisonError};

/// Runs `f` in a scope whose children return results. The first error, of a child or of `f` itself, cancels the scope and is
/// returned after all children have ended. As Go's `errgroup.WithContext`.
///
/// A child sees the cancellation if it looks for it ([`TryScope::cancelled_op`]). What follows from it, further errors, is dropped:
/// the first error in time is the one to report. If there is none, the value is that of `f`.
///
/// ```
/// use fibers::scope::try_scope;
/// fibers::run(|| {
///     let inputs = ["1", "2", "x", "4"];
///     let result: Result<(), std::num::ParseIntError> = try_scope(|s| {
///         for input in inputs {
///             s.spawn(move || input.parse::<u32>().map(|_| ()));
///         }
///         Ok(())
///     });
///     assert_eq!(result.unwrap_err().to_string(), "invalid digit found in string");
///
///     let sum: Result<u32, std::num::ParseIntError> = try_scope(|s| {
///         let (one, two) = (s.spawn(|| "1".parse::<u32>()), s.spawn(|| "2".parse::<u32>()));
///         Ok(one.join().unwrap().unwrap_or(0) + two.join().unwrap().unwrap_or(0))
///     });
///     assert_eq!(sum, Ok(3));
/// });
/// ```
///
/// # Errors
/// With the first error.
///
/// # Panics
/// As [`scope()`](super::scope()): panics are no errors. A child that panics is raised again at the end, whatever errors there are.
///
/// # Blocking
/// Suspends the fiber until all children have ended.
#[track_caller]
pub fn try_scope<'env, F, T, E>(f: F) -> Result<T, E>
where
    F: for<'scope> FnOnce(&'scope TryScope<'scope, 'env, E>) -> Result<T, E>,
    E: Send,
{
    let group = TryScope {
        scope: Scope::open(),
        first: Mutex::new(None),
        limit: OnceLock::new(),
    };
    let value = group.scope.data.around(|| f(&group).map_err(|error| group.fail(error)));
    match (group.take_error(), value) {
        (None, Ok(value)) => Ok(value),
        (Some(error), _) => Err(error),
        (None, Err(())) => unreachable!("an error of the closure is kept"),
    }
}

/// The scope of [`try_scope`]: a [`Scope`] for children that return results.
///
/// A receive, `<-s`, waits until the scope is cancelled.
pub struct TryScope<'scope, 'env: 'scope, E> {
    scope: Scope<'scope, 'env>,
    /// The first error. No code of users runs under the lock.
    first: Mutex<Option<E>>,
    /// Places for children, if there is a limit.
    limit: OnceLock<Semaphore>,
}

impl<'scope, 'env, E: Send> TryScope<'scope, 'env, E> {
    /// Starts a child, as [`Scope::spawn`]. If it returns an error, that is the scope's: its join yields `None` then.
    ///
    /// # Panics
    /// As [`Scope::spawn`].
    ///
    /// # Blocking
    /// With a [`limit`](TryScope::limit), suspends the fiber until one of the running children has ended. A child that spawns
    /// another one does not end meanwhile: with all places taken by such children, they wait for ever.
    #[track_caller]
    pub fn spawn<F, T>(&'scope self, f: F) -> ScopedJoinHandle<'scope, Option<T>>
    where
        F: FnOnce() -> Result<T, E> + Send + 'scope,
        T: Send + 'scope,
    {
        let place = self.place_op().perform();
        self.spawn_at(place, f)
    }

    /// The operation that starts a child once there is a place for it; see [`TryScope::spawn`]. If it is not chosen, `f` is
    /// dropped.
    #[track_caller]
    pub fn spawn_op<F, T>(
        &'scope self,
        f: F,
    ) -> impl Op<Output = ScopedJoinHandle<'scope, Option<T>>> + use<'scope, 'env, E, F, T>
    where
        F: FnOnce() -> Result<T, E> + Send + 'scope,
        T: Send + 'scope,
    {
        self.place_op().wrap(|place| self.spawn_at(place, f))
    }

    /// Starts a child if the limit allows it now.
    ///
    /// # Errors
    /// Gives the closure back if as many children run as may.
    ///
    /// # Panics
    /// As [`Scope::spawn`].
    #[track_caller]
    pub fn try_spawn<F, T>(&'scope self, f: F) -> Result<ScopedJoinHandle<'scope, Option<T>>, F>
    where
        F: FnOnce() -> Result<T, E> + Send + 'scope,
        T: Send + 'scope,
    {
        match self.place_op().try_perform() {
            Some(place) => Ok(self.spawn_at(place, f)),
            None => Err(f),
        }
    }

    /// From now on at most `n` children run at once; those that were spawned before do not count.
    ///
    /// ```
    /// use fibers::scope::try_scope;
    /// use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    /// fibers::run(|| {
    ///     let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    ///     let result: Result<(), ()> = try_scope(|s| {
    ///         s.limit(3);
    ///         for _ in 0..20 {
    ///             s.spawn(|| {
    ///                 most.fetch_max(running.fetch_add(1, SeqCst) + 1, SeqCst);
    ///                 fibers::yield_now();
    ///                 running.fetch_sub(1, SeqCst);
    ///                 Ok(())
    ///             });
    ///         }
    ///         Ok(())
    ///     });
    ///     assert!(result.is_ok() && most.into_inner() <= 3);
    /// });
    /// ```
    ///
    /// # Panics
    /// If there is a limit already.
    #[track_caller]
    pub fn limit(&self, n: usize) {
        assert!(
            self.limit.set(Semaphore::new(n.min(Semaphore::MAX_PERMITS))).is_ok(),
            "the limit of this scope has been set before"
        );
    }

    /// Cancels the scope, without an error. See [`Scope::cancel`].
    pub fn cancel(&self) {
        self.scope.cancel();
    }

    /// Whether the scope has been cancelled, by an error or otherwise.
    pub fn is_cancelled(&self) -> bool {
        self.scope.is_cancelled()
    }

    /// The operation that is ready once the scope is cancelled, by an error or otherwise.
    pub fn cancelled_op(&self) -> CancelledOp<'_> {
        self.scope.cancelled_op()
    }

    /// How many children have not ended.
    pub fn running(&self) -> usize {
        self.scope.running()
    }

    pub(super) fn place_op(&'scope self) -> impl Op<Output = Option<Permit<'scope>>> + use<'scope, 'env, E> {
        let taken = |place: Result<_, _>| Some(place.expect("nobody closes it"));
        let limited = self.limit.get().map(|places| places.acquire_op().wrap(taken));
        choice((limited.is_none().then(|| always(None)), limited))
    }

    #[track_caller]
    pub(super) fn spawn_at<F, T>(&'scope self, place: Option<Permit<'scope>>, f: F) -> ScopedJoinHandle<'scope, Option<T>>
    where
        F: FnOnce() -> Result<T, E> + Send + 'scope,
        T: Send + 'scope,
    {
        self.scope.spawn(move || {
            let _place = place;
            f().map_err(|error| self.fail(error)).ok()
        })
    }

    /// Keeps the first error, and cancels the scope.
    fn fail(&self, error: E) {
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        let late = match &*first {
            None => {
                *first = Some(error);
                None
            }
            Some(_) => Some(error),
        };
        drop(first);
        self.scope.cancel();
        drop(late);
    }

    fn take_error(&self) -> Option<E> {
        self.first.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl<E> fmt::Debug for TryScope<'_, '_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TryScope")
            .field("running", &self.scope.running())
            .field("cancelled", &self.scope.is_cancelled())
            .finish()
    }
}

impl<E> Receive for TryScope<'_, '_, E> {
    type Output = ();
    type Op<'a>
        = CancelledOp<'a>
    where
        Self: 'a;

    fn receive_op(&self) -> CancelledOp<'_> {
        self.scope.cancelled_op()
    }
}
