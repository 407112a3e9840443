//! Parallel maps over iterators: bounded, lazily pulled, in input order.
//!
//! The iterator is pulled by the caller, item by item, whenever one more child may run: so it may borrow, need not be `Send`, and may be
//! endless. Items, results and functions may borrow as well: each map is a [`scope()`], or lives in one.

use super::{Scope, ScopedJoinHandle, TryScope, scope, try_scope};
use crate::op::Op;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::iter::FusedIterator;
use std::sync::Arc;

/// Applies `f` to each item, in up to `limit` fibers at once, and returns the results in the order of the items.
///
/// ```
/// use fibers::scope::par_map;
/// fibers::run(|| {
///     let words = vec![String::from("one"), String::from("three")];
///     assert_eq!(par_map(&words, 8, |word| word.len()), [3, 5]);
/// });
/// ```
///
/// For results one by one, and endless iterators, see [`Scope::par_map`].
///
/// # Panics
/// If `limit` is 0; on a plain thread; with the panic of `f`, of the earliest item of which it has panicked: then no further items
/// are pulled, and the children that run have ended.
///
/// # Blocking
/// Suspends the fiber until all children have ended.
#[track_caller]
pub fn par_map<I, F, R>(items: I, limit: usize, f: F) -> Vec<R>
where
    I: IntoIterator<Item: Send>,
    F: Fn(I::Item) -> R + Send + Sync,
    R: Send,
{
    scope(|s| s.par_map(items, limit, &f).collect())
}

/// Applies `f` to each item, in up to `limit` fibers at once.
///
/// ```
/// use fibers::scope::par_for_each;
/// use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
/// fibers::run(|| {
///     let sum = AtomicU64::new(0);
///     par_for_each(1..=100, 4, |n| drop(sum.fetch_add(n, Relaxed)));
///     assert_eq!(sum.into_inner(), 5050);
/// });
/// ```
///
/// # Panics
/// If `limit` is 0; on a plain thread; with the first panic of `f`: no further items are pulled then.
///
/// # Blocking
/// Suspends the fiber until all children have ended.
#[track_caller]
pub fn par_for_each<I, F>(items: I, limit: usize, f: F)
where
    I: IntoIterator<Item: Send>,
    F: Fn(I::Item) + Send + Sync,
{
    let done: Result<(), Infallible> = try_par_for_each(items, limit, |item| {
        f(item);
        Ok(())
    });
    match done {
        Ok(()) => {}
    }
}

/// As [`par_map`], for functions that may fail: the first error ends the map.
///
/// ```
/// use fibers::scope::try_par_map;
/// fibers::run(|| {
///     assert_eq!(try_par_map(["1", "2"], 2, str::parse::<u32>), Ok(vec![1, 2]));
///     // Endless, were it not for the error.
///     let result = try_par_map(0_u32.., 4, |n| if n < 50 { Ok(n) } else { Err("too large") });
///     assert_eq!(result, Err("too large"));
/// });
/// ```
///
/// # Errors
/// With the first error in time. No further items are pulled then; the children that run have ended.
///
/// # Panics
/// As [`par_map`].
///
/// # Blocking
/// Suspends the fiber until all children have ended.
#[track_caller]
pub fn try_par_map<I, F, R, E>(items: I, limit: usize, f: F) -> Result<Vec<R>, E>
where
    I: IntoIterator<Item: Send>,
    F: Fn(I::Item) -> Result<R, E> + Send + Sync,
    R: Send,
    E: Send,
{
    try_scope(|s| {
        let (mut results, mut running) = (Vec::new(), VecDeque::new());
        // Not joined one by one as they are spawned: then each would wait for the one before it.
        for child in spawn_each(s, items, limit, &f) {
            running.push_back(child);
            while running.front().is_some_and(ScopedJoinHandle::is_finished) {
                results.extend(running.pop_front().and_then(|child| super::value_of(child.join())));
            }
        }
        results.extend(running.into_iter().filter_map(|child| super::value_of(child.join())));
        Ok(results)
    })
}

/// As [`par_for_each`], for functions that may fail: the first error ends the loop.
///
/// ```
/// use fibers::scope::try_par_for_each;
/// fibers::run(|| {
///     let result = try_par_for_each(["1", "x"], 2, |text| text.parse::<u32>().map(drop));
///     assert!(result.is_err());
/// });
/// ```
///
/// # Errors
/// With the first error in time. No further items are pulled then; the children that run have ended.
///
/// # Panics
/// As [`par_for_each`].
///
/// # Blocking
/// Suspends the fiber until all children have ended.
#[track_caller]
pub fn try_par_for_each<I, F, E>(items: I, limit: usize, f: F) -> Result<(), E>
where
    I: IntoIterator<Item: Send>,
    F: Fn(I::Item) -> Result<(), E> + Send + Sync,
    E: Send,
{
    try_scope(|s| {
        spawn_each(s, items, limit, &f).for_each(drop);
        Ok(())
    })
}

