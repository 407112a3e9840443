//! A value of which only the latest matters, and those who want to know when it changes. Named after Tokio's `watch` channel.
//!
//! # Invariants
//! - The value lies in a block of its own that never changes while anybody holds it: to set the value is to put another block in its
//!   place. So a reader holds no lock, may keep what it has read for as long as it likes, and values are copied and dropped by
//!   whoever reads or sets them, outside of the lock.
//! - A block that nobody holds any more is kept for the next value, so that setting and reading in turn allocate nothing.
//! - The version counts the changes. A watcher remembers which one it has seen; it skips what came in between.

use super::WatchClosed;
use super::until::{Subject, tell_all};
use crate::op::cell::{Queue, RX_READY, Source, State};
use crate::op::{Graph, Op, Receive};
use crate::prim::Arc;
use crate::prim::plain::{AtomicU64, Ordering};
use std::fmt;
use std::mem;
use std::ops::Deref;
use std::sync::Arc as Block;

pub use ops::{ChangedOp, WaitForOp};

mod ops;

/// The setting end of a value of which only the latest matters. Clones set the same value; when the last one is dropped, watchers see
/// the end.
///
/// ```
/// use fibers::{spawn, sync::Watch};
/// fibers::run(|| {
///     let level = Watch::new(1);
///     let watcher = level.subscribe();
///     let waiter = spawn(move || *watcher.wait_for(|level| *level > 2).unwrap());
///     level.set(2);
///     level.set(3);
///     assert_eq!(waiter.join().unwrap(), 3);
/// });
/// ```
pub struct Watch<T>(Arc<Setters<T>>);

/// Counts the setting ends: its drop is that of the last one.
struct Setters<T>(Arc<Shared<T>>);

/// An end that watches the value. A clone has seen what the original has seen.
///
/// May be shared between fibers and threads as well. Then all who wait for a change are told of it, and whoever comes later waits for
/// the next one.
pub struct Watcher<T> {
    shared: Arc<Shared<T>>,
    /// The version that was seen last.
    seen: AtomicU64,
}

/// A value as it was when it was read. Holding it keeps nobody from setting another one.
pub struct WatchRef<T>(Block<Option<T>>);

struct Shared<T>(Source<WatchState<T>>);

/// The latest value, and who waits for another one.
#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct WatchState<T> {
    current: Block<Option<T>>,
    version: u64,
    closed: bool,
    /// Empty, and held by nobody else.
    spare: Option<Block<Option<T>>>,
    waiters: Queue<()>,
}

impl<T> State for WatchState<T> {
    fn readiness(&self) -> u32 {
        if self.waiters.is_empty() { 0 } else { RX_READY }
    }
}

/// What a look at the value yields.
#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct View<T> {
    value: WatchRef<T>,
    version: u64,
    closed: bool,
}

impl<T> Shared<T> {
    fn view(&self) -> View<T> {
        let state = self.0.lock();
        View {
            value: WatchRef(state.current.clone()),
            version: state.version,
            closed: state.closed,
        }
    }

    /// A block with `value` in it.
    fn block(&self, value: T) -> Block<Option<T>> {
        let spare = self.0.lock().spare.take();
        let mut block = spare.unwrap_or_default();
        *Block::get_mut(&mut block).expect("held by nobody else") = Some(value);
        block
    }

    /// Puts `block` in the place of the value if that is still the one of `version`, or else gives it back.
    fn replace(&self, block: Block<Option<T>>, version: Option<u64>) -> Result<(), Block<Option<T>>> {
        let mut state = self.0.lock();
        if version.is_some_and(|version| version != state.version) {
            return Err(block);
        }
        let before = mem::replace(&mut state.current, block);
        state.version += 1;
        drop(state);
        tell_all(&self.0, |state| &mut state.waiters);
        self.retire(before);
        Ok(())
    }

    /// Drops a value, and keeps its block if nobody holds it.
    fn retire(&self, mut block: Block<Option<T>>) {
        if let Some(value) = Block::get_mut(&mut block) {
            drop(value.take());
            let spare = self.0.lock().spare.replace(block);
            drop(spare);
        }
    }

