//! A lock for many who read or one who writes, whose locking is an operation.
#![expect(unsafe_code, reason = "guards lead to the value that the lock protects")]

use super::guards::{Sent, guard};
use super::queued::{Exclusive, Mode, RawRwLock, RwAccess, RwBranches, Shared};
use crate::op::{Elapsed, Graph, Op};
use crate::prim::const_fn;
use std::cell::UnsafeCell;
use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::time::Duration;

/// A value that many fibers and threads read at a time, or one of them writes.
///
/// Fibers of all runtimes and plain threads can share it; one that waits costs its worker nothing, and one that holds the lock may
/// suspend. Nothing is ever allocated. Where reading is as short as a few instructions, a [`Mutex`](super::Mutex) is faster: it is
/// one atomic instruction to lock, and this is two.
///
/// # Who is next
/// Those who have to wait get the lock in the order in which they came, and a reader that comes while a writer waits, waits as well:
/// neither readers nor writers starve. It follows that who reads must not lock again to read: if a writer has come in between, it
/// waits for the first read lock to be given back, and the second one waits for the writer.
///
/// A write lock can become a read lock ([`RwLockWriteGuard::downgrade`]). The other way is not offered: two readers who want to
/// become the writer would wait for each other for ever. Give the read lock back, take the write lock, and look at the value anew.
///
/// # When the holder panics
/// The guard is dropped while the panic unwinds, and the lock is given back. Nothing is poisoned: if a writer panics, the next one
/// finds the value as it was left, half a change perhaps. So it is when a runtime ends and unwinds a fiber that holds the lock. A
/// fiber that is leaked instead (`Shutdown::Leak`) keeps what it holds for ever.
///
/// ```
/// use fibers::sync::RwLock;
/// let lock = RwLock::new(5);
/// {
///     let (one, other) = (lock.read(), lock.read());
///     assert_eq!(*one + *other, 10);
///     assert!(lock.try_write().is_none());
/// }
/// *lock.write() += 1;
/// assert_eq!(*lock.read(), 6);
/// ```
pub struct RwLock<T: ?Sized> {
    raw: RawRwLock,
    value: UnsafeCell<T>,
}

// SAFETY: the lock lets one party change the value, from any thread, hence `T: Send`; or several see it at once, hence `T: Sync`.
unsafe impl<T: ?Sized + Send + Sync> Sync for RwLock<T> {}

impl<T> RwLock<T> {
    const_fn! {
        /// A free lock. Can be a static.
        ///
        /// ```
        /// use fibers::sync::RwLock;
        /// static LIMIT: RwLock<u32> = RwLock::new(10);
        /// *LIMIT.write() = 20;
        /// assert_eq!(*LIMIT.read(), 20);
        /// ```
        pub const fn new(value: T) -> Self {
            RwLock {
                raw: RawRwLock::new(),
                value: UnsafeCell::new(value),
            }
        }
    }

