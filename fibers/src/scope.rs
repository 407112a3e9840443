//! Structured concurrency: children that end before the block does in which they were spawned, and so may borrow from it.
//!
//! [`scope`] has the shape of [`std::thread::scope`]. On it stand error groups ([`try_scope`]), races ([`race`], [`first_ok`]) and
//! parallel maps ([`par_map`] and its siblings); [`join_all`] waits for many handles at once.
//!
//! # Why borrowing is sound
//! What a child borrows lives at least as long as the call of [`scope`] (`'env` outlives `'scope`, and the closure cannot know how
//! long `'scope` is). So the one thing to be shown is that **the frame of `scope` is not left before each child has dropped
//! everything that it borrows**. It is left after the scope's counter was seen at zero, or never:
//!
//! 1. *What is counted.* The counter goes up before a child exists. It goes down as the last thing that the child does: its closure
//!    has been consumed then, or dropped (also if the runtime ends and the child is only cancelled), and its result has been
//!    dropped, or is the handle's. Child and handle each set a bit when they end, and the second one to do so drops what nobody has
//!    joined; so no result is left for the destructor of the fiber's block, which comes later. A panic in the destructor of a
//!    result is caught, and does not keep the rest from being dropped. A handle cannot outlive `'scope`: it belongs to the
//!    closure of the scope, or to a child that is still counted, or is leaked, and its result with it. What the child does after
//!    its count touches memory of its own, and fiber-locals, which are `'static`. The outcome that a join waits for is no part
//!    of this: a shutdown completes it for fibers that it has given up.
//! 2. *Who may count up.* The closure of the scope, and children: each is over when its own count is. So zero is final once the
//!    closure has ended.
//! 3. *Every way out of the frame waits.* The normal way waits in `Frame::end`. All others are unwindings: a panic of the closure, a
//!    shutdown that raises into an operation of the closure or into that wait, a deadlock that is reported to the main fiber. They
//!    pass the destructor of `Frame`, which waits as well. Nothing is raised there: a perform that blocks while its fiber unwinds
//!    waits as if nothing had happened. Should it panic after all, the process aborts, as with any second panic in an unwinding.
//! 4. *What a shutdown gives up.* A child that is leaked never counts down. Then the fiber of the frame waits in its destructor until
//!    the end of the run, and is leaked as well, its stack with it. The same goes for `Shutdown::Leak`. No stack is unmapped, and no
//!    thread of a runtime ends, before all its workers have left the run: thus even what a frame has borrowed from a thread-local
//!    is there for as long as a child of it runs.
//! 5. *What comes after the run.* An unstarted child may stay in a queue, and be started in the next run, or be cancelled with the
//!    runtime, by any thread. The stack of its frame is still there, the thread-locals perhaps not. So a child that finds itself
//!    outside of the run in which it was spawned neither runs nor drops its closure, but leaves it as it is.
//! 6. *Other runtimes.* They end at other times than the one that the frame belongs to, so nobody spawns into a scope from there, nor
//!    from a plain thread: both panic before anything is made.

mod child;
mod group;
mod join_all;
mod par;
mod race;

pub use child::ScopedJoinHandle;
pub use group::{TryScope, try_scope};
pub use join_all::{Join, JoinAllOp, join_all};
pub use par::{ParMap, par_for_each, par_map, try_par_for_each, try_par_map};
pub use race::{first_ok, race};

use crate::fiber::{Builder, JoinError};
use crate::op::event::Event;
use crate::op::{EventLeaf, Graph, Op, Receive, event_leaf};
use crate::sched::{self, Report};
use crate::sync::WaitGroup;
use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, PoisonError};

/// Runs `f`, and returns its value after every child that was spawned through the [`Scope`] has ended. Children may borrow from
/// the caller, and run on any worker.
///
/// As [`std::thread::scope`], with fibers for threads. A scope can also be [cancelled](Scope::cancel), which its children see if
/// they look for it.
///
/// ```
/// use fibers::scope;
/// fibers::run(|| {
///     let words = vec!["one", "two", "three"];
///     let mut longest = 0;
///     let total: usize = scope(|s| {
///         let lengths: Vec<_> = words.iter().map(|word| s.spawn(move || word.len())).collect();
///         s.spawn(|| longest = words.iter().map(|word| word.len()).max().unwrap());
///         lengths.into_iter().map(|length| length.join().unwrap()).sum()
///     });
///     assert_eq!((total, longest), (11, 5));
/// });
/// ```
///
/// # Panics
/// - With the panic of `f`, after the scope was cancelled and all children have ended.
/// - With the panic of a child that nobody has joined; of several, with that of the first one.
/// - On a plain thread, and where suspending is forbidden: before `f` runs.
///
/// # Blocking
/// Suspends the fiber until all children have ended, in whatever way `f` ends: also while it unwinds, from a panic or because its
/// runtime shuts down. A child that a shutdown gives up, since it does not let itself be unwound, keeps the frame for ever: both are
/// leaked.
#[track_caller]
pub fn scope<'env, F, T>(f: F) -> T
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
{
    let scope = Scope::open();
    let data = &*scope.data;
    data.around(|| f(&scope))
}

