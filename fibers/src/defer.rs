//! Running something at the end of a block, whichever way the block ends.

use std::fmt;

/// Runs `f` when the returned value is dropped: at the end of the enclosing block, on `?`, `return`, `break`, panic, and when the
/// runtime shuts down. Several run in reverse order. The macro `defer!` keeps the value for you.
///
/// ```
/// let mut log = vec![];
/// {
///     let _last = fibers::defer(|| log.push("deferred"));
/// }
/// assert_eq!(log, ["deferred"]);
/// ```
#[must_use = "it runs at the end of the statement unless it is bound to a variable such as `_deferred`"]
pub fn defer<F: FnOnce()>(f: F) -> Deferred<F> {
    Deferred(Some(f))
}

/// See [`defer`].
#[must_use = "it runs at the end of the statement unless it is bound to a variable such as `_deferred`"]
pub struct Deferred<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> Deferred<F> {
    /// Forgets about it: `f` will not run.
    pub fn cancel(mut self) {
        self.0 = None;
    }

    /// Runs it now instead of later.
    pub fn run(self) {
        drop(self);
    }
}

impl<F: FnOnce()> Drop for Deferred<F> {
    fn drop(&mut self) {
        if let Some(f) = self.0.take() {
            f();
        }
    }
}

impl<F: FnOnce()> fmt::Debug for Deferred<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Deferred")
    }
}