/// A child for each item, while nothing has failed.
fn spawn_each<'scope, 'env, I, F, R, E>(
    s: &'scope TryScope<'scope, 'env, E>,
    items: I,
    limit: usize,
    f: &'scope F,
) -> impl Iterator<Item = ScopedJoinHandle<'scope, Option<R>>> + use<'scope, 'env, I, F, R, E>
where
    I: IntoIterator<Item: Send + 'scope>,
    F: Fn(I::Item) -> Result<R, E> + Sync,
    R: Send + 'scope,
    E: Send,
{
    check_limit(limit);
    s.limit(limit);
    let run = move |item| {
        // A panic ends the map as well, also while its handle is kept.
        let panicked = crate::defer(|| s.cancel());
        let result = f(item);
        panicked.cancel();
        result
    };
    let mut items = items.into_iter();
    std::iter::from_fn(move || {
        // Pulling may take long, and so may the wait for a place: what has been cancelled meanwhile goes no further.
        let item = if s.is_cancelled() { None } else { items.next() }?;
        let place = s.place_op().perform();
        (!s.is_cancelled()).then(|| s.spawn_at(place, move || run(item)))
    })
}

fn check_limit(limit: usize) {
    assert!(limit > 0, "with a limit of 0 nothing would ever run");
}

impl<'scope, 'env> Scope<'scope, 'env> {
    /// The results of `f` for each item, in the order of the items, while up to `limit` children of this scope work ahead.
    ///
    /// Nothing happens before the first result is asked for. Then, with each result that is taken, one more item is pulled: never more
    /// than `limit` children run or have results that wait. Dropped early, the iterator pulls nothing more, and what runs is
    /// detached within the scope.
    ///
    /// ```
    /// use fibers::scope;
    /// fibers::run(|| {
    ///     let squares: Vec<u64> = scope(|s| s.par_map(1.., 4, |n: u64| n * n).take(5).collect());
    ///     assert_eq!(squares, [1, 4, 9, 16, 25]);
    /// });
    /// ```
    ///
    /// # Panics
    /// If `limit` is 0. Taking a result panics with the panic of its `f`.
    ///
    /// # Blocking
    /// Taking a result suspends the fiber until it is there.
    #[track_caller]
    pub fn par_map<I, F, R>(&'scope self, items: I, limit: usize, f: F) -> ParMap<'scope, 'env, I::IntoIter, F, R>
    where
        I: IntoIterator<Item: Send + 'scope>,
        F: Fn(I::Item) -> R + Send + Sync + 'scope,
        R: Send + 'scope,
    {
        check_limit(limit);
        ParMap {
            scope: self,
            items: Some(items.into_iter()),
            limit,
            f: Arc::new(f),
            running: VecDeque::new(),
        }
    }
}

/// See [`Scope::par_map`].
#[must_use = "an iterator does nothing until it is asked for items"]
pub struct ParMap<'scope, 'env: 'scope, I, F, R> {
    scope: &'scope Scope<'scope, 'env>,
    /// `None` once it has ended.
    items: Option<I>,
    limit: usize,
    f: Arc<F>,
    /// In the order of their items.
    running: VecDeque<ScopedJoinHandle<'scope, R>>,
}

impl<'scope, I, F, R> ParMap<'scope, '_, I, F, R>
where
    I: Iterator<Item: Send + 'scope>,
    F: Fn(I::Item) -> R + Send + Sync + 'scope,
    R: Send + 'scope,
{
    /// One more child, if there is an item.
    fn work_ahead(&mut self) -> Option<()> {
        let Some(item) = self.items.as_mut()?.next() else {
            self.items = None;
            return None;
        };
        let f = self.f.clone();
        self.running.push_back(self.scope.spawn(move || f(item)));
        Some(())
    }
}

impl<'scope, I, F, R> Iterator for ParMap<'scope, '_, I, F, R>
where
    I: Iterator<Item: Send + 'scope>,
    F: Fn(I::Item) -> R + Send + Sync + 'scope,
    R: Send + 'scope,
{
    type Item = R;

    fn next(&mut self) -> Option<R> {
        while self.running.len() < self.limit && self.work_ahead().is_some() {}
        let result = self.running.pop_front()?.join();
        if result.is_err() {
            self.items = None;
        }
        Some(super::value_of(result))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let (least, most) = self.items.as_ref().map_or((0, Some(0)), Iterator::size_hint);
        let ahead = self.running.len();
        (least.saturating_add(ahead), most.and_then(|most| most.checked_add(ahead)))
    }
}

impl<'scope, I, F, R> FusedIterator for ParMap<'scope, '_, I, F, R>
where
    I: Iterator<Item: Send + 'scope>,
    F: Fn(I::Item) -> R + Send + Sync + 'scope,
    R: Send + 'scope,
{
}

impl<I, F, R> fmt::Debug for ParMap<'_, '_, I, F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParMap")
            .field("limit", &self.limit)
            .field("running", &self.running.len())
            .finish_non_exhaustive()
    }
}
