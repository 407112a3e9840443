//! Objects that are made once and used again, a bounded number of them.
//!
//! Each object, or the place for one that has not been made yet, is a token. Tokens lie in two channels, one for objects and one for
//! empty places, and a `get` receives from either, preferring objects. A token that is dropped, wherever that is, goes back to its
//! channel by itself: from a guard, from a `get` that was committed and then unwound, from a maker that panics. So no place is ever
//! lost. Only the pool's own end lets the objects go.

use crate::channel::{Receiver, RecvError, Sender, channel};
use crate::op::{Op, biased};
use std::fmt;
use std::mem;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Weak};

/// A bounded number of objects that are made when they are first needed, lent out, and used again. Clones are the same pool.
///
/// As Go's `sync.Pool` in what it is for, but bounded, and nothing is thrown away: for connections and large buffers.
///
/// ```
/// use fibers::sync::Pool;
/// fibers::run(|| {
///     let pool = Pool::new(2, || Vec::<u8>::with_capacity(1 << 16));
///     let mut buffer = pool.get();
///     buffer.extend(b"scratch");
///     buffer.clear();
///     drop(buffer); // back into the pool, with its capacity
///     assert!(pool.get().capacity() >= 1 << 16);
///     assert_eq!(pool.idle(), 1);
/// });
/// ```
///
/// When a holder panics, its object goes back into the pool as it is, as with every other end of a guard. What may be broken then is
/// to be [discarded](Pooled::discard), or reset by the next one. When the maker panics, that is the panic of the `get`, and the
/// place stays free.
pub struct Pool<T>(Arc<Inner<T>>);

struct Inner<T> {
    /// Objects that nobody uses.
    idle: (Sender<Token<T>>, Receiver<Token<T>>),
    /// Places for objects that have not been made.
    empty: (Sender<Token<T>>, Receiver<Token<T>>),
    make: Box<dyn Fn() -> T + Send + Sync>,
}

/// The right to one object, and the object if there is one.
struct Token<T> {
    object: Option<T>,
    pool: Weak<Inner<T>>,
}

impl<T> Token<T> {
    /// Goes back to where it belongs. There is room: no more tokens exist than each of the two channels holds.
    fn put(self, pool: &Inner<T>) {
        let (home, _) = if self.object.is_some() { &pool.idle } else { &pool.empty };
        if let Err(refused) = home.try_send(self) {
            // Cannot be; and if it could, it must not come back here from its destructor again and again.
            let mut token = refused.into_inner();
            token.pool = Weak::new();
        }
    }
}

impl<T> Drop for Token<T> {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.upgrade() {
            let token = Token {
                object: self.object.take(),
                pool: mem::take(&mut self.pool),
            };
            token.put(&pool);
        }
    }
}

impl<T> Pool<T> {
    /// A pool of up to `max` objects, each made by `make` when somebody needs one and none is idle. `make` runs where the object is
    /// needed, and may suspend.
    pub fn new(max: usize, make: impl Fn() -> T + Send + Sync + 'static) -> Self {
        let pool = Arc::new(Inner {
            idle: channel(max),
            empty: channel(max),
            make: Box::new(make),
        });
        for _ in 0..max {
            let token = Token {
                object: None,
                pool: Arc::downgrade(&pool),
            };
            token.put(&pool);
        }
        Pool(pool)
    }

    /// Takes an object: an idle one (the one that has been idle for longest), or else a new one, or else waits until one is put
    /// back.
    ///
    /// # Panics
    /// With the panic of the maker.
    ///
    /// # Blocking
    /// Suspends the fiber, or blocks the thread, while all objects are in use.
    pub fn get(&self) -> Pooled<T> {
        self.get_op().perform()
    }

    /// Takes an object if there is an idle one, or a place for a new one.
    pub fn try_get(&self) -> Option<Pooled<T>> {
        self.get_op().try_perform()
    }

    /// The operation that takes an object. The maker runs after the commit: an operation that loses makes nothing.
    ///
    /// ```
    /// use fibers::{Op, sync::Pool};
    /// use std::time::Duration;
    /// let pool = Pool::new(1, || 5);
    /// let held = pool.get();
    /// assert!(pool.get_op().timeout(Duration::from_millis(1)).perform().is_err());
    /// drop(held);
    /// assert_eq!(*pool.get_op().perform(), 5);
    /// ```
    pub fn get_op(&self) -> impl Op<Output = Pooled<T>> + use<'_, T> {
        self.token_op().wrap(|mut token| {
            if token.object.is_none() {
                token.object = Some((self.0.make)());
            }
            Pooled(token)
        })
    }

    /// Takes an object; if none is idle, `make` makes the new one, and may fail: then the place stays free.
    ///
    /// # Errors
    /// With the error of `make`.
    ///
    /// # Blocking
    /// As [`Pool::get`].
    ///
    /// ```
    /// use fibers::sync::Pool;
    /// let pool = Pool::new(1, || unreachable!("made by the caller"));
    /// assert_eq!(pool.get_or_try(|| "x".parse::<u32>()).unwrap_err().to_string(), "invalid digit found in string");
    /// assert_eq!(*pool.get_or_try(|| "7".parse::<u32>()).unwrap(), 7);
    /// ```
    pub fn get_or_try<E>(&self, make: impl FnOnce() -> Result<T, E>) -> Result<Pooled<T>, E> {
        self.get_or_try_op(make).perform()
    }

    /// The operation of [`Pool::get_or_try`].
    pub fn get_or_try_op<E, F>(&self, make: F) -> impl Op<Output = Result<Pooled<T>, E>> + use<'_, T, E, F>
    where
        F: FnOnce() -> Result<T, E>,
    {
        self.token_op().wrap(|mut token| {
            if token.object.is_none() {
                token.object = Some(make()?);
            }
            Ok(Pooled(token))
        })
    }

    fn token_op(&self) -> impl Op<Output = Token<T>> + use<'_, T> {
        let taken = |token: Result<Token<T>, RecvError>| token.expect("a pool holds both ends of its channels");
        biased((self.0.idle.1.recv_op(), self.0.empty.1.recv_op()))
            .wrap(taken)
            .label("object of a pool")
    }

    /// How many objects lie idle.
    pub fn idle(&self) -> usize {
        self.0.idle.1.len()
    }

    /// How many objects there may be.
    pub fn max(&self) -> usize {
        self.0.idle.1.capacity().unwrap_or(usize::MAX)
    }
}

impl<T> Clone for Pool<T> {
    fn clone(&self) -> Self {
        Pool(self.0.clone())
    }
}

impl<T> fmt::Debug for Pool<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("idle", &self.idle())
            .field("max", &self.max())
            .finish_non_exhaustive()
    }
}

/// An object of a [`Pool`], which gets it back when this is dropped. It does not keep the pool alive: an object that comes back too
/// late is dropped.
#[must_use = "dropped at once, the object goes back at once"]
pub struct Pooled<T>(Token<T>);

impl<T> Pooled<T> {
    /// Drops the object instead of putting it back, since it is broken: there is a place for a new one then.
    pub fn discard(pooled: Self) {
        drop(Pooled::into_inner(pooled));
    }

    /// Takes the object out of the pool for good: there is a place for a new one then.
    pub fn into_inner(mut pooled: Self) -> T {
        pooled.0.object.take().expect("a guard has its object")
    }
}

impl<T> Deref for Pooled<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.object.as_ref().expect("a guard has its object")
    }
}

impl<T> DerefMut for Pooled<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.object.as_mut().expect("a guard has its object")
    }
}

impl<T: fmt::Debug> fmt::Debug for Pooled<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pooled").field(&**self).finish()
    }
}
