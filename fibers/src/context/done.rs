//! Waiting for the end of a context.
//!
//! A waiter stands in the queue of the token, and if there is a deadline also on the wheel of its own worker. Both tell it to look
//! again, and neither decides for it, so that they need not know of each other; what it finds when it looks is settled.

use super::token::{Token, TokenState};
use super::{Context, ContextError};
use crate::op::cell::{Attempt, Me, Queue, RX_READY, Source};
use crate::op::leaf::{Leaf, Side};
use crate::op::{AlarmLeaf, Alarmed, Branches, Graph, Op, Picker, Receive, alarm_leaf, biased};
use crate::sched::{self, WaitKind};
use std::fmt;
use std::time::Duration;

impl Context {
    /// Waits until the context has ended, and says how.
    ///
    /// # Blocking
    /// Suspends the fiber, or blocks the thread; for ever if the context never ends.
    pub fn done(&self) -> ContextError {
        self.done_op().perform()
    }

    /// The operation that is ready once the context has ended, and yields how. In a `select!` also `<-ctx`.
    ///
    /// ```
    /// use fibers::context::{Context, ContextError};
    /// use fibers::{Op, channel};
    /// use std::time::Duration;
    ///
    /// let (ctx, _cancel) = Context::background().with_timeout(Duration::from_millis(1));
    /// let (_tx, rx) = channel::<u32>(0);
    /// let got = rx.recv_op().wrap(|_| None).or(ctx.done_op().wrap(Some)).perform();
    /// assert_eq!(got, Some(ContextError::DeadlineExceeded));
    /// ```
    pub fn done_op(&self) -> DoneOp<'_> {
        DoneOp(self.token.as_deref())
    }

    /// Performs `op`, unless the context ends before that. If both are possible the context has ended.
    ///
    /// Cancellation reaches nobody who does not ask for it: a plain `rx.recv()` goes on waiting. This is how to ask.
    ///
    /// # Errors
    /// How the context has ended; `op` has then not happened.
    ///
    /// # Blocking
    /// As `op`, for no longer than the context lasts.
    ///
    /// ```
    /// use fibers::channel;
    /// use fibers::context::{Context, ContextError};
    ///
    /// let (tx, rx) = channel::<u32>(1);
    /// let (ctx, cancel) = Context::background().with_cancel();
    /// tx.send(1).unwrap();
    /// assert_eq!(ctx.run(rx.recv_op()), Ok(Ok(1)));
    /// cancel.cancel();
    /// assert_eq!(ctx.run(rx.recv_op()), Err(ContextError::Cancelled));
    /// ```
    pub fn run<O: Op>(&self, op: O) -> Result<O::Output, ContextError> {
        self.run_op(op).perform()
    }

    /// The operation behind [`Context::run`]: `op`, or the end of the context.
    pub fn run_op<O: Op>(&self, op: O) -> impl Op<Output = Result<O::Output, ContextError>> {
        biased((self.done_op().wrap(Err), op.wrap(Ok)))
    }
}

impl Receive for Context {
    type Output = ContextError;
    type Op<'a> = DoneOp<'a>;

    fn receive_op(&self) -> DoneOp<'_> {
        self.done_op()
    }
}

/// See [`Context::done_op`].
#[derive(Clone, Copy)]
#[must_use = "an operation does nothing until it is performed"]
pub struct DoneOp<'a>(Option<&'a Token>);

impl fmt::Debug for DoneOp<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DoneOp({})", self.graph())
    }
}

impl<'a> Op for DoneOp<'a> {
    type Output = ContextError;
    type Branches = <Option<Ending<'a>> as Op>::Branches;
    const IMMEDIATE: bool = true;

    fn force(self) -> Self::Branches {
        self.0.map(Ending).force()
    }

    fn graph(&self) -> Graph {
        self.0
            .map_or_else(|| Graph::leaf("context (never ends)"), |token| Op::graph(&Ending(token)))
    }
}

/// Waits for the end of a token.
#[derive(Clone, Copy)]
#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct Ending<'a>(&'a Token);

impl<'a> Op for Ending<'a> {
    type Output = ContextError;
    type Branches = EndBranches<'a>;
    const IMMEDIATE: bool = true;

    fn force(self) -> EndBranches<'a> {
        EndBranches {
            token: self.0,
            leaf: Leaf::new(self, None),
            alarm: alarm_leaf(0, self.0.deadline(), Alarmed::Retry),
        }
    }

    fn graph(&self) -> Graph {
        Graph::leaf(match self.0.deadline() {
            u64::MAX => "context".to_string(),
            deadline => {
                let left = deadline.saturating_sub(sched::now_ns());
                format!("context, {:?} left", Duration::from_nanos(left))
            }
        })
    }
}

impl Side for Ending<'_> {
    type State = TokenState;
    type Slot = Option<ContextError>;
    type Output = ContextError;

    const READY: u32 = RX_READY;
    const KIND: WaitKind = WaitKind::Other;

    fn source(&self) -> &Source<TokenState> {
        self.0.source()
    }

    fn attempt(&self, state: &mut TokenState, slot: &mut Option<ContextError>, me: &mut Me<'_>) -> Attempt {
        *slot = state
            .error()
            .or_else(|| self.0.is_late().then_some(ContextError::DeadlineExceeded));
        match slot {
            None => Attempt::Wait,
            Some(_) if me.commit() => Attempt::Done(None),
            Some(_) => Attempt::Lost,
        }
    }

    fn queue(state: &mut TokenState) -> &mut Queue<Option<ContextError>> {
        &mut state.waiters
    }

    fn output(&mut self, slot: &mut Option<ContextError>) -> ContextError {
        slot.take().expect("a context that was seen ended")
    }

    fn graph(&self) -> Graph {
        Op::graph(self)
    }
}

/// Waits in the token's queue, and on the wheel for its deadline.
#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct EndBranches<'a> {
    token: &'a Token,
    leaf: Leaf<Ending<'a>>,
    alarm: AlarmLeaf,
}

impl Branches for EndBranches<'_> {
    type Output = ContextError;

    fn leaves(&self) -> usize {
        1
    }

    fn pick(&self, picker: &mut Picker) {
        picker.leaf(self.token.is_due());
    }

    fn attempt(&self, leaf: usize, me: &mut Me<'_>) -> Attempt {
        self.leaf.attempt(leaf, me)
    }

    fn publish(&self, leaf: usize, me: &mut Me<'_>) -> Attempt {
        let result = self.leaf.publish(leaf, me);
        if matches!(result, Attempt::Wait) {
            self.alarm.arm(me);
        }
        result
    }

    fn retract(&self, leaf: usize) {
        self.alarm.disarm();
        self.leaf.retract(leaf);
    }

    fn abandon(&mut self, _: Option<usize>) {}

    fn finish(&mut self, leaf: usize) -> ContextError {
        // It may be the clock alone that has said so. The token ends here and not before, since what is dropped and started then
        // is the user's, and may suspend: other branches of the perform are published until it is over.
        self.token.settle();
        self.leaf.finish(leaf)
    }

    fn kind(&self) -> WaitKind {
        WaitKind::Other
    }

    fn graph(&self) -> Graph {
        self.leaf.graph()
    }
}
