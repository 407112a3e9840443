//! Operations over the outside world, made by users: a try function, a publish function, a withdraw function.

use super::Op;
use super::branches::{Branches, Picker};
use super::cell::{Attempt, Me, Queue, RX_READY, Source, State};
use super::graph::Graph;
use super::leaf::{Leaf, Side};
use crate::prim::Arc;
use crate::sched::{self, WaitKind};
use std::cell::{Cell as Plain, RefCell};
use std::fmt;

/// An operation made of three functions, for sources that this crate does not know (callbacks, foreign event loops, ...).
///
/// - `attempt` takes the value if it is there now. It is called before anything is published, once per look.
/// - `publish` is called when the performer is about to wait. It hands the [`Completer`] to whoever will know when the value
///   comes. It must look again itself, since the value may have come after the attempt, and then complete at once.
/// - `withdraw` is called when the wait is over, whether this branch has won or not. A value that comes later finds the completer
///   refused ([`Completer::complete`] gives it back).
///
/// All three run on the performer, outside of locks. `publish` and `withdraw` must not suspend (that panics).
///
/// ```
/// use fibers::{Op, op};
/// let op = op::base(
///     || None,
///     |completer: op::Completer<u32>| {
///         std::thread::spawn(move || completer.complete(42));
///     },
///     || {},
/// );
/// assert_eq!(op.perform(), 42);
/// ```
pub fn base<T, F, P, W>(attempt: F, publish: P, withdraw: W) -> Base<F, P, W>
where
    F: FnMut() -> Option<T>,
    P: FnMut(Completer<T>),
    W: FnMut(),
{
    Base {
        attempt,
        publish,
        withdraw,
    }
}

/// See [`base`].
#[derive(Clone)]
#[must_use = "an operation does nothing until it is performed"]
pub struct Base<F, P, W> {
    attempt: F,
    publish: P,
    withdraw: W,
}

impl<F, P, W> fmt::Debug for Base<F, P, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Base")
    }
}

impl<T, F, P, W> Op for Base<F, P, W>
where
    F: FnMut() -> Option<T>,
    P: FnMut(Completer<T>),
    W: FnMut(),
{
    type Output = T;
    type Branches = BaseBranches<T, F, P, W>;

    fn force(self) -> Self::Branches {
        let source = Arc::new(Source::new(BaseState {
            round: 0,
            waiters: Queue::new(),
        }));
        BaseBranches {
            attempt: RefCell::new(self.attempt),
            publish: RefCell::new(self.publish),
            withdraw: RefCell::new(self.withdraw),
            leaf: Leaf::new(BaseSide(source.clone()), None),
            source,
            found: Plain::new(None),
            tried: Plain::new(false),
            published: Plain::new(false),
        }
    }

    fn graph(&self) -> Graph {
        Graph::leaf("base")
    }
}

struct BaseState<T> {
    /// Counts publications, so that the completer of an earlier one is refused.
    round: u64,
    waiters: Queue<Option<T>>,
}

impl<T> State for BaseState<T> {
    fn readiness(&self) -> u32 {
        0
    }
}

/// Completes the [`base`] operation it was made for, once, from anywhere.
pub struct Completer<T> {
    source: Arc<Source<BaseState<T>>>,
    round: u64,
}

impl<T> Completer<T> {
    /// Commits the branch with `value` and resumes its performer.
    ///
    /// # Errors
    /// Gives the value back if the operation has been withdrawn, or another branch won.
    pub fn complete(self, value: T) -> Result<(), T> {
        let mut value = Some(value);
        let mut state = self.source.lock();
        if state.round != self.round {
            return Err(value.take().expect("just put there"));
        }
        let met = state.waiters.admit_any(|slot| *slot = value.take());
        drop(state);
        match (met, value) {
            (Some(waiter), _) => {
                waiter.wake(sched::here());
                Ok(())
            }
            (None, value) => Err(value.expect("nobody took it")),
        }
    }

