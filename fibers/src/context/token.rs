//! The tree of cancellation: who ends with whom, and who is to hear of it.
//!
//! A token is the part of a context that can end. It ends once, for one reason, and then so do its children.
//!
//! # Invariants
//! - A child counts its parent, a parent knows its children by weak references. So what nobody uses goes at once, parents after
//!   their children, and a token that has ended or gone is in no list: a loop over `with_timeout` leaves nothing behind.
//! - Once `ended` is set, `children` and `calls` are empty for ever: whoever comes later is told at once.
//! - A deadline is a number that each child inherits if it is earlier than its own. Nobody is sent around when it comes:
//!   whoever looks at a token whose deadline has passed ends it (a performer after it has committed). So a timeout costs no timer until somebody waits for it.
//! - `link` is this token's place in its parent's list. Whoever takes it out of `link` takes the token out of the list, so that
//!   happens once, and a place that is in use again is never freed by mistake.
//!
//! Trees may be as deep as memory allows: ending and dropping go through lists, not through recursion. No lock is held while
//! another one is taken, somebody is woken, or anything of the user is dropped.

use super::ContextError;
use super::after::Call;
use crate::op::cell::{Batch, Queue, RX_READY, Source, State};
use crate::prim::plain::{AtomicUsize, Ordering};
use crate::sched;
use slab::Slab;
use std::error::Error;
use std::mem;
use std::sync::{Arc, Weak};

/// Why a context has ended, in the words of whoever ended it.
pub(super) type Cause = Arc<dyn Error + Send + Sync>;

/// How a token has ended. Without a cause the error is the cause.
#[derive(Clone)]
pub(super) struct End {
    pub(super) error: ContextError,
    pub(super) cause: Option<Cause>,
}

/// What a token's lock guards.
#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct TokenState {
    ended: Option<End>,
    children: Slab<Weak<Token>>,
    /// Functions that wait for the end.
    calls: Slab<Arc<Call>>,
    pub(super) waiters: Queue<Option<ContextError>>,
}

impl TokenState {
    pub(super) fn error(&self) -> Option<ContextError> {
        self.ended.as_ref().map(|end| end.error)
    }
}

impl State for TokenState {
    fn readiness(&self) -> u32 {
        if self.ended.is_some() { RX_READY } else { 0 }
    }
}

/// See the head of the file.
pub(super) struct Token {
    source: Source<TokenState>,
    parent: Option<Arc<Token>>,
    /// [`NO_LINK`]: in no list.
    link: AtomicUsize,
    /// In nanoseconds of the runtime's clock; `u64::MAX` is never.
    deadline: u64,
    /// The cause if the deadline passes.
    late: Option<Cause>,
}

const NO_LINK: usize = usize::MAX;

impl Token {
    /// A token that ends with `parent`, and at `deadline` if that is earlier than the parent's.
    pub(super) fn new(parent: Option<&Arc<Token>>, deadline: u64, late: Option<Cause>) -> Arc<Token> {
        let (deadline, late) = match parent {
            Some(parent) if parent.deadline <= deadline => (parent.deadline, parent.late.clone()),
            _ => (deadline, late),
        };
        let token = Arc::new(Token {
            source: Source::new(TokenState {
                ended: None,
                children: Slab::new(),
                calls: Slab::new(),
                waiters: Queue::new(),
            }),
            parent: parent.cloned(),
            link: AtomicUsize::new(NO_LINK),
            deadline,
            late,
        });
        if let Some(parent) = parent {
            parent.settle();
            parent.adopt(&token);
        }
        token.settle();
        token
    }

    fn adopt(&self, child: &Arc<Token>) {
        let weak = Arc::downgrade(child);
        let mut state = self.source.lock();
        match state.ended.clone() {
            // Relaxed: the child's maker gives it away after this.
            None => child.link.store(state.children.insert(weak), Ordering::Relaxed),
            Some(end) => {
                drop(state);
                child.end_alone(end);
            }
        }
    }

    pub(super) fn source(&self) -> &Source<TokenState> {
        &self.source
    }

    pub(super) fn deadline(&self) -> u64 {
        self.deadline
    }