    fn close(&self) {
        self.0.lock().closed = true;
        tell_all(&self.0, |state| &mut state.waiters);
    }
}

impl<T> Watch<T> {
    /// Holds `value`, and nobody watches it.
    pub fn new(value: T) -> Self {
        let state = WatchState {
            current: Block::new(Some(value)),
            version: 0,
            closed: false,
            spare: None,
            waiters: Queue::new(),
        };
        Watch(Arc::new(Setters(Arc::new(Shared(Source::new(state))))))
    }

    fn shared(&self) -> &Arc<Shared<T>> {
        &self.0.0
    }

    /// Sets the value, and tells all who watch. Never waits.
    pub fn set(&self, value: T) {
        let block = self.shared().block(value);
        let replaced = self.shared().replace(block, None);
        debug_assert!(replaced.is_ok(), "it is replaced in any case");
    }

    /// Sets the value to what `f` makes of a copy of it. If somebody else sets it meanwhile, `f` starts over from theirs, so no change
    /// is lost.
    ///
    /// ```
    /// use fibers::sync::Watch;
    /// let names = Watch::new(vec!["a"]);
    /// names.send_modify(|names| names.push("b"));
    /// assert_eq!(*names.borrow(), ["a", "b"]);
    /// ```
    pub fn send_modify(&self, mut f: impl FnMut(&mut T))
    where
        T: Clone,
    {
        self.send_if_modified(|value| {
            f(value);
            true
        });
    }

    /// As [`send_modify`](Watch::send_modify), but sets the value only if `f` returns true, and returns what `f` has returned last.
    pub fn send_if_modified(&self, mut f: impl FnMut(&mut T) -> bool) -> bool
    where
        T: Clone,
    {
        loop {
            let View { value, version, .. } = self.shared().view();
            let mut copy = T::clone(&value);
            if !f(&mut copy) {
                return false;
            }
            // Gone before the block is replaced, so that it can be kept for the next value.
            drop(value);
            match self.shared().replace(self.shared().block(copy), Some(version)) {
                Ok(()) => return true,
                Err(block) => self.shared().retire(block),
            }
        }
    }

    /// The value as it is now.
    pub fn borrow(&self) -> WatchRef<T> {
        self.shared().view().value
    }

    /// A copy of the value as it is now.
    pub fn get(&self) -> T
    where
        T: Clone,
    {
        T::clone(&self.borrow())
    }

    /// Another end that watches. It counts the present value as seen.
    pub fn subscribe(&self) -> Watcher<T> {
        let seen = self.shared().view().version;
        Watcher {
            shared: self.shared().clone(),
            seen: AtomicU64::new(seen),
        }
    }
}

impl<T> Watcher<T> {
    /// The value as it is now. Does not count as having seen it.
    pub fn borrow(&self) -> WatchRef<T> {
        self.shared.view().value
    }

    /// The value as it is now, which counts as seen.
    pub fn borrow_and_update(&self) -> WatchRef<T> {
        let view = self.shared.view();
        self.see(view.version);
        view.value
    }

    /// A copy of the value as it is now. Does not count as having seen it.
    pub fn get(&self) -> T
    where
        T: Clone,
    {
        T::clone(&self.borrow())
    }

    /// Whether there is a value that this watcher has not seen.
    pub fn has_changed(&self) -> bool {
        self.shared.0.lock().version > self.seen()
    }

    /// Whether the last setting end is gone.
    pub fn is_closed(&self) -> bool {
        self.shared.0.lock().closed
    }

    /// Waits for a value that this watcher has not seen, and returns the latest.
    ///
    /// # Errors
    /// If the watcher has seen the last value, and the last setting end is gone.
    ///
    /// # Blocking
    /// Suspends the fiber, or blocks the thread.
    pub fn changed(&self) -> Result<WatchRef<T>, WatchClosed> {
        self.changed_op().perform()
    }

