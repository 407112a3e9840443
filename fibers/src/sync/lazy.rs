//! A value that is made when it is first needed.

use super::once_cell::{OnceCell, debug_value};
use crate::op::Op;
use crate::prim::const_fn;
use std::fmt;
use std::ops::Deref;

/// A value that its initialiser makes on the first access, by whoever comes first; all others wait meanwhile.
///
/// Called as in the crate `once_cell`, not `LazyLock` as in `std`: nothing is locked while the initialiser runs (it may suspend),
/// and nothing is poisoned if it panics. That is why it has to be an `Fn`: it may have to be run again.
///
/// ```
/// use fibers::sync::Lazy;
/// static PRIMES: Lazy<Vec<u32>> = Lazy::new(|| (2..50).filter(|n| (2..*n).all(|d| n % d > 0)).collect());
/// assert_eq!(PRIMES.len(), 15);
/// ```
///
/// # Panics and unwinding
/// If the initialiser panics, or is unwound because its runtime ends, the next access runs it again. (`std` poisons.) An access
/// from inside of the initialiser, by the same fiber or thread, panics.
///
/// # Blocking
/// An access suspends the fiber, or blocks the thread, while another one runs the initialiser.
pub struct Lazy<T, F = fn() -> T> {
    cell: OnceCell<T>,
    init: F,
}

impl<T, F: Fn() -> T> Lazy<T, F> {
    const_fn! {
        /// A value that `init` makes when it is needed.
        pub const fn new(init: F) -> Self {
            Lazy { cell: OnceCell::new(), init }
        }
    }

    /// The value, made now if it has not been; what dereferencing does.
    ///
    /// # Panics
    /// As the initialiser does, and if it is called from inside of it.
    ///
    /// # Blocking
    /// Suspends the fiber, or blocks the thread, while another access runs the initialiser.
    pub fn force(this: &Self) -> &T {
        this.cell.get_or_init(&this.init)
    }

    /// The operation that yields the value, made if it has not been. It is ready when the initialiser is not running; the latter
    /// runs after the commit, so a timeout ends the wait for another access, but not an own run.
    pub fn force_op(this: &Self) -> impl Op<Output = &T> + use<'_, T, F> {
        this.cell.get_or_init_op(&this.init)
    }
}

impl<T, F> Lazy<T, F> {
    /// The value, if it has been made.
    pub fn get(this: &Self) -> Option<&T> {
        this.cell.get()
    }

    /// The value, if it has been made.
    pub fn get_mut(this: &mut Self) -> Option<&mut T> {
        this.cell.get_mut()
    }

    /// The value if it has been made, or else the initialiser.
    ///
    /// # Errors
    /// Gives the initialiser back if there is no value.
    pub fn into_inner(this: Self) -> Result<T, F> {
        this.cell.into_inner().ok_or(this.init)
    }
}

impl<T, F: Fn() -> T> Deref for Lazy<T, F> {
    type Target = T;

    fn deref(&self) -> &T {
        Lazy::force(self)
    }
}

impl<T: Default> Default for Lazy<T> {
    fn default() -> Self {
        Lazy::new(T::default)
    }
}

/// Does not make the value.
impl<T: fmt::Debug, F> fmt::Debug for Lazy<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug_value(f, "Lazy", self.cell.get())
    }
}