    /// The value, once nobody needs the lock any more.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized> RwLock<T> {
    /// Locks to read, and gives the lock back when the guard is dropped.
    ///
    /// # Blocking
    /// Suspends the fiber, or blocks the thread, while a writer holds the lock or waits for it. For ever, if the caller itself holds
    /// it to write; perhaps for ever, if the caller itself holds it to read.
    #[inline]
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        match self.try_read() {
            Some(guard) => guard,
            None => self.read_op().perform(),
        }
    }

    /// The operation that locks to read.
    pub fn read_op(&self) -> ReadOp<&Self> {
        ReadOp(self)
    }

    /// Locks to read, if no writer holds the lock or waits for it. Never suspends.
    #[inline]
    pub fn try_read(&self) -> Option<RwLockReadGuard<'_, T>> {
        self.raw.try_lock(false).then(|| RwLockReadGuard::new(self))
    }

    /// Locks to read, unless that takes longer than `timeout`.
    ///
    /// # Errors
    /// [`Elapsed`] if a writer has kept others out for so long.
    ///
    /// # Blocking
    /// As [`read`](Self::read), for `timeout` at most.
    pub fn read_timeout(&self, timeout: Duration) -> Result<RwLockReadGuard<'_, T>, Elapsed> {
        self.read_op().timeout(timeout).perform()
    }

    /// Locks to write, and gives the lock back when the guard is dropped.
    ///
    /// # Blocking
    /// Suspends the fiber, or blocks the thread, while others hold the lock or have waited for longer. For ever, if the caller
    /// itself holds it.
    #[inline]
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        match self.try_write() {
            Some(guard) => guard,
            None => self.write_op().perform(),
        }
    }

    /// The operation that locks to write.
    ///
    /// While it waits, readers that come wait behind it. If another branch is chosen instead, they are let in.
    ///
    /// ```
    /// use fibers::{Op, sync::RwLock};
    /// use std::time::Duration;
    /// let lock = RwLock::new(1);
    /// let reader = lock.read();
    /// assert!(lock.write_op().timeout(Duration::from_millis(1)).perform().is_err());
    /// assert_eq!(*lock.read(), *reader);
    /// ```
    pub fn write_op(&self) -> WriteOp<&Self> {
        WriteOp(self)
    }

    /// Locks to write, if nobody holds the lock or waits for it. Never suspends.
    #[inline]
    pub fn try_write(&self) -> Option<RwLockWriteGuard<'_, T>> {
        self.raw.try_lock(true).then(|| RwLockWriteGuard::new(self))
    }

    /// Locks to write, unless that takes longer than `timeout`.
    ///
    /// # Errors
    /// [`Elapsed`] if others have held the lock for so long.
    ///
    /// # Blocking
    /// As [`write`](Self::write), for `timeout` at most.
    pub fn write_timeout(&self, timeout: Duration) -> Result<RwLockWriteGuard<'_, T>, Elapsed> {
        self.write_op().timeout(timeout).perform()
    }

    /// As [`read`](Self::read), with a guard that borrows nothing and may go to another fiber.
    ///
    /// ```
    /// use fibers::{spawn, sync::RwLock};
    /// use std::sync::Arc;
    /// fibers::run(|| {
    ///     let lock = Arc::new(RwLock::new(1));
    ///     let reader = lock.read_owned();
    ///     let other = spawn(move || *reader + 1);
    ///     assert_eq!(*lock.read() + 1, other.join().unwrap());
    /// });
    /// ```
    pub fn read_owned(self: &Arc<Self>) -> OwnedRwLockReadGuard<T> {
        match self.try_read_owned() {
            Some(guard) => guard,
            None => self.read_owned_op().perform(),
        }
    }

    /// The operation that locks to read, with a guard that borrows nothing.
    pub fn read_owned_op(self: &Arc<Self>) -> ReadOp<Arc<Self>> {
        ReadOp(self.clone())
    }

    /// As [`try_read`](Self::try_read), with a guard that borrows nothing.
    pub fn try_read_owned(self: &Arc<Self>) -> Option<OwnedRwLockReadGuard<T>> {
        self.raw.try_lock(false).then(|| OwnedRwLockReadGuard::new(self.clone()))
    }

    /// As [`write`](Self::write), with a guard that borrows nothing and may go to another fiber.
    pub fn write_owned(self: &Arc<Self>) -> OwnedRwLockWriteGuard<T> {
        match self.try_write_owned() {
            Some(guard) => guard,
            None => self.write_owned_op().perform(),
        }
    }

    /// The operation that locks to write, with a guard that borrows nothing.
    pub fn write_owned_op(self: &Arc<Self>) -> WriteOp<Arc<Self>> {
        WriteOp(self.clone())
    }

    /// As [`try_write`](Self::try_write), with a guard that borrows nothing.
    pub fn try_write_owned(self: &Arc<Self>) -> Option<OwnedRwLockWriteGuard<T>> {
        self.raw.try_lock(true).then(|| OwnedRwLockWriteGuard::new(self.clone()))
    }

    /// The value, which nobody else can reach now. Locks nothing.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }
}

impl<T: Default> Default for RwLock<T> {
    fn default() -> Self {
        RwLock::new(T::default())
    }
}

impl<T> From<T> for RwLock<T> {
    fn from(value: T) -> Self {
        RwLock::new(value)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLock<T> {
    /// Shows the value, or that a writer holds the lock or waits for it. Does not wait.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("RwLock");
        match self.try_read() {
            Some(guard) => f.field("value", &&*guard),
            None => f.field("value", &format_args!("<locked>")),
        };
        f.finish()
    }
}

impl<'a, T: ?Sized> RwAccess for &'a RwLock<T> {
    type ReadGuard = RwLockReadGuard<'a, T>;
    type WriteGuard = RwLockWriteGuard<'a, T>;