/// Where children are spawned that end before the block does; see [`scope()`].
///
/// A receive, `<-s`, waits until the scope is cancelled.
pub struct Scope<'scope, 'env: 'scope> {
    data: Arc<ScopeData>,
    /// Invariant, as in the standard library: a shorter `'scope` would let a child borrow from the closure of the scope, a longer
    /// `'env` what dies too early.
    _scope: PhantomData<&'scope mut &'scope ()>,
    _env: PhantomData<&'env mut &'env ()>,
}

/// What is refused where suspending is forbidden.
struct Opening;

impl Report for Opening {
    fn report(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a scope, which waits for its children")
    }
}

/// What a scope and its children share. Children have it counted: the last one lets the frame go while it still holds this.
struct ScopeData {
    /// The run that the frame belongs to.
    run: u64,
    /// Children that have not dropped all they borrow.
    children: WaitGroup,
    cancelled: Event,
    panics: Mutex<Panics>,
}

/// Panics of children that nobody joins.
#[derive(Default)]
struct Panics {
    /// How many children have panicked, joined or not.
    count: u64,
    /// The one that came first, and its number.
    first: Option<(u64, Box<dyn Any + Send>)>,
}

impl<'scope, 'env> Scope<'scope, 'env> {
    #[track_caller]
    fn open() -> Self {
        let Some(here) = sched::here() else {
            panic!("a scope was opened outside of a runtime: call it inside fibers::run(..) or Runtime::run(..)")
        };
        if sched::may_not_suspend(Some(here)) {
            sched::refuse_to_suspend(Some(here), &Opening);
        }
        Scope {
            data: Arc::new(ScopeData {
                run: here.run_number(),
                children: WaitGroup::new(),
                cancelled: Event::new(),
                panics: Mutex::default(),
            }),
            _scope: PhantomData,
            _env: PhantomData,
        }
    }

    /// Starts a child. It may borrow everything that outlives the scope, and the scope itself, to spawn siblings.
    ///
    /// Dropping the handle detaches the child within the scope: nobody takes its result, the scope waits for it all the same. If it
    /// panics then, the scope is cancelled, and the panic raised again at the end of the scope.
    ///
    /// ```
    /// use fibers::scope;
    /// use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
    /// fibers::run(|| {
    ///     let visited = AtomicU32::new(0);
    ///     scope(|s| {
    ///         s.spawn(|| {
    ///             visited.fetch_add(1, Relaxed);
    ///             s.spawn(|| visited.fetch_add(1, Relaxed)); // a child of the scope, not of its sibling
    ///         });
    ///     });
    ///     assert_eq!(visited.into_inner(), 2);
    /// });
    /// ```
    ///
    /// # Panics
    /// If no stack can be had (see [`Builder::spawn_scoped`] for an error instead), and on a thread or in a runtime other than that
    /// of the scope.
    #[track_caller]
    pub fn spawn<F, T>(&'scope self, f: F) -> ScopedJoinHandle<'scope, T>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        Builder::new()
            .spawn_scoped(self, f)
            .unwrap_or_else(|error| panic!("cannot spawn a fiber: {error}"))
    }

    /// Cancels the scope: [`cancelled_op`](Scope::cancelled_op) is ready from now on. No child is ended by force: those that
    /// look for it end themselves.
    ///
    /// The scope cancels itself when its closure panics or is unwound, and when a child has panicked that nobody can join any
    /// more.
    pub fn cancel(&self) {
        self.data.cancel();
    }

