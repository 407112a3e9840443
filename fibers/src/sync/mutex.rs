//! A lock for one at a time, whose locking is an operation.
#![expect(unsafe_code, reason = "guards lead to the value that the lock protects")]

use super::barging::{MutexAccess, MutexBranches, RawMutex};
use super::guards::{Sent, guard};
use crate::op::{Elapsed, Graph, Op};
use crate::prim::const_fn;
use std::cell::UnsafeCell;
use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

/// A value that one fiber or thread reaches at a time: whoever holds the [guard](MutexGuard) of its lock.
///
/// A fiber that waits for the lock costs its worker nothing, and one that holds it may suspend: other fibers run meanwhile, and
/// those that want the lock wait. Fibers of all runtimes and plain threads can share a mutex. Locking one that is free is one
/// atomic instruction, and so is unlocking it; nothing is ever allocated.
///
/// # Who is next
/// A lock that becomes free goes to whoever comes first, which need not be the one that has waited longest, but nobody waits for
/// ever: those who wait are told in the order in which they came, and who was told in vain four times is given the lock at the next
/// unlock. That counts for one wait: who gives up and comes again begins anew. (So a loop that takes a lock, gives it back because it
/// could not get another one, and tries again at once may keep its neighbours from it; let others run in between.)
///
/// # When the holder panics
/// The guard is dropped while the panic unwinds, and the lock is free again. Nothing is poisoned: the next one finds the value as it
/// was left, half a change perhaps. So it is when a runtime ends and unwinds a fiber that holds the lock. A fiber that is leaked
/// instead (`Shutdown::Leak`) keeps what it holds for ever.
///
/// ```
/// use fibers::{WaitGroup, sync::Mutex};
/// use std::sync::Arc;
/// fibers::run(|| {
///     let (total, wg) = (Arc::new(Mutex::new(0)), WaitGroup::new());
///     for i in 1..=10 {
///         let total = total.clone();
///         wg.go(move || *total.lock() += i);
///     }
///     wg.wait();
///     assert_eq!(*total.lock(), 55);
/// });
/// ```
pub struct Mutex<T: ?Sized> {
    raw: RawMutex,
    value: UnsafeCell<T>,
}

// SAFETY: the lock lets one party reach the value at a time, from any thread, hence `T: Send`; no two see it at once, so it need not
// be `Sync`.
unsafe impl<T: ?Sized + Send> Sync for Mutex<T> {}

impl<T> Mutex<T> {
    const_fn! {
        /// A free mutex. Can be a static.
        ///
        /// ```
        /// use fibers::sync::Mutex;
        /// static NAMES: Mutex<Vec<String>> = Mutex::new(Vec::new());
        /// NAMES.lock().push("Ada".into());
        /// assert_eq!(NAMES.lock().len(), 1);
        /// ```
        pub const fn new(value: T) -> Self {
            Mutex {
                raw: RawMutex::new(),
                value: UnsafeCell::new(value),
            }
        }
    }

