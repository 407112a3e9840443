//! Races: several ways to one result, of which the first to arrive counts.
//!
//! The names: `race` is that of JavaScript's `Promise.race` and of the literature on structured concurrency (Trio's documentation,
//! Java's `StructuredTaskScope` with "any successful"); `first_ok` is `select_ok` of the Rust futures and `Promise.any`. Whoever
//! loses is cancelled and waited for: nobody runs on when a race is over. To race operations, rather than functions, is what a
//! [`choice`](crate::op::choice) does.

use super::{Scope, scope};
use std::sync::{Arc, Mutex, PoisonError};

/// Runs each of `runners` in a child, and returns the value of the first one to end, after all others have been cancelled and have
/// ended. `None`: there were no runners.
///
/// A runner gets the [`Scope`] of the race, whose [`cancelled_op`](Scope::cancelled_op) tells it that it has lost. The values of
/// losers are dropped.
///
/// ```
/// use fibers::{Op, op, scope, time};
/// use std::time::Duration;
/// fibers::run(|| {
///     let winner = scope::race([3600, 0, 7200].map(|seconds| {
///         move |s: &fibers::Scope<'_, '_>| {
///             let work = time::sleep_op(Duration::from_secs(seconds)).wrap(|_| Some(seconds));
///             op::choice((work, s.cancelled_op().wrap(|()| None))).perform()
///         }
///     }));
///     assert_eq!(winner, Some(Some(0)));
/// });
/// ```
///
/// # Panics
/// As [`scope()`]: if a runner panics, whether it would have won or not, and also if another one has won before.
///
/// # Blocking
/// Suspends the fiber until all runners have ended.
#[track_caller]
pub fn race<'env, I, F, T>(runners: I) -> Option<T>
where
    I: IntoIterator<Item = F>,
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T + Send + 'env,
    T: Send + 'env,
{
    let winner = Arc::new(First::new());
    scope(|s| {
        for runner in runners {
            let winner = winner.clone();
            s.spawn(move || winner.offer(runner(s), s));
        }
    });
    winner.take()
}

/// As [`race`], for runners that may fail: the first value wins, and an error only leaves the race to the others.
///
/// ```
/// use fibers::scope;
/// fibers::run(|| {
///     let parsed = scope::first_ok(["x", "7", "y"].map(|text| move |_: &fibers::Scope<'_, '_>| text.parse::<u32>()));
///     assert_eq!(parsed, Ok(7));
///     let failed = scope::first_ok(["x", ""].map(|text| move |_: &fibers::Scope<'_, '_>| text.parse::<u32>()));
///     assert_eq!(failed.unwrap_err().len(), 2);
/// });
/// ```
///
/// # Errors
/// If all have failed: the errors in the order of the runners. No runners: no errors.
///
/// # Panics
/// As [`race`].
///
/// # Blocking
/// Suspends the fiber until all runners have ended.
#[track_caller]
pub fn first_ok<'env, I, F, T, E>(runners: I) -> Result<T, Vec<E>>
where
    I: IntoIterator<Item = F>,
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> Result<T, E> + Send + 'env,
    T: Send + 'env,
    E: Send + 'env,
{
    let winner = Arc::new(First::new());
    let errors = scope(|s| {
        let run = |runner: F| {
            let winner = winner.clone();
            s.spawn(move || runner(s).map(|value| winner.offer(value, s)).err())
        };
        let runners: Vec<_> = runners.into_iter().map(run).collect();
        let errors = runners.into_iter().map(|runner| super::value_of(runner.join()));
        errors.collect::<Vec<_>>()
    });
    winner.take().ok_or_else(|| errors.into_iter().flatten().collect())
}

/// The first value that is offered. Counted, not borrowed: what a runner may borrow lives longer than this.
struct First<T>(Mutex<Option<T>>);

impl<T> First<T> {
    fn new() -> Self {
        First(Mutex::new(None))
    }

    /// Ends the race, if the value is the first one.
    fn offer(&self, value: T, scope: &Scope<'_, '_>) {
        let mut first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let late = match &*first {
            None => {
                *first = Some(value);
                None
            }
            Some(_) => Some(value),
        };
        drop(first);
        scope.cancel();
        drop(late);
    }

    fn take(&self) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