    /// Whether the scope has been cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.data.cancelled.is_set()
    }

    /// The operation that is ready once the scope is cancelled: for an arm beside what a child waits for.
    ///
    /// A scope inside of a scope is cancelled for itself: its children look for both, if both concern them.
    ///
    /// ```
    /// use fibers::{Op, channel, op, scope};
    /// fibers::run(|| {
    ///     let (_tx, rx) = channel::<u32>(0);
    ///     scope(|s| {
    ///         let child = s.spawn(|| op::choice((rx.recv_op().wrap(|v| v.ok()), s.cancelled_op().wrap(|()| None))).perform());
    ///         s.cancel();
    ///         assert_eq!(child.join().unwrap(), None);
    ///     });
    /// });
    /// ```
    pub fn cancelled_op(&self) -> CancelledOp<'_> {
        CancelledOp(&self.data.cancelled)
    }

    /// How many children have not ended.
    pub fn running(&self) -> usize {
        self.data.children.count()
    }
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope")
            .field("running", &self.running())
            .field("cancelled", &self.is_cancelled())
            .finish()
    }
}

impl Receive for Scope<'_, '_> {
    type Output = ();
    type Op<'a>
        = CancelledOp<'a>
    where
        Self: 'a;

    fn receive_op(&self) -> CancelledOp<'_> {
        self.cancelled_op()
    }
}

/// See [`Scope::cancelled_op`].
#[derive(Clone, Copy)]
#[must_use = "an operation does nothing until it is performed"]
pub struct CancelledOp<'a>(&'a Event);

impl fmt::Debug for CancelledOp<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelledOp").field("cancelled", &self.0.is_set()).finish()
    }
}

impl<'a> Op for CancelledOp<'a> {
    type Output = ();
    type Branches = EventLeaf<&'a Event>;
    const IMMEDIATE: bool = true;

    fn force(self) -> Self::Branches {
        event_leaf(self.0, "scope cancelled")
    }

    fn graph(&self) -> Graph {
        Graph::leaf("scope cancelled")
    }
}

impl ScopeData {
    /// Runs the closure of the scope, and comes back when it and all children have ended. The frame of this function is the one
    /// that must not be left before.
    fn around<T>(&self, f: impl FnOnce() -> T) -> T {
        let frame = Frame(self);
        let value = f();
        frame.end();
        if let Some(payload) = self.take_panic() {
            raise(payload);
        }
        value
    }

    fn cancel(&self) {
        self.cancelled.set(sched::here());
    }

    fn wait_for_children(&self) {
        while self.children.count() != 0 {
            self.children.wait_op().label("the children of a scope").perform();
        }
    }

    fn panics(&self) -> std::sync::MutexGuard<'_, Panics> {
        // No code of users runs under it.
        self.panics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of a panic that has just happened.
    fn number_panic(&self) -> u64 {
        let mut panics = self.panics();
        panics.count += 1;
        panics.count
    }

    /// Nobody has joined the child with this panic, nor will.
    fn keep_panic(&self, number: u64, payload: Box<dyn Any + Send>) {
        let mut panics = self.panics();
        let is_first = panics.first.as_ref().is_none_or(|(first, _)| number < *first);
        let other = if is_first {
            panics.first.replace((number, payload)).map(|(_, payload)| payload)
        } else {
            Some(payload)
        };
        drop(panics);
        self.cancel();
        drop(other);
    }

    fn take_panic(&self) -> Option<Box<dyn Any + Send>> {
        let first = self.panics().first.take();
        first.map(|(_, payload)| payload)
    }
}

/// The value of a child; the caller goes on as the child has ended, if there is none.
fn value_of<T>(joined: Result<T, JoinError>) -> T {
    joined.unwrap_or_else(|error| match error.into_payload() {
        Ok(payload) => raise(payload),
        // The runtime of both ends.
        Err(_) => sched::unwind(),
    })
}

/// Goes on with the panic of a child.
fn raise(payload: Box<dyn Any + Send>) -> ! {
    if let Some(here) = sched::here() {
        here.mark_panicking(); // no panic hook sees it
    }
    resume_unwind(payload)
}

/// Between the opening of a scope and its end. Left by [`Frame::end`], or else by unwinding.
struct Frame<'a>(&'a ScopeData);

impl Frame<'_> {
    fn end(self) {
        // Unwinding out of this comes through the destructor, which waits again.
        self.0.wait_for_children();
        mem::forget(self);
    }
}

impl Drop for Frame<'_> {
    #[cold]
    fn drop(&mut self) {
        if let Some(here) = sched::here() {
            // Whoever raised what passes here, the wait must not be raised into.
            here.mark_panicking();
        }
        self.0.cancel();
        self.0.wait_for_children();
        // It gives way to the panic that passes here. Out of this destructor a second one would end the process, so what the payload's
        // own says is left to the hook.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(self.0.take_panic())));
    }
}
