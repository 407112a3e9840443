//! A value that is set once.

use super::once::{Completion, Once, Running};
use crate::op::leaf::Leaf;
use crate::op::{Branches, Graph, Op};
use crate::prim::const_fn;
use std::convert::Infallible;
use std::fmt;
use std::mem;
use std::sync::OnceLock;

/// A cell that is set once, at the latest by whoever needs its value first. All others wait meanwhile, and share the value.
///
/// The initialiser may suspend: others wait as for any operation, and block no worker. Works between fibers of any runtime and
/// plain threads, also as a `static`.
///
/// ```
/// use fibers::sync::OnceCell;
/// static CONFIG: OnceCell<String> = OnceCell::new();
/// assert_eq!(CONFIG.get(), None);
/// assert_eq!(CONFIG.get_or_init(|| "first".into()), "first");
/// assert_eq!(CONFIG.get_or_init(|| "second".into()), "first");
/// ```
///
/// # Panics and unwinding
/// If an initialiser panics, fails, or is unwound because its runtime ends, the cell stays empty, nothing is poisoned, and the
/// next caller who waits runs its own.
pub struct OnceCell<T> {
    once: Once,
    /// Filled by whoever has the turn of `once`, before it is completed.
    value: OnceLock<T>,
}

impl<T> OnceCell<T> {
    const_fn! {
        /// An empty cell.
        pub const fn new() -> Self {
            OnceCell { once: Once::new(), value: OnceLock::new() }
        }
    }

    /// The value, if it has been set.
    pub fn get(&self) -> Option<&T> {
        self.value.get()
    }

    /// The value, if it has been set.
    pub fn get_mut(&mut self) -> Option<&mut T> {
        self.value.get_mut()
    }

    /// The value, if it has been set.
    pub fn into_inner(self) -> Option<T> {
        self.value.into_inner()
    }

    /// Takes the value out; the cell is empty then, and can be set again.
    pub fn take(&mut self) -> Option<T> {
        mem::take(self).into_inner()
    }

    /// Whether the value has been set.
    pub fn is_initialized(&self) -> bool {
        self.get().is_some()
    }

    /// The value, made by `f` if there is none. If an initialiser is running, waits for its end.
    ///
    /// # Panics
    /// As `f` does; then the next caller runs its own. If it is called from inside its own initialiser, by the same fiber or
    /// thread.
    ///
    /// # Blocking
    /// Suspends the fiber, or blocks the thread, while another initialiser runs. Does nothing of the kind once there is a value.
    pub fn get_or_init(&self, f: impl FnOnce() -> T) -> &T {
        match self.get() {
            Some(value) => value,
            None => self.get_or_init_op(f).perform(),
        }
    }