    fn raw(&self) -> &RawRwLock {
        &self.raw
    }

    fn into_read_guard(self) -> RwLockReadGuard<'a, T> {
        RwLockReadGuard::new(self)
    }

    fn into_write_guard(self) -> RwLockWriteGuard<'a, T> {
        RwLockWriteGuard::new(self)
    }
}

impl<T: ?Sized> RwAccess for Arc<RwLock<T>> {
    type ReadGuard = OwnedRwLockReadGuard<T>;
    type WriteGuard = OwnedRwLockWriteGuard<T>;

    fn raw(&self) -> &RawRwLock {
        &self.raw
    }

    fn into_read_guard(self) -> OwnedRwLockReadGuard<T> {
        OwnedRwLockReadGuard::new(self)
    }

    fn into_write_guard(self) -> OwnedRwLockWriteGuard<T> {
        OwnedRwLockWriteGuard::new(self)
    }
}

macro_rules! operation {
    ($(#[$doc:meta])* $Op:ident locks $Mode:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        #[must_use = "an operation does nothing until it is performed"]
        pub struct $Op<A>(A);

        impl<A: RwAccess> Op for $Op<A> {
            type Output = <$Mode as Mode>::Guard<A>;
            type Branches = RwBranches<A, $Mode>;
            const IMMEDIATE: bool = true;

            fn force(self) -> Self::Branches {
                RwBranches::new(self.0)
            }

            fn graph(&self) -> Graph {
                Graph::leaf($Mode::NAME)
            }
        }

        impl<A> fmt::Debug for $Op<A> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(stringify!($Op))
            }
        }
    };
}

operation! {
    /// See [`RwLock::read_op`] and [`RwLock::read_owned_op`].
    ReadOp locks Shared
}
operation! {
    /// See [`RwLock::write_op`] and [`RwLock::write_owned_op`].
    WriteOp locks Exclusive
}

/// A guard by reference, one that is owned, and one of a part.
macro_rules! guards {
    ($kind:ident $Mode:ident [$Guard:ident, $Owned:ident, $Mapped:ident, $Part:ty] [$($bounds:tt)+] $what:literal) => {
        #[doc = concat!("The lock of an [`RwLock`], ", $what, "; leads to the value, and gives the lock back when it is dropped.")]
        ///
        /// Stays on the thread on which it was made, where its fiber stays as well; an owned one may be sent.
        #[must_use = "the lock is given back at once if its guard is not kept"]
        pub struct $Guard<'a, T: ?Sized> {
            lock: &'a RwLock<T>,
        }

        impl<'a, T: ?Sized> $Guard<'a, T> {
            /// The lock is held for it.
            #[inline]
            fn new(lock: &'a RwLock<T>) -> Self {
                lock.raw.taken($Mode::WRITE);
                $Guard { lock }
            }

            #[inline]
            fn value(&self) -> *mut T {
                self.lock.value.get()
            }
        }

        guard!($kind $Guard<'a, T>);

        // SAFETY: no value is `Sent`. Without this, the guard would be as sendable as the reference to its lock.
        unsafe impl<T: ?Sized + Sent> Send for $Guard<'_, T> {}

        impl<T: ?Sized> Drop for $Guard<'_, T> {
            #[inline]
            fn drop(&mut self) {
                self.lock.raw.unlock($Mode::WRITE);
            }
        }

        #[doc = concat!("The lock of an [`RwLock`] that is owned through an `Arc`, ", $what, "; gives it back on whatever thread.")]
        #[must_use = "the lock is given back at once if its guard is not kept"]
        pub struct $Owned<T: ?Sized> {
            lock: Arc<RwLock<T>>,
        }

        // SAFETY: the lock does not care which thread gives it back; the value may be dropped with the last `Arc`, hence `Send`, and
        // it may be seen by other readers as well, hence `Sync` if there can be any. (A writer becomes one only if it is `Sync`.)
        unsafe impl<T: ?Sized + $($bounds)+> Send for $Owned<T> {}

        impl<T: ?Sized> $Owned<T> {
            /// The lock is held for it.
            fn new(lock: Arc<RwLock<T>>) -> Self {
                lock.raw.taken($Mode::WRITE);
                $Owned { lock }
            }

            fn value(&self) -> *mut T {
                self.lock.value.get()
            }
        }

        guard!($kind $Owned<T>);

        impl<T: ?Sized> Drop for $Owned<T> {
            fn drop(&mut self) {
                self.lock.raw.unlock($Mode::WRITE);
            }
        }

        #[doc = concat!("The lock of an [`RwLock`] that leads to a part of the value, ", $what, ".")]
        #[must_use = "the lock is given back at once if its guard is not kept"]
        pub struct $Mapped<'a, T: ?Sized> {
            raw: &'a RawRwLock,
            /// Not a reference: that would have to be good until after the lock is given back.
            value: NonNull<T>,
            part: PhantomData<$Part>,
        }

        impl<T: ?Sized> $Mapped<'_, T> {
            fn value(&self) -> *mut T {
                self.value.as_ptr()
            }
        }

        guard!($kind $Mapped<'a, T>);

        // SAFETY: no value is `Sent`.
        unsafe impl<T: ?Sized + Sent> Send for $Mapped<'_, T> {}

        impl<T: ?Sized> Drop for $Mapped<'_, T> {
            fn drop(&mut self) {
                self.raw.unlock($Mode::WRITE);
            }
        }
    };
}

