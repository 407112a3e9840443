//! A variable that is empty or full, as in Concurrent Haskell (Peyton Jones, Gordon and Finne 1996) and in CML's `SyncVar`, where it
//! is `mvar` with `mPut`, `mTake`, `mGet` and `mSwap`.
//!
//! # Invariants (under the lock)
//! - A variable is empty, full, or lent. While it is lent, the value is with a reader who copies it, or with somebody who has taken
//!   the old value by a swap and not yet put in the new one. Whoever has it gives it back, also when they unwind ([`Loan`]).
//! - Takers (takes, reads and swaps, in one queue) wait only while it is empty or lent; putters only while it is full or lent. The
//!   exception is a choice that waits on both sides: it does not meet itself.
//! - Who comes first is served first. A value goes from hand to hand: nobody is woken to try again.
//!
//! # Why a read takes a loan
//! To copy a value is code of the user, which runs under no lock, and a reader has its place in the queue like everybody else. So a
//! read takes the value, copies it, and gives it back, and nobody can put anything in between. This is how Concurrent Haskell
//! defined `readMVar` at first, but atomic. (Today's wakes all readers at once, and before all takers: it copies pointers.)

use super::{PutError, SwapError};
use crate::op::cell::{Cell, Queue, RX_READY, Source, State, TX_READY, Waiter};
use crate::op::{Op, Receive, Transmit, Wrap};
use crate::prim::Arc;
use crate::sched;
use std::fmt;
use std::mem;

use crate::channel::error::SendError;
pub use ops::{PutOp, ReadVarOp, SwapVarOp, TakeOp};

mod ops;

/// A variable that is empty or full: [`put`](MVar::put) waits for it to be empty, [`take`](MVar::take) for it to be full. Clones
/// are the same variable.
///
/// First come, first served; no value is taken twice. CML calls it `mvar`: `mPut`, `mTake`, `mGet` (here [`read`](MVar::read)),
/// `mSwap` (here [`swap`](MVar::swap)).
///
/// As a lock around a value: take it, and put it back when done. Unlike a mutex it stays empty if the holder panics.
///
/// ```
/// use fibers::{spawn, sync::MVar};
/// fibers::run(|| {
///     let counter = MVar::new(0);
///     let fibers: Vec<_> = (0..10)
///         .map(|_| {
///             let counter = counter.clone();
///             spawn(move || counter.put(counter.take() + 1))
///         })
///         .collect();
///     fibers.into_iter().for_each(|fiber| fiber.join().unwrap());
///     assert_eq!(counter.read(), 10);
/// });
/// ```
pub struct MVar<T>(Arc<Source<MVarState<T>>>);

/// What is in the variable, and who waits.
#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct MVarState<T> {
    value: Option<T>,
    /// Somebody has the value and will give it, or another one, back.
    lent: bool,
    takers: Queue<Want<T>>,
    putters: Queue<Option<T>>,
}

/// What a taker brings and gets.
#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct Want<T> {
    got: Option<T>,
    /// Of a swap: what goes in instead.
    new: Option<T>,
    /// The value, or the new one, comes back: the taker reads or swaps.
    returns: bool,
}

impl<T> State for MVarState<T> {
    fn readiness(&self) -> u32 {
        match (&self.value, self.lent) {
            (Some(_), _) => RX_READY,
            (None, false) => TX_READY,
            (None, true) => 0,
        }
    }
}

impl<T> MVarState<T> {
    /// After the value was taken: lets the first waiting putter put in theirs.
    fn refill(&mut self, own: &Cell) -> Option<Waiter> {
        let (value, putter) = self.putters.admit(own, Option::take)?;
        self.value = value;
        Some(putter)
    }

    fn is_empty(&self) -> bool {
        self.value.is_none() && !self.lent
    }
}

impl<T> MVar<T> {
    /// A full one.
    pub fn new(value: T) -> Self {
        MVar::with(Some(value))
    }

    /// An empty one.
    pub fn empty() -> Self {
        MVar::with(None)
    }

    fn with(value: Option<T>) -> Self {
        MVar(Arc::new(Source::new(MVarState {
            value,
            lent: false,
            takers: Queue::new(),
            putters: Queue::new(),
        })))
    }

    /// Puts a value in, waiting until it is empty.
    ///
    /// # Blocking
    /// Suspends the fiber, or blocks the thread, while it is full.
    pub fn put(&self, value: T) {
        self.put_op(value).perform();
    }

    /// Puts a value in if it is empty.
    ///
    /// # Errors
    /// Gives the value back if it is full.
    pub fn try_put(&self, value: T) -> Result<(), PutError<T>> {
        let mut value = Some(value);
        let mut state = self.0.lock();
        if !state.is_empty() {
            drop(state);
            return Err(PutError(value.expect("just put there")));
        }
        let mut lent = false;
        let taker = state.takers.admit_any(|want| {
            want.got = value.take();
            lent = want.returns;
        });
        match &taker {
            Some(_) => state.lent = lent,
            None => state.value = value,
        }
        drop(state);
        wake(taker);
        Ok(())
    }

