//! The standard library's atomics, and one that can be waited for.
//!
//! # Who sees whom
//! An update is one atomic instruction, and one load of a flag that says whether anybody waits. A wait sets the flag, under the lock
//! under which its node is linked, and looks at the value after that. This is Dekker's pattern, in which a store may linger in a
//! buffer while the load behind it has been done:
//!
//! | updater | waiter |
//! |---|---|
//! | U: changes the value (`SeqCst`) | W: sets the flag, links its node, unlocks |
//! | R: reads the flag (`SeqCst`) | F: fence (`SeqCst`) |
//! | | L: looks at the value |
//!
//! If R misses W, it precedes F in the one order of all `SeqCst` operations (R is before W in the order of the flag's changes, and W
//! happens before F). If L misses U, F precedes U in that order, likewise. And U precedes R. All three would be a cycle, so at
//! least one side sees the other: the updater finds the node, or the waiter finds the value.
//!
//! The flag is written under the lock alone. Who updates takes it back when there is nobody left, so a wait that is over costs the
//! next update one lock hold, and those after it nothing.

use super::until::{Accept, Subject, Until, tell_all};
use crate::op::cell::{Queue, RX_READY, Source, State};
use crate::op::{Graph, Op};
use crate::prim;
use std::fmt;

pub use atom::{Atom, Bits, Integer};
pub use std::sync::atomic::{
    AtomicBool, AtomicI8, AtomicI16, AtomicI32, AtomicI64, AtomicIsize, AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64,
    AtomicUsize, Ordering, compiler_fence, fence,
};

mod atom;

/// An atomic whose updates can be waited for.
///
/// All its operations are sequentially consistent ([`Ordering::SeqCst`]), which the wait relies on, so none takes an ordering. An
/// update while nobody waits costs one load more than that of the atomic itself. While somebody waits, it wakes all of them, and each
/// looks for itself: take another type where thousands wait for different values.
///
/// ```
/// use fibers::{spawn, sync::atomic::{AtomicU64, Waitable}};
/// use std::sync::Arc;
/// fibers::run(|| {
///     let done = Arc::new(Waitable::<AtomicU64>::new(0));
///     for _ in 0..10 {
///         let done = done.clone();
///         spawn(move || done.fetch_add(1));
///     }
///     assert_eq!(done.wait_until(|n| n == 10), 10);
/// });
/// ```
pub struct Waitable<A: Atom> {
    atom: A,
    /// Not 0: somebody may wait. Written under the lock.
    awaited: prim::AtomicU32,
    waiters: Source<Waiters>,
}

/// Who waits for an update.
#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct Waiters(Queue<()>);

impl State for Waiters {
    fn readiness(&self) -> u32 {
        if self.0.is_empty() { 0 } else { RX_READY }
    }
}

impl<A: Atom> Waitable<A> {
    /// An atomic that holds `value`.
    pub fn new(value: A::Value) -> Self {
        Waitable {
            atom: A::with(value),
            awaited: prim::AtomicU32::new(0),
            waiters: Source::new(Waiters(Queue::new())),
        }
    }

    /// The value.
    pub fn load(&self) -> A::Value {
        self.atom.load()
    }

    /// Stores `value`.
    pub fn store(&self, value: A::Value) {
        self.atom.store(value);
        self.updated();
    }

    /// Stores `value` and returns the one before.
    pub fn swap(&self, value: A::Value) -> A::Value {
        self.after(self.atom.swap(value))
    }

    /// Stores `new` if the value is `current`.
    ///
    /// # Errors
    /// The value, if it is another one.
    pub fn compare_exchange(&self, current: A::Value, new: A::Value) -> Result<A::Value, A::Value> {
        self.atom.compare_exchange(current, new).map(|before| self.after(before))
    }

    /// Stores what `f` makes of the value, and returns the one before. If somebody else is faster, `f` is called again.
    ///
    /// # Errors
    /// The value, if `f` returns `None` for it.
    pub fn fetch_update(&self, mut f: impl FnMut(A::Value) -> Option<A::Value>) -> Result<A::Value, A::Value> {
        let mut value = self.load();
        while let Some(new) = f(value) {
            match self.compare_exchange(value, new) {
                Ok(before) => return Ok(before),
                Err(now) => value = now,
            }
        }
        Err(value)
    }

    /// The value, in the end.
    pub fn into_inner(self) -> A::Value {
        self.atom.load()
    }

    /// Waits until `condition` holds for the value, and returns that value.
    ///
    /// The condition is looked at once before the wait and after each update. It runs on the waiting fiber or thread, outside of
    /// locks, and must not suspend. It may miss values that are there for a short time only.
    ///
    /// # Panics
    /// If the condition does; and if it suspends.
    ///
    /// # Blocking
    /// Suspends the fiber, or blocks the thread.
    pub fn wait_until(&self, condition: impl FnMut(A::Value) -> bool) -> A::Value {
        self.wait_until_op(condition).perform()
    }