    /// Whether the wait is over, so that a value would be given back. A `false` may be outdated at once.
    pub fn is_withdrawn(&self) -> bool {
        let state = self.source.lock();
        state.round != self.round || state.waiters.is_empty()
    }
}

impl<T> fmt::Debug for Completer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Completer").field("withdrawn", &self.is_withdrawn()).finish()
    }
}

/// The side that waits for the completer.
struct BaseSide<T>(Arc<Source<BaseState<T>>>);

impl<T> Side for BaseSide<T> {
    type State = BaseState<T>;
    type Slot = Option<T>;
    type Output = T;

    const READY: u32 = RX_READY;
    const KIND: WaitKind = WaitKind::Other;

    fn source(&self) -> &Source<BaseState<T>> {
        &self.0
    }

    fn attempt(&self, state: &mut BaseState<T>, _: &mut Option<T>, _: &mut Me<'_>) -> Attempt {
        state.round += 1;
        Attempt::Wait
    }

    fn queue(state: &mut BaseState<T>) -> &mut Queue<Option<T>> {
        &mut state.waiters
    }

    fn output(&mut self, slot: &mut Option<T>) -> T {
        slot.take().expect("a completer fills the slot before it decides")
    }

    fn graph(&self) -> Graph {
        Graph::leaf("base")
    }
}

#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct BaseBranches<T, F, P, W> {
    attempt: RefCell<F>,
    publish: RefCell<P>,
    withdraw: RefCell<W>,
    leaf: Leaf<BaseSide<T>>,
    source: Arc<Source<BaseState<T>>>,
    /// What the attempt took.
    found: Plain<Option<T>>,
    /// The attempt has found nothing in this look.
    tried: Plain<bool>,
    published: Plain<bool>,
}

impl<T, F, P, W> Branches for BaseBranches<T, F, P, W>
where
    F: FnMut() -> Option<T>,
    P: FnMut(Completer<T>),
    W: FnMut(),
{
    type Output = T;

    fn leaves(&self) -> usize {
        1
    }

    fn pick(&self, picker: &mut Picker) {
        picker.leaf(!self.tried.get());
    }

    fn attempt(&self, _: usize, _: &mut Me<'_>) -> Attempt {
        match (self.attempt.borrow_mut())() {
            Some(value) => {
                self.found.set(Some(value));
                Attempt::Done(None)
            }
            None => {
                self.tried.set(true);
                Attempt::Wait
            }
        }
    }

    /// In a choice every leaf has been tried before; here only a lone one is, since a value must not be taken before the cell is
    /// won.
    fn publish(&self, leaf: usize, me: &mut Me<'_>) -> Attempt {
        if me.is_lone()
            && let Attempt::Done(waiter) = self.attempt(leaf, me)
        {
            return Attempt::Done(waiter);
        }
        let result = self.leaf.publish(leaf, me);
        self.published.set(true);
        let round = self.source.lock().round;
        let _no_suspension = me
            .here()
            .map(|here| here.forbid_suspend("the publish function of a `base` operation must not suspend"));
        (self.publish.borrow_mut())(Completer {
            source: self.source.clone(),
            round,
        });
        result
    }

    fn retract(&self, leaf: usize) {
        self.leaf.retract(leaf);
        self.tried.set(false);
        if self.published.replace(false) {
            let _no_suspension =
                sched::here().map(|here| here.forbid_suspend("the withdraw function of a `base` operation must not suspend"));
            (self.withdraw.borrow_mut())();
        }
    }

    fn abandon(&mut self, _: Option<usize>) {
        // A lone branch that was decided has not been retracted: its wait is over all the same.
        if self.published.get() {
            self.retract(0);
        }
    }

    fn finish(&mut self, leaf: usize) -> T {
        match self.found.take() {
            Some(value) => value,
            None => self.leaf.finish(leaf),
        }
    }

    fn kind(&self) -> WaitKind {
        WaitKind::Other
    }

    fn graph(&self) -> Graph {
        Graph::leaf("base")
    }
}