    /// The value, once nobody needs the lock any more.
    ///
    /// ```
    /// assert_eq!(fibers::sync::Mutex::new(7).into_inner(), 7);
    /// ```
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Locks, and unlocks when the guard is dropped.
    ///
    /// # Blocking
    /// Suspends the fiber, or blocks the thread, while somebody else holds the lock; after a short spin, if the holder may run on
    /// another processor. For ever, if the caller itself holds it.
    #[inline]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        match self.raw.try_lock_fast() {
            true => MutexGuard::new(self),
            false => self.lock_slow(),
        }
    }

    #[cold]
    #[inline(never)]
    fn lock_slow(&self) -> MutexGuard<'_, T> {
        self.lock_op().perform()
    }

    /// The operation that locks.
    ///
    /// ```
    /// use fibers::{Op, channel, op, sync::Mutex};
    /// let (mutex, (_tx, stop)) = (Mutex::new(1), channel::<()>(0));
    /// let held = mutex.lock();
    /// let locked = mutex.lock_op().wrap(|mut guard| *guard += 1).wrap(|()| true);
    /// assert!(!op::biased((locked, stop.recv_op().wrap(|_| false), op::always(false))).perform());
    /// assert_eq!(*held, 1);
    /// ```
    pub fn lock_op(&self) -> LockOp<&Self> {
        LockOp(self)
    }

    /// Locks if nobody holds the lock; `None` if somebody does. Never suspends.
    ///
    /// ```
    /// let mutex = fibers::sync::Mutex::new(1);
    /// let held = mutex.try_lock().unwrap();
    /// assert!(mutex.try_lock().is_none());
    /// # drop(held);
    /// ```
    #[inline]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.raw.try_lock().then(|| MutexGuard::new(self))
    }

    /// Locks, unless that takes longer than `timeout`.
    ///
    /// # Errors
    /// [`Elapsed`] if somebody else has held the lock for so long.
    ///
    /// # Blocking
    /// As [`lock`](Self::lock), for `timeout` at most.
    pub fn lock_timeout(&self, timeout: Duration) -> Result<MutexGuard<'_, T>, Elapsed> {
        match self.try_lock() {
            Some(guard) => Ok(guard),
            None => self.lock_op().timeout(timeout).perform(),
        }
    }

    /// As [`lock`](Self::lock), with a guard that borrows nothing and may go to another fiber.
    ///
    /// ```
    /// use fibers::{spawn, sync::Mutex};
    /// use std::sync::Arc;
    /// fibers::run(|| {
    ///     let mutex = Arc::new(Mutex::new(1));
    ///     let guard = mutex.lock_owned();
    ///     spawn(move || { let mut guard = guard; *guard += 1 }); // unlocked over there
    ///     assert_eq!(*mutex.lock(), 2);
    /// });
    /// ```
    pub fn lock_owned(self: &Arc<Self>) -> OwnedMutexGuard<T> {
        match self.try_lock_owned() {
            Some(guard) => guard,
            None => self.lock_owned_op().perform(),
        }
    }

    /// The operation that locks, with a guard that borrows nothing.
    pub fn lock_owned_op(self: &Arc<Self>) -> LockOp<Arc<Self>> {
        LockOp(self.clone())
    }

    /// As [`try_lock`](Self::try_lock), with a guard that borrows nothing.
    pub fn try_lock_owned(self: &Arc<Self>) -> Option<OwnedMutexGuard<T>> {
        self.raw.try_lock().then(|| OwnedMutexGuard::new(self.clone()))
    }

    /// The value, which nobody else can reach now. Locks nothing.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Mutex::new(T::default())
    }
}

impl<T> From<T> for Mutex<T> {
    fn from(value: T) -> Self {
        Mutex::new(value)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Mutex<T> {
    /// Shows the value, or that somebody holds the lock. Does not wait.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("Mutex");
        match self.try_lock() {
            Some(guard) => f.field("value", &&*guard),
            None => f.field("value", &format_args!("<locked>")),
        };
        f.finish()
    }
}

/// See [`Mutex::lock_op`] and [`Mutex::lock_owned_op`].
#[derive(Clone, Copy)]
#[must_use = "an operation does nothing until it is performed"]
pub struct LockOp<A>(A);

impl<A: MutexAccess> Op for LockOp<A> {
    type Output = A::Guard;
    type Branches = MutexBranches<A>;
    const IMMEDIATE: bool = true;

    #[inline]
    fn force(self) -> Self::Branches {
        MutexBranches::new(self.0)
    }

    fn graph(&self) -> Graph {
        Graph::leaf("lock a mutex")
    }
}

impl<A> fmt::Debug for LockOp<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LockOp")
    }
}

impl<'a, T: ?Sized> MutexAccess for &'a Mutex<T> {
    type Guard = MutexGuard<'a, T>;

    fn raw(&self) -> &RawMutex {
        &self.raw
    }

    fn into_guard(self) -> MutexGuard<'a, T> {
        MutexGuard::new(self)
    }
}

impl<T: ?Sized> MutexAccess for Arc<Mutex<T>> {
    type Guard = OwnedMutexGuard<T>;

    fn raw(&self) -> &RawMutex {
        &self.raw
    }

    fn into_guard(self) -> OwnedMutexGuard<T> {
        OwnedMutexGuard::new(self)
    }
}