    /// Whether it has ended, or has to, since its deadline has passed.
    pub(super) fn is_due(&self) -> bool {
        self.source.peek(RX_READY) || self.is_late()
    }

    /// Whether its deadline has passed.
    pub(super) fn is_late(&self) -> bool {
        self.deadline != u64::MAX && self.deadline <= sched::now_ns()
    }

    /// Ends it if its deadline has passed. Not in the middle of a perform: what is dropped and started then is the user's.
    pub(super) fn settle(&self) {
        if !self.source.peek(RX_READY) && self.is_due() {
            self.end(ContextError::DeadlineExceeded, None);
        }
    }

    /// What it has ended with, for whoever may be told.
    pub(super) fn error(&self) -> Option<ContextError> {
        self.settle();
        if self.source.peek(RX_READY) {
            self.source.lock().error()
        } else {
            None
        }
    }

    pub(super) fn ended(&self) -> Option<End> {
        self.settle();
        if self.source.peek(RX_READY) {
            self.source.lock().ended.clone()
        } else {
            None
        }
    }

    pub(super) fn children(&self) -> usize {
        self.source.lock().children.len()
    }

    /// Ends it and all that is below it. Where a deadline has passed that was the reason, though nobody has looked.
    pub(super) fn end(&self, error: ContextError, cause: Option<Cause>) {
        let (now, end) = (sched::now_ns(), End { error, cause });
        let mut calls = Vec::new();
        let mut pending = self.end_alone_by(now, &end, &mut calls);
        while let Some(child) = pending.pop() {
            if let Some(child) = child.upgrade() {
                pending.append(&mut child.end_alone_by(now, &end, &mut calls));
            }
        }
        calls.into_iter().for_each(|call| call.start());
    }

    /// Ends this one token, and returns its children.
    fn end_alone_by(&self, now: u64, end: &End, calls: &mut Vec<Arc<Call>>) -> Vec<Weak<Token>> {
        let end = match self.deadline <= now {
            true => End {
                error: ContextError::DeadlineExceeded,
                cause: self.late.clone(),
            },
            false => end.clone(),
        };
        let (children, mut due) = self.end_alone(end);
        calls.extend(due.drain());
        children.into_iter().map(|(_, child)| child).collect()
    }

    fn end_alone(&self, end: End) -> (Slab<Weak<Token>>, Slab<Arc<Call>>) {
        let mut end = Some(end);
        let mut left = (Slab::new(), Slab::new());
        let mut batch = Batch::new();
        loop {
            let mut state = self.source.lock();
            if let (None, Some(end)) = (&state.ended, end.take()) {
                state.ended = Some(end);
                left = (mem::take(&mut state.children), mem::take(&mut state.calls));
            }
            // They look again and find the end. Their wheels may tell them as well, so nobody decides for them.
            let more = state.waiters.retry_all(&mut batch);
            drop(state);
            batch.wake(sched::here());
            if !more {
                break;
            }
        }
        self.leave();
        left
    }

    /// Takes it out of its parent's list.
    fn leave(&self) {
        let key = self.link.swap(NO_LINK, Ordering::Relaxed);
        if let (Some(parent), true) = (&self.parent, key != NO_LINK) {
            let mut state = parent.source.lock();
            let gone = state.children.try_remove(key);
            drop(state);
            drop(gone);
        }
    }

    /// Calls `call` when this ends, or now if it has ended.
    pub(super) fn call_at_end(&self, call: &Arc<Call>) {
        self.settle();
        let ours = call.clone();
        let mut state = self.source.lock();
        if state.ended.is_none() {
            // Relaxed: the maker of the call gives it away after this.
            call.link.store(state.calls.insert(ours), Ordering::Relaxed);
        } else {
            drop(state);
            call.clone().start();
        }
    }

    /// Forgets a call, unless it has been made.
    pub(super) fn forget(&self, call: &Call) {
        let key = call.link.swap(NO_LINK, Ordering::Relaxed);
        let mut state = self.source.lock();
        let gone = state.calls.try_remove(key);
        drop(state);
        drop(gone);
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        self.leave();
        let mut next = self.parent.take();
        while let Some(mut token) = next.and_then(Arc::into_inner) {
            token.leave();
            next = token.parent.take();
        }
    }
}
