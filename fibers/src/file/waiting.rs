//! A system call as an operation: tried, and tried again whenever its descriptor has changed.
//!
//! The call is made in attempts only, never while anything of the perform is published; one that succeeds is the commit. So a
//! branch that loses has made no call that took or gave anything: no byte is lost. A published branch waits to be told to look
//! again ([`Waiters`]), and whoever is told starts over with attempts.

use super::{Direction, File, Side, Waiters, closed};
use crate::op::cell::{Attempt, Exchange, Me, Node, Queue};
use crate::op::{Branches, Graph, Op, Picker};
use crate::prim::{Arc, Ordering};
use crate::sched::WaitKind;
use std::cell::{Cell as Plain, RefCell};
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// The operation that makes the call `attempt` until it does not fail with `WouldBlock`. `what` describes it in reports.
///
/// `attempt` is called on the performer, with nothing locked and nothing published. If it says that it would block although the
/// descriptor is ready in this direction, it is called again only after the next change. Without a descriptor, changes are what
/// [`File::changed`] tells of.
pub(crate) fn io_op<'a, T, F: FnMut(&mut Look<'_>) -> io::Result<T>>(
    file: &'a Arc<File>,
    fd: Option<BorrowedFd<'a>>,
    direction: Direction,
    what: &'static str,
    attempt: F,
) -> IoOp<Borrowed<'a, F>> {
    let attempt = RefCell::new(attempt);
    call_op(Borrowed { file, fd, attempt }, direction, what)
}

/// As [`io_op`], of a call that may own its descriptor.
pub(crate) fn call_op<C: Call>(call: C, direction: Direction, what: &'static str) -> IoOp<C> {
    IoOp { call, direction, what }
}

/// What is tried, on which descriptor.
pub(crate) trait Call {
    type Output;

    /// Who waits for the descriptor.
    fn file(&self) -> &Arc<File>;

    /// The descriptor, if there is one, handed to `use_it`.
    fn with_fd<R>(&self, use_it: impl FnOnce(BorrowedFd<'_>) -> R) -> Option<R>;

    /// One call, as [`io_op`] has it.
    fn attempt(&self, look: &mut Look<'_>) -> io::Result<Self::Output>;
}

/// A call on a descriptor of somebody else.
#[derive(Clone)]
pub(crate) struct Borrowed<'a, F> {
    file: &'a Arc<File>,
    fd: Option<BorrowedFd<'a>>,
    attempt: RefCell<F>,
}

impl<T, F: FnMut(&mut Look<'_>) -> io::Result<T>> Call for Borrowed<'_, F> {
    type Output = T;

    fn file(&self) -> &Arc<File> {
        self.file
    }

    fn with_fd<R>(&self, use_it: impl FnOnce(BorrowedFd<'_>) -> R) -> Option<R> {
        self.fd.map(use_it)
    }

    #[inline]
    fn attempt(&self, look: &mut Look<'_>) -> io::Result<T> {
        (self.attempt.borrow_mut())(look)
    }
}

/// See [`io_op`].
#[derive(Clone)]
#[must_use = "an operation does nothing until it is performed"]
pub(crate) struct IoOp<C> {
    call: C,
    direction: Direction,
    what: &'static str,
}

impl<C: Call> IoOp<C> {
    fn describe(&self) -> Graph {
        match self.call.with_fd(|fd| fd.as_raw_fd()) {
            Some(fd) => Graph::leaf(format!("{} {fd}", self.what)),
            None => Graph::leaf(self.what),
        }
    }
}

impl<C> fmt::Debug for IoOp<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("IoOp").field(&self.what).finish()
    }
}

impl<C: Call> Op for IoOp<C> {
    type Output = io::Result<C::Output>;
    type Branches = IoBranches<C>;
    const IMMEDIATE: bool = true;

    #[inline]
    fn force(self) -> Self::Branches {
        IoBranches {
            op: self,
            node: Node::new(()),
            found: Plain::new(None),
            tried: Plain::new(None),
        }
    }

    fn graph(&self) -> Graph {
        self.describe()
    }
}

/// What one attempt knows of its descriptor.
#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct Look<'a> {
    side: &'a Side,
    tick: u32,
    /// Whoever makes it waits for this descriptor, and for nothing else, if the call would block.
    waits: bool,
}

impl Look<'_> {
    /// Whether a call before has taken less than it could have, and no event has told of anything since.
    ///
    /// The kernel may know better: nobody may watch the descriptor yet, or its event has not been served. So only who waits goes by
    /// this, since the wait ends with that event. A try, or another branch of a choice, would take it for an answer.
    ///
    /// For stream sockets alone, as [`drained`](Look::drained) is.
    pub(crate) fn is_drained(&self) -> bool {
        // Relaxed: a number that matches was stored for this very tick; that nothing has come since is known by the tick.
        self.waits && self.side.drained.load(Ordering::Relaxed) == self.tick.wrapping_add(1)
    }