/// The lock of a [`Mutex`]; leads to the value, and unlocks when it is dropped.
///
/// Stays on the thread on which it was made, where its fiber stays as well; [`OwnedMutexGuard`] may be sent.
#[must_use = "the mutex is unlocked at once if its guard is not kept"]
pub struct MutexGuard<'a, T: ?Sized> {
    lock: &'a Mutex<T>,
}

impl<'a, T: ?Sized> MutexGuard<'a, T> {
    /// The lock is held for it.
    #[inline(always)]
    fn new(lock: &'a Mutex<T>) -> Self {
        lock.raw.taken();
        MutexGuard { lock }
    }

    #[inline(always)]
    fn value(&self) -> *mut T {
        self.lock.value.get()
    }

    /// The mutex that it has locked.
    pub(super) fn mutex(&self) -> &'a Mutex<T> {
        self.lock
    }

    /// A guard of a part of the value.
    ///
    /// A function, not a method, which would hide those of the value.
    ///
    /// ```
    /// use fibers::sync::{Mutex, MutexGuard};
    /// let mutex = Mutex::new((1, "one"));
    /// *MutexGuard::map(mutex.lock(), |pair| &mut pair.0) = 2;
    /// assert_eq!(mutex.lock().0, 2);
    /// ```
    pub fn map<U: ?Sized>(mut guard: Self, f: impl FnOnce(&mut T) -> &mut U) -> MappedMutexGuard<'a, U> {
        let value = NonNull::from(f(&mut guard));
        MappedMutexGuard {
            raw: &ManuallyDrop::new(guard).lock.raw,
            value,
            part: PhantomData,
        }
    }
}

guard!(exclusive MutexGuard<'a, T>);

// SAFETY: no value is `Sent`. Without this, the guard would be as sendable as the reference to its mutex.
unsafe impl<T: ?Sized + Sent> Send for MutexGuard<'_, T> {}

impl<T: ?Sized> Drop for MutexGuard<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        self.lock.raw.unlock();
    }
}

/// The lock of a [`Mutex`] that is owned through an `Arc`; leads to the value, and unlocks when it is dropped, on whatever thread.
#[must_use = "the mutex is unlocked at once if its guard is not kept"]
pub struct OwnedMutexGuard<T: ?Sized> {
    lock: Arc<Mutex<T>>,
}

// SAFETY: the lock does not care which thread frees it, and whoever has the guard has the value to itself, hence `T: Send`.
unsafe impl<T: ?Sized + Send> Send for OwnedMutexGuard<T> {}

impl<T: ?Sized> OwnedMutexGuard<T> {
    /// The lock is held for it.
    fn new(lock: Arc<Mutex<T>>) -> Self {
        lock.raw.taken();
        OwnedMutexGuard { lock }
    }

    fn value(&self) -> *mut T {
        self.lock.value.get()
    }
}

guard!(exclusive OwnedMutexGuard<T>);

impl<T: ?Sized> Drop for OwnedMutexGuard<T> {
    fn drop(&mut self) {
        self.lock.raw.unlock();
    }
}

/// The lock of a [`Mutex`] that leads to a part of the value; see [`MutexGuard::map`].
#[must_use = "the mutex is unlocked at once if its guard is not kept"]
pub struct MappedMutexGuard<'a, T: ?Sized> {
    raw: &'a RawMutex,
    /// Not a reference: that would have to be good until after the unlock.
    value: NonNull<T>,
    part: PhantomData<&'a mut T>,
}

impl<'a, T: ?Sized> MappedMutexGuard<'a, T> {
    fn value(&self) -> *mut T {
        self.value.as_ptr()
    }

    /// A guard of a part of the part.
    pub fn map<U: ?Sized>(mut guard: Self, f: impl FnOnce(&mut T) -> &mut U) -> MappedMutexGuard<'a, U> {
        let value = NonNull::from(f(&mut guard));
        MappedMutexGuard {
            raw: ManuallyDrop::new(guard).raw,
            value,
            part: PhantomData,
        }
    }
}

guard!(exclusive MappedMutexGuard<'a, T>);

// SAFETY: no value is `Sent`.
unsafe impl<T: ?Sized + Sent> Send for MappedMutexGuard<'_, T> {}

impl<T: ?Sized> Drop for MappedMutexGuard<'_, T> {
    fn drop(&mut self) {
        self.raw.unlock();
    }
}
