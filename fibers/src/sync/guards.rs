//! What the guards of all locks have in common: they lead to the value for as long as they live.
//!
//! A guard by reference stays with the fiber or thread that has locked: it costs nothing, since a fiber never changes threads, and
//! a lock that is freed somewhere else than it was taken is hard to follow. An owned guard may travel, so that a lock can be handed
//! over to whoever ends the work. What is said here about `Send` and `Sync` holds for both: none of them gets it from its fields,
//! as an `Arc` of a lock may be shared where the value may not.

/// What the value of a guard by reference would have to be, if the guard were to be sent. Nothing is.
#[diagnostic::on_unimplemented(
    message = "the guard of a lock stays on its thread; those of `lock_owned`, `read_owned` and `write_owned` may be sent",
    label = "cannot be sent to another thread"
)]
pub trait Sent {}

/// Implements what reading through a guard needs; after `exclusive`, also what writing does.
///
/// The guard has a method `value` that returns a pointer to the value. The lock is held while the guard lives, for reading or for
/// reading and writing, and the pointer is good for that long.
macro_rules! guard {
    (shared $Guard:ident<$($a:lifetime,)? T>) => {
        impl<$($a,)? T: ?Sized> std::ops::Deref for $Guard<$($a,)? T> {
            type Target = T;

            #[inline]
            fn deref(&self) -> &T {
                // SAFETY: the guard holds the lock, so nobody writes but through the guard itself, which is borrowed.
                unsafe { &*self.value() }
            }
        }

        // SAFETY: a shared guard gives out shared references to the value, and nothing else.
        unsafe impl<$($a,)? T: ?Sized + Sync> Sync for $Guard<$($a,)? T> {}

        impl<$($a,)? T: ?Sized + std::fmt::Debug> std::fmt::Debug for $Guard<$($a,)? T> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                (**self).fmt(f)
            }
        }

        impl<$($a,)? T: ?Sized + std::fmt::Display> std::fmt::Display for $Guard<$($a,)? T> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                (**self).fmt(f)
            }
        }
    };
    (exclusive $Guard:ident<$($a:lifetime,)? T>) => {
        guard!(shared $Guard<$($a,)? T>);

        impl<$($a,)? T: ?Sized> std::ops::DerefMut for $Guard<$($a,)? T> {
            #[inline]
            fn deref_mut(&mut self) -> &mut T {
                // SAFETY: the guard holds the lock for writing, so nobody reaches the value but through the guard itself, which is
                // borrowed for that.
                unsafe { &mut *self.value() }
            }
        }
    };
}
pub(super) use guard;