    /// The call has taken less than it could have: the next one would block, unless something comes. (epoll(7), questions and
    /// answers, 9.) That holds for TCP while nothing but data comes: the end may come together with the data, in one event.
    pub(crate) fn drained(&self) {
        if !self.side.special.load(Ordering::Relaxed) {
            self.side.drained.store(self.tick.wrapping_add(1), Ordering::Relaxed);
        }
    }
}

/// A forced [`IoOp`].
pub(crate) struct IoBranches<C: Call> {
    op: IoOp<C>,
    node: Node<()>,
    /// What the attempt that has succeeded brought.
    found: Plain<Option<io::Result<C::Output>>>,
    /// The tick at which an attempt would have blocked.
    tried: Plain<Option<u32>>,
}

impl<C: Call> IoBranches<C> {
    fn side(&self) -> &Side {
        self.op.call.file().side(self.op.direction)
    }

    /// Makes the call. None: it would block.
    #[inline]
    fn look(&self, waits: bool) -> Option<io::Result<C::Output>> {
        let side = self.side();
        // Before the call: what changes after this is not known to it.
        let tick = side.tick();
        self.tried.set(Some(tick));
        if self.op.call.file().is_closed() {
            return Some(Err(closed()));
        }
        loop {
            return match self.op.call.attempt(&mut Look { side, tick, waits }) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => Some(result),
            };
        }
    }

    /// The descriptor has changed after the attempt, so that this performer must not wait for it. Other branches may be published.
    #[cold]
    fn look_again(&self, me: &Me<'_>) -> Attempt {
        let waiter = me.cell().waiter();
        if !me.cell().retry() {
            return Attempt::Lost;
        }
        // As a source would: it consumes this wake when it parks.
        waiter.wake(me.here());
        Attempt::Wait
    }
}

/// Queues whoever has seen this tick, unless it has changed.
struct SinceTick<'a> {
    side: &'a Side,
    tick: Option<u32>,
}

impl Exchange<Waiters, ()> for SinceTick<'_> {
    #[inline]
    fn attempt(&self, _: &mut Waiters, (): &mut (), _: &mut Me<'_>) -> Attempt {
        match self.tick == Some(self.side.tick()) {
            true => Attempt::Wait,
            false => Attempt::Lost,
        }
    }

    fn queue(state: &mut Waiters) -> &mut Queue<()> {
        &mut state.queue
    }
}

impl<C: Call> Branches for IoBranches<C> {
    type Output = io::Result<C::Output>;

    fn leaves(&self) -> usize {
        1
    }

    fn pick(&self, picker: &mut Picker) {
        picker.leaf(self.tried.get() != Some(self.side().tick()));
    }

    #[inline]
    fn attempt(&self, _: usize, me: &mut Me<'_>) -> Attempt {
        match self.look(me.is_lone()) {
            Some(result) => {
                self.found.set(Some(result));
                Attempt::Done(None)
            }
            None => Attempt::Wait,
        }
    }

    /// Of a choice every branch has been tried before, and something of it may be published now; a lone one is tried here.
    #[inline]
    fn publish(&self, leaf: usize, me: &mut Me<'_>) -> Attempt {
        loop {
            if me.is_lone()
                && let Attempt::Done(waiter) = self.attempt(leaf, me)
            {
                return Attempt::Done(waiter);
            }
            let call = &self.op.call;
            if let Some(Err(error)) = call.with_fd(|fd| call.file().watch(fd)) {
                if !me.commit() {
                    return Attempt::Lost;
                }
                self.found.set(Some(Err(error)));
                return Attempt::Done(None);
            }
            let since = SinceTick {
                side: self.side(),
                tick: self.tried.get(),
            };
            match self.node.publish(&self.side().source, me, &since) {
                Attempt::Lost if me.is_lone() => {}
                Attempt::Lost => return self.look_again(me),
                result => return result,
            }
        }
    }

    fn retract(&self, _: usize) {
        self.node.retract(&self.side().source, |state| &mut state.queue);
    }

    fn abandon(&mut self, _: Option<usize>) {}

    fn finish(&mut self, _: usize) -> io::Result<C::Output> {
        self.found.take().expect("an attempt that succeeds leaves its result")
    }

    fn kind(&self) -> WaitKind {
        WaitKind::Io
    }

    fn graph(&self) -> Graph {
        self.op.describe()
    }
}