    /// The operation that waits for a value that this watcher has not seen.
    ///
    /// ```
    /// use fibers::{Op, sync::Watch};
    /// let watch = Watch::new(1);
    /// let watcher = watch.subscribe();
    /// assert!(watcher.changed_op().try_perform().is_none());
    /// watch.set(2);
    /// watch.set(3);
    /// assert_eq!(watcher.changed_op().perform().map(|value| *value), Ok(3));
    /// drop(watch);
    /// assert!(watcher.changed().is_err());
    /// ```
    pub fn changed_op(&self) -> ChangedOp<'_, T> {
        ChangedOp(self)
    }

    /// Waits until `condition` holds for the value, and returns that value, which counts as seen.
    ///
    /// The condition is looked at once before the wait and after each change. It runs on the waiting fiber or thread, outside of
    /// locks, and must not suspend. It may miss values that are there for a short time only.
    ///
    /// # Errors
    /// If it does not hold for the last value, and the last setting end is gone.
    ///
    /// # Panics
    /// If the condition does; and if it suspends.
    ///
    /// # Blocking
    /// Suspends the fiber, or blocks the thread.
    pub fn wait_for(&self, condition: impl FnMut(&T) -> bool) -> Result<WatchRef<T>, WatchClosed> {
        self.wait_for_op(condition).perform()
    }

    /// The operation that is ready when `condition` holds for the value; see [`wait_for`](Watcher::wait_for).
    pub fn wait_for_op<F: FnMut(&T) -> bool>(&self, condition: F) -> WaitForOp<'_, T, F> {
        WaitForOp {
            watcher: self,
            condition,
        }
    }

    fn seen(&self) -> u64 {
        // Relaxed, here and below: a number, whose value comes under the lock.
        self.seen.load(Ordering::Relaxed)
    }

    fn see(&self, version: u64) {
        self.seen.fetch_max(version, Ordering::Relaxed);
    }
}

impl<T> Subject for &Watcher<T> {
    type State = WatchState<T>;
    type View = View<T>;

    fn source(&self) -> &Source<WatchState<T>> {
        &self.shared.0
    }

    fn queue(state: &mut WatchState<T>) -> &mut Queue<()> {
        &mut state.waiters
    }

    fn announce(&self, _: &mut WatchState<T>) {
        // Nothing to be done: values are set, and looked at, under the lock.
    }

    fn look(&self) -> View<T> {
        self.shared.view()
    }

    fn graph(&self) -> Graph {
        let state = self.shared.0.lock();
        Graph::leaf(format!("watch (version {}, {} wait)", state.version, state.waiters.len()))
    }
}

impl<T> Drop for Setters<T> {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl<T> Deref for WatchRef<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().as_ref().expect("a block that is held has its value")
    }
}

impl<T> Clone for WatchRef<T> {
    fn clone(&self) -> Self {
        WatchRef(self.0.clone())
    }
}

impl<T: fmt::Debug> fmt::Debug for WatchRef<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        T::fmt(self, f)
    }
}

impl<T: PartialEq> PartialEq for WatchRef<T> {
    fn eq(&self, other: &Self) -> bool {
        T::eq(self, other)
    }
}

impl<T> Clone for Watch<T> {
    fn clone(&self) -> Self {
        Watch(self.0.clone())
    }
}

impl<T: Default> Default for Watch<T> {
    fn default() -> Self {
        Watch::new(T::default())
    }
}

impl<T> From<T> for Watch<T> {
    fn from(value: T) -> Self {
        Watch::new(value)
    }
}

impl<T> fmt::Debug for Watch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = self.shared().0.lock().version;
        f.debug_struct("Watch").field("version", &version).finish_non_exhaustive()
    }
}

impl<T> Clone for Watcher<T> {
    fn clone(&self) -> Self {
        Watcher {
            shared: self.shared.clone(),
            seen: AtomicU64::new(self.seen()),
        }
    }
}

impl<T> fmt::Debug for Watcher<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.0.lock();
        let (version, closed) = (state.version, state.closed);
        drop(state);
        f.debug_struct("Watcher")
            .field("seen", &self.seen())
            .field("version", &version)
            .field("closed", &closed)
            .finish()
    }
}

impl<T> Receive for Watcher<T> {
    type Output = Result<WatchRef<T>, WatchClosed>;
    type Op<'a>
        = ChangedOp<'a, T>
    where
        Self: 'a;

    fn receive_op(&self) -> ChangedOp<'_, T> {
        self.changed_op()
    }
}