    /// The operation that puts `value` in. If it is not chosen, the value is dropped with it.
    pub fn put_op(&self, value: T) -> PutOp<'_, T> {
        PutOp { mvar: self, value }
    }

    /// Takes the value out, waiting for one.
    ///
    /// # Blocking
    /// Suspends the fiber, or blocks the thread, while it is empty.
    pub fn take(&self) -> T {
        self.take_op().perform()
    }

    /// Takes the value out if there is one. One that is being copied by a read at this moment is not there.
    pub fn try_take(&self) -> Option<T> {
        self.take_op().try_perform()
    }

    /// The operation that takes the value out.
    pub fn take_op(&self) -> TakeOp<'_, T> {
        TakeOp { mvar: self }
    }

    /// Copies the value and leaves it there, waiting for one. Those who come later wait until the copy is made.
    ///
    /// # Panics
    /// If the value's `clone` does; the value stays.
    ///
    /// # Blocking
    /// Suspends the fiber, or blocks the thread, while it is empty.
    pub fn read(&self) -> T
    where
        T: Clone,
    {
        self.read_op().perform()
    }

    /// Copies the value if there is one. One that is being copied by another read at this moment is not there.
    pub fn try_read(&self) -> Option<T>
    where
        T: Clone,
    {
        self.read_op().try_perform()
    }

    /// The operation that copies the value and leaves it there.
    pub fn read_op(&self) -> ReadVarOp<'_, T>
    where
        T: Clone,
    {
        ReadVarOp { mvar: self }
    }

    /// Puts `value` in and returns the one that was there, waiting for one. Nobody sees the variable empty in between.
    ///
    /// # Blocking
    /// Suspends the fiber, or blocks the thread, while it is empty.
    pub fn swap(&self, value: T) -> T {
        self.swap_op(value).perform()
    }

    /// Puts `value` in and returns the one that was there.
    ///
    /// # Errors
    /// Gives the value back if the variable is empty, or if its value is being copied by a read at this moment.
    pub fn try_swap(&self, value: T) -> Result<T, SwapError<T>> {
        let mut state = self.0.lock();
        let old = match &mut state.value {
            Some(there) => Ok(mem::replace(there, value)),
            None => Err(SwapError(value)),
        };
        drop(state);
        old
    }

    /// The operation that puts `value` in and yields the one that was there. If it is not chosen, the value is dropped with it.
    pub fn swap_op(&self, value: T) -> SwapVarOp<'_, T> {
        SwapVarOp { mvar: self, value }
    }

    /// Whether there is no value in it. One that is being read counts as there.
    pub fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }

    /// Whether both are the same variable.
    pub fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// How many performs wait now to take, read or swap: fibers and threads, lone or in a choice.
    pub fn waiting_takers(&self) -> usize {
        self.0.lock().takers.len()
    }

    /// How many performs wait now to put: fibers and threads, lone or in a choice.
    pub fn waiting_putters(&self) -> usize {
        self.0.lock().putters.len()
    }

    /// Ends a loan: hands the value to who has waited longest, and that of a putter to the next one, until it can stay.
    ///
    /// The variable counts as lent all the while, so that whoever comes meanwhile queues up behind those who wait. Each lock hold
    /// wakes two at most.
    fn give_back(&self, value: T) {
        let mut with_us = Some(value);
        while with_us.is_some() {
            let mut putter = None;
            let mut lent_on = false;
            let mut state = self.0.lock();
            let taker = state.takers.admit_any(|want| {
                want.got = with_us.take();
                lent_on = want.returns;
            });
            if taker.is_none() {
                state.value = with_us.take();
            } else if !lent_on {
                putter = state.putters.admit_any(|value| with_us = value.take());
            }
            state.lent = lent_on || putter.is_some();
            drop(state);
            wake(taker);
            wake(putter);
        }
    }
}

fn wake(waiter: Option<Waiter>) {
    if let Some(waiter) = waiter {
        waiter.wake(sched::here());
    }
}

impl<T> Clone for MVar<T> {
    fn clone(&self) -> Self {
        MVar(self.0.clone())
    }
}

/// An empty one.
impl<T> Default for MVar<T> {
    fn default() -> Self {
        MVar::empty()
    }
}

/// A full one.
impl<T> From<T> for MVar<T> {
    fn from(value: T) -> Self {
        MVar::new(value)
    }
}

impl<T> fmt::Debug for MVar<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MVar")
            .field("empty", &self.is_empty())
            .finish_non_exhaustive()
    }
}

impl<T> Receive for MVar<T> {
    type Output = T;
    type Op<'a>
        = TakeOp<'a, T>
    where
        Self: 'a;

    fn receive_op(&self) -> TakeOp<'_, T> {
        self.take_op()
    }
}

/// What `mvar <- value` yields: it never fails.
type Sent<T> = Result<(), SendError<T>>;

impl<T> Transmit<T> for MVar<T> {
    type Op<'a>
        = Wrap<PutOp<'a, T>, fn(()) -> Sent<T>>
    where
        Self: 'a;

    fn transmit_op(&self, value: T) -> Self::Op<'_> {
        self.put_op(value).wrap(Ok)
    }
}