    /// The operation that yields the value, made by `f` if there is none. It is ready when no initialiser is running; `f` itself
    /// runs after the commit, so a timeout ends the wait for others, but not `f`.
    ///
    /// ```
    /// use fibers::{Op, sync::OnceCell};
    /// use std::time::Duration;
    /// let cell = OnceCell::new();
    /// let value = cell.get_or_init_op(|| 2).timeout(Duration::from_millis(1)).perform();
    /// assert_eq!(value, Ok(&2)); // nobody else was at it
    /// ```
    pub fn get_or_init_op<F: FnOnce() -> T>(&self, f: F) -> impl Op<Output = &T> + use<'_, T, F> {
        self.once
            .turn_op()
            .wrap(move |turn| match self.fill(turn, || Ok::<T, Infallible>(f())) {
                Ok(value) => value,
                Err(never) => match never {},
            })
    }

    /// The value, made by `f` if there is none, and if `f` succeeds. If an initialiser is running, waits for its end.
    ///
    /// # Errors
    /// With the error of `f`; then the next caller runs its own.
    ///
    /// # Panics
    /// As [`get_or_init`](OnceCell::get_or_init).
    ///
    /// # Blocking
    /// Suspends the fiber, or blocks the thread, while another initialiser runs. Does nothing of the kind once there is a value.
    pub fn get_or_try_init<E>(&self, f: impl FnOnce() -> Result<T, E>) -> Result<&T, E> {
        match self.get() {
            Some(value) => Ok(value),
            None => self.get_or_try_init_op(f).perform(),
        }
    }

    /// As [`get_or_init_op`](OnceCell::get_or_init_op), for an initialiser that may fail.
    pub fn get_or_try_init_op<E, F: FnOnce() -> Result<T, E>>(&self, f: F) -> impl Op<Output = Result<&T, E>> + use<'_, T, E, F> {
        self.once.turn_op().wrap(move |turn| self.fill(turn, f))
    }

    /// Sets the value. If an initialiser is running, waits for its end.
    ///
    /// # Errors
    /// Gives the value back if there is one already.
    ///
    /// # Panics
    /// If it is called from inside the cell's own initialiser, by the same fiber or thread.
    ///
    /// # Blocking
    /// Suspends the fiber, or blocks the thread, while an initialiser runs.
    pub fn set(&self, value: T) -> Result<(), T> {
        let mut value = Some(value);
        self.get_or_init(|| value.take().expect("nobody else takes it"));
        value.map_or(Ok(()), Err)
    }

    /// Waits until there is a value, without making one.
    ///
    /// # Blocking
    /// Suspends the fiber, or blocks the thread. Inside of the initialiser it waits for ever.
    pub fn wait(&self) -> &T {
        match self.get() {
            Some(value) => value,
            None => self.wait_op().perform(),
        }
    }

    /// The operation that is ready once there is a value.
    pub fn wait_op(&self) -> OnceCellOp<'_, T> {
        OnceCellOp(self)
    }

    /// What the caller does that was admitted: with the turn it fills the cell, without it finds the cell filled.
    fn fill<E>(&self, turn: Option<Running<'_>>, f: impl FnOnce() -> Result<T, E>) -> Result<&T, E> {
        if let Some(running) = turn {
            let value = f()?;
            let set = self.value.set(value);
            debug_assert!(set.is_ok(), "only who has the turn fills the cell");
            running.complete();
        }
        Ok(self.filled())
    }

    fn filled(&self) -> &T {
        self.get().expect("the cell is filled before it is completed")
    }
}

impl<T> Default for OnceCell<T> {
    fn default() -> Self {
        OnceCell::new()
    }
}

impl<T> From<T> for OnceCell<T> {
    fn from(value: T) -> Self {
        OnceCell {
            once: Once::completed(),
            value: OnceLock::from(value),
        }
    }
}

impl<T: Clone> Clone for OnceCell<T> {
    fn clone(&self) -> Self {
        self.get().map_or_else(OnceCell::new, |value| OnceCell::from(value.clone()))
    }
}

impl<T: PartialEq> PartialEq for OnceCell<T> {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl<T: Eq> Eq for OnceCell<T> {}

impl<T: fmt::Debug> fmt::Debug for OnceCell<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug_value(f, "OnceCell", self.get())
    }
}

/// As the standard library shows its cells.
pub(super) fn debug_value(f: &mut fmt::Formatter<'_>, name: &str, value: Option<&impl fmt::Debug>) -> fmt::Result {
    match value {
        Some(value) => f.debug_tuple(name).field(value).finish(),
        None => f.debug_tuple(name).field(&format_args!("<uninit>")).finish(),
    }
}

/// See [`OnceCell::wait_op`].
#[must_use = "an operation does nothing until it is performed"]
pub struct OnceCellOp<'a, T>(&'a OnceCell<T>);

impl<T> Clone for OnceCellOp<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for OnceCellOp<'_, T> {}

impl<T> fmt::Debug for OnceCellOp<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnceCellOp").field("once", &self.0.once).finish()
    }
}

impl<'a, T> Op for OnceCellOp<'a, T> {
    type Output = &'a T;
    type Branches = ValueBranches<'a, T>;
    const IMMEDIATE: bool = true;

    fn force(self) -> Self::Branches {
        ValueBranches {
            cell: self.0,
            leaf: self.0.once.completion(),
        }
    }

    fn graph(&self) -> Graph {
        self.0.once.wait_op().graph()
    }
}

/// A forced [`OnceCellOp`].
#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct ValueBranches<'a, T> {
    cell: &'a OnceCell<T>,
    leaf: Leaf<Completion<'a>>,
}

impl<'a, T> Branches for ValueBranches<'a, T> {
    type Output = &'a T;

    crate::op::forward_branches!(leaf);

    fn abandon(&mut self, _: Option<usize>) {}

    fn finish(&mut self, leaf: usize) -> &'a T {
        self.leaf.finish(leaf);
        self.cell.filled()
    }

    fn graph(&self) -> Graph {
        self.leaf.graph()
    }
}
