//! Values that belong to a fiber, as thread-locals belong to a thread.

use crate::sched::{self, Here};
use std::any::Any;
use std::error::Error;
use std::fmt;
use std::ptr;
use std::rc::Rc;

/// Declares statics of which every fiber has its own value, made when the fiber first uses it and dropped at the fiber's end.
///
/// ```
/// use std::cell::Cell;
/// fibers::fiber_local! {
///     /// How often this fiber has been asked.
///     static ASKED: Cell<u32> = Cell::new(0);
/// }
/// fibers::run(|| {
///     ASKED.with(|asked| asked.set(5));
///     let other = fibers::spawn(|| ASKED.with(|asked| asked.get())).join().unwrap();
///     assert_eq!((ASKED.with(|asked| asked.get()), other), (5, 0));
/// });
/// ```
#[macro_export]
macro_rules! fiber_local {
    ($($(#[$attribute:meta])* $vis:vis static $NAME:ident: $T:ty = $init:expr);* $(;)?) => {$(
        $(#[$attribute])*
        $vis static $NAME: $crate::fiber::LocalKey<$T> = $crate::fiber::LocalKey::new(|| $init);
    )*};
}

/// A static of which every fiber has its own value; declared with [`fiber_local!`](crate::fiber_local).
///
/// The value may hold anything, also what is not `Send`: a fiber never changes threads.
pub struct LocalKey<T: 'static> {
    init: fn() -> T,
}

impl<T: 'static> LocalKey<T> {
    /// For [`fiber_local!`](crate::fiber_local).
    #[doc(hidden)]
    pub const fn new(init: fn() -> T) -> Self {
        LocalKey { init }
    }

    /// Shows `f` the fiber's value, making it first if this is the first use.
    ///
    /// # Panics
    /// Outside of a fiber.
    #[track_caller]
    pub fn with<R>(&'static self, f: impl FnOnce(&T) -> R) -> R {
        self.try_with(f).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Shows `f` the fiber's value, making it first if this is the first use.
    ///
    /// # Errors
    /// Outside of a fiber.
    pub fn try_with<R>(&'static self, f: impl FnOnce(&T) -> R) -> Result<R, AccessError> {
        sched::here().map(|here| f(&self.value(here))).ok_or(AccessError)
    }

    fn value(&'static self, here: Here) -> Rc<T> {
        let key = ptr::from_ref(self).addr();
        let value = here.local(key).unwrap_or_else(|| {
            let made: Rc<dyn Any> = Rc::new((self.init)());
            here.set_local(key, made.clone());
            made
        });
        value.downcast().expect("the address of a static belongs to one type")
    }
}

impl<T: 'static> fmt::Debug for LocalKey<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LocalKey")
    }
}

/// There is no fiber whose value could be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessError;

impl fmt::Display for AccessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a fiber-local was used outside of a fiber; use it inside `fibers::run`, or use `thread_local!`")
    }
}

impl Error for AccessError {}