guards!(shared Shared [RwLockReadGuard, OwnedRwLockReadGuard, MappedRwLockReadGuard, &'a T] [Send + Sync] "to read");
guards!(exclusive Exclusive [RwLockWriteGuard, OwnedRwLockWriteGuard, MappedRwLockWriteGuard, &'a mut T] [Send] "to write");

impl<'a, T: ?Sized> RwLockReadGuard<'a, T> {
    /// A guard of a part of the value. A function, not a method, which would hide those of the value.
    ///
    /// ```
    /// use fibers::sync::{RwLock, RwLockReadGuard};
    /// let lock = RwLock::new((1, "one"));
    /// assert_eq!(*RwLockReadGuard::map(lock.read(), |pair| &pair.1), "one");
    /// ```
    pub fn map<U: ?Sized>(guard: Self, f: impl FnOnce(&T) -> &U) -> MappedRwLockReadGuard<'a, U> {
        let value = NonNull::from(f(&guard));
        MappedRwLockReadGuard {
            raw: &ManuallyDrop::new(guard).lock.raw,
            value,
            part: PhantomData,
        }
    }
}

impl<'a, T: ?Sized> RwLockWriteGuard<'a, T> {
    /// A guard of a part of the value. A function, not a method, which would hide those of the value.
    ///
    /// ```
    /// use fibers::sync::{RwLock, RwLockWriteGuard};
    /// let lock = RwLock::new((1, "one"));
    /// *RwLockWriteGuard::map(lock.write(), |pair| &mut pair.0) = 2;
    /// assert_eq!(lock.read().0, 2);
    /// ```
    pub fn map<U: ?Sized>(mut guard: Self, f: impl FnOnce(&mut T) -> &mut U) -> MappedRwLockWriteGuard<'a, U> {
        let value = NonNull::from(f(&mut guard));
        MappedRwLockWriteGuard {
            raw: &ManuallyDrop::new(guard).lock.raw,
            value,
            part: PhantomData,
        }
    }

    /// Goes on reading, without letting another writer in between. Readers that wait in front of the next writer come in.
    ///
    /// ```
    /// use fibers::sync::{RwLock, RwLockWriteGuard};
    /// let lock = RwLock::new(1);
    /// let mut writer = lock.write();
    /// *writer += 1;
    /// let reader = RwLockWriteGuard::downgrade(writer);
    /// assert_eq!((*reader, *lock.read()), (2, 2));
    /// ```
    pub fn downgrade(guard: Self) -> RwLockReadGuard<'a, T> {
        let lock = ManuallyDrop::new(guard).lock;
        lock.raw.downgrade();
        RwLockReadGuard::new(lock)
    }
}

impl<T: ?Sized + Sync> OwnedRwLockWriteGuard<T> {
    /// As [`RwLockWriteGuard::downgrade`]. The value has to be `Sync`: the guard may have been sent, and other readers be on the
    /// thread that it has left.
    pub fn downgrade(guard: Self) -> OwnedRwLockReadGuard<T> {
        let guard = ManuallyDrop::new(guard);
        // SAFETY: the guard is not dropped, and its lock not used again: the `Arc` moves.
        let lock = unsafe { ptr::read(&raw const guard.lock) };
        lock.raw.downgrade();
        OwnedRwLockReadGuard::new(lock)
    }
}