    /// The operation that is ready when `condition` holds for the value, and yields that value. See
    /// [`wait_until`](Waitable::wait_until).
    ///
    /// ```
    /// use fibers::{Op, sync::atomic::{AtomicBool, Waitable}};
    /// let stop = Waitable::<AtomicBool>::new(false);
    /// assert_eq!(stop.wait_until_op(|stop| stop).try_perform(), None);
    /// stop.store(true);
    /// assert_eq!(stop.wait_until_op(|stop| stop).try_perform(), Some(true));
    /// ```
    pub fn wait_until_op<F: FnMut(A::Value) -> bool>(&self, condition: F) -> WaitUntilOp<'_, A, F> {
        WaitUntilOp { atom: self, condition }
    }

    #[inline]
    fn after(&self, before: A::Value) -> A::Value {
        self.updated();
        before
    }

    /// Wakes those who wait, if there are any.
    #[inline]
    fn updated(&self) {
        prim::between_seq_cst();
        // SeqCst: comes after the update, see above.
        if self.awaited.load(Ordering::SeqCst) != 0 {
            self.tell();
        }
    }

    #[cold]
    fn tell(&self) {
        tell_all(&self.waiters, |waiters| &mut waiters.0);
        let waiters = self.waiters.lock();
        if waiters.0.is_empty() {
            // Relaxed: ordered by the lock with those who set it.
            self.awaited.store(0, Ordering::Relaxed);
        }
    }
}

impl<A: Integer> Waitable<A> {
    /// Adds `value`, wrapping around, and returns what was there before.
    pub fn fetch_add(&self, value: A::Value) -> A::Value {
        self.after(self.atom.fetch_add(value))
    }

    /// Subtracts `value`, wrapping around, and returns what was there before.
    pub fn fetch_sub(&self, value: A::Value) -> A::Value {
        self.after(self.atom.fetch_sub(value))
    }

    /// Stores the greater one of the two, and returns what was there before.
    pub fn fetch_max(&self, value: A::Value) -> A::Value {
        self.after(self.atom.fetch_max(value))
    }

    /// Stores the lesser one of the two, and returns what was there before.
    pub fn fetch_min(&self, value: A::Value) -> A::Value {
        self.after(self.atom.fetch_min(value))
    }
}

impl<A: Bits> Waitable<A> {
    /// Bitwise and, on a `bool` logical and; returns what was there before.
    pub fn fetch_and(&self, value: A::Value) -> A::Value {
        self.after(self.atom.fetch_and(value))
    }

    /// Bitwise or, on a `bool` logical or; returns what was there before.
    pub fn fetch_or(&self, value: A::Value) -> A::Value {
        self.after(self.atom.fetch_or(value))
    }

    /// Bitwise, on a `bool` logical, exclusive or; returns what was there before.
    pub fn fetch_xor(&self, value: A::Value) -> A::Value {
        self.after(self.atom.fetch_xor(value))
    }
}

impl<A: Atom<Value: Default>> Default for Waitable<A> {
    fn default() -> Self {
        Waitable::new(A::Value::default())
    }
}

impl<A: Atom<Value: fmt::Debug>> fmt::Debug for Waitable<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Waitable").field(&self.load()).finish()
    }
}

/// See [`Waitable::wait_until_op`].
#[must_use = "an operation does nothing until it is performed"]
pub struct WaitUntilOp<'a, A: Atom, F> {
    atom: &'a Waitable<A>,
    condition: F,
}

impl<A: Atom, F: Clone> Clone for WaitUntilOp<'_, A, F> {
    fn clone(&self) -> Self {
        WaitUntilOp {
            atom: self.atom,
            condition: self.condition.clone(),
        }
    }
}

impl<A: Atom<Value: fmt::Debug>, F> fmt::Debug for WaitUntilOp<'_, A, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WaitUntilOp").field(self.atom).finish()
    }
}

impl<'a, A: Atom, F: FnMut(A::Value) -> bool> Op for WaitUntilOp<'a, A, F> {
    type Output = A::Value;
    type Branches = Until<&'a Waitable<A>, Holds<F>>;
    const IMMEDIATE: bool = true;

    fn force(self) -> Self::Branches {
        Until::new(self.atom, Holds(self.condition))
    }

    fn graph(&self) -> Graph {
        self.atom.graph()
    }
}

/// A condition over a value.
#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct Holds<F>(F);

impl<V: Copy, F: FnMut(V) -> bool> Accept<V> for Holds<F> {
    type Found = V;

    fn accept(&mut self, value: V) -> Option<V> {
        (self.0)(value).then_some(value)
    }
}

impl<A: Atom> Subject for &Waitable<A> {
    type State = Waiters;
    type View = A::Value;

    fn source(&self) -> &Source<Waiters> {
        &self.waiters
    }

    fn queue(waiters: &mut Waiters) -> &mut Queue<()> {
        &mut waiters.0
    }

    fn announce(&self, _: &mut Waiters) {
        // Relaxed: the fence of the look is behind it.
        self.awaited.store(1, Ordering::Relaxed);
    }

    fn look(&self) -> A::Value {
        // SeqCst: pairs with the accesses of an updater, see above.
        prim::fence(Ordering::SeqCst);
        self.atom.load()
    }

    fn graph(&self) -> Graph {
        let waiting = self.waiters.lock().0.len();
        Graph::leaf(format!("an atomic's condition ({waiting} wait)"))
    }
}
