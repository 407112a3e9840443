//! Permits that were acquired, and give themselves back.

use super::Semaphore;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// How permits reach the semaphore that they belong to.
pub trait Owner: Deref<Target = Semaphore> + Clone {
    type Permit;
    fn permit(self, permits: usize) -> Self::Permit;
}

impl<'a> Owner for &'a Semaphore {
    type Permit = Permit<'a>;

    fn permit(self, permits: usize) -> Permit<'a> {
        Permit {
            semaphore: self,
            permits,
        }
    }
}

impl Owner for Arc<Semaphore> {
    type Permit = OwnedPermit;

    fn permit(self, permits: usize) -> OwnedPermit {
        OwnedPermit {
            semaphore: self,
            permits,
        }
    }
}

/// One or more permits of a [`Semaphore`]. Dropping it gives them back, also while unwinding from a panic.
#[must_use = "permits are given back when this is dropped: bind it to a name"]
pub struct Permit<'a> {
    semaphore: &'a Semaphore,
    permits: usize,
}

/// As [`Permit`], keeping its semaphore alive: for permits that go with a fiber or lie in a structure.
#[must_use = "permits are given back when this is dropped: bind it to a name"]
pub struct OwnedPermit {
    semaphore: Arc<Semaphore>,
    permits: usize,
}

macro_rules! permit {
    ($name:ident $(<$life:lifetime>)?) => {
        impl $(<$life>)? $name $(<$life>)? {
            /// How many permits these are.
            pub fn permits(&self) -> usize {
                self.permits
            }

            /// Does not give the permits back: the semaphore has so many fewer for ever, or until
            /// [`add_permits`](Semaphore::add_permits).
            pub fn forget(mut self) {
                self.permits = 0;
            }

            /// Takes `permits` of these apart from the rest; `None` if there are not so many.
            pub fn split(&mut self, permits: usize) -> Option<Self> {
                self.permits = self.permits.checked_sub(permits)?;
                Some(self.semaphore.clone().permit(permits))
            }

            /// Adds the permits of `other` to these.
            ///
            /// # Panics
            /// If they belong to another semaphore.
            #[track_caller]
            pub fn merge(&mut self, mut other: Self) {
                assert!(
                    std::ptr::eq(&*self.semaphore, &*other.semaphore),
                    "only permits of the same semaphore can be merged"
                );
                self.permits += std::mem::take(&mut other.permits);
            }
        }

        impl $(<$life>)? Drop for $name $(<$life>)? {
            fn drop(&mut self) {
                self.semaphore.give_back(self.permits);
            }
        }

        impl $(<$life>)? fmt::Debug for $name $(<$life>)? {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).field("permits", &self.permits).finish_non_exhaustive()
            }
        }
    };
}

permit!(Permit<'a>);
permit!(OwnedPermit);

impl<'a> Permit<'a> {
    /// The semaphore that they belong to.
    pub fn semaphore(&self) -> &'a Semaphore {
        self.semaphore
    }
}

impl OwnedPermit {
    /// The semaphore that they belong to.
    pub fn semaphore(&self) -> &Arc<Semaphore> {
        &self.semaphore
    }
}
