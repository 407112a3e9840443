//! Contexts: deadlines, cancellation and values that go along with a piece of work, as in Go.
//!
//! A [`Context`] is handed down, and each level may derive one of its own that ends earlier or knows more. When one ends, all that
//! were derived from it end as well. Nothing is interrupted by that: whoever works for a context listens to it, with
//! [`done_op`](Context::done_op) beside the other arms of a `select!` (`<-ctx`), or by [`ctx.run(op)`](Context::run).
//!
//! ```
//! use fibers::context::{Context, ContextError};
//! use fibers::{channel, run, spawn};
//!
//! run(|| {
//!     let (ctx, cancel) = Context::background().with_cancel();
//!     let (tx, rx) = channel::<u64>(0);
//!     let numbers = spawn(move || {
//!         let mut n = 0;
//!         // A send that the end of the context ends as well.
//!         while let Ok(Ok(())) = ctx.run(tx.send_op(n)) {
//!             n += 1;
//!         }
//!         ctx.err()
//!     });
//!     let sum: u64 = rx.iter().take(5).sum();
//!     cancel.cancel();
//!     assert_eq!((sum, numbers.join().unwrap()), (10, Some(ContextError::Cancelled)));
//! });
//! ```
//!
//! # The current context
//! A context may be passed as an argument, as in Go, or go along by itself: inside [`enter`](Context::enter) (or [`with`]) it is
//! what [`current`] yields, also to the fibers and blocking calls that are spawned there, and to those that they spawn. No
//! operation looks at it by itself. The main fiber of a run has that of the thread which calls `run`.
//!
//! # Deviations from Go
//! - A cancel function is a guard: [`CancelHandle`] cancels when it is dropped, as `defer cancel()` does in Go. Bind it to a name:
//!   with `let (ctx, _) = ..` it is dropped at once. To have a context that only its deadline or its parent ends, [`detach`](CancelHandle::detach) it.
//! - [`Context::err`] is as exact as the clock: it tells of a deadline from its very moment on, whether a timer has gone off or not.
//! - Keys have types, so a value cannot be taken for another one.

mod after;
mod done;
mod token;
mod values;

pub use after::AfterFunc;
pub use done::DoneOp;
pub use values::Key;

use crate::op::deadline_after;
use crate::sched;
use crate::time;
use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use token::{Cause, Token};
use values::Entry;

/// A deadline, a cancellation signal and values, for one piece of work and all that it starts. Clones are the same context.
///
/// See the [module](self) for what it is good for, and how it differs from Go's.
#[derive(Clone, Default)]
pub struct Context {
    /// What can end; a context without it never does.
    token: Option<Arc<Token>>,
    values: Option<Arc<Entry>>,
}

impl Context {
    /// The root of all: it never ends, and has no values.
    #[must_use]
    pub fn background() -> Context {
        Context::default()
    }

    /// A child that can be cancelled through the handle, which also happens when that is dropped.
    ///
    /// ```
    /// use fibers::context::{Context, ContextError};
    /// let (ctx, cancel) = Context::background().with_cancel();
    /// assert_eq!(ctx.err(), None);
    /// drop(cancel);
    /// assert_eq!(ctx.err(), Some(ContextError::Cancelled));
    /// ```
    pub fn with_cancel(&self) -> (Context, CancelHandle) {
        self.derive(u64::MAX, None)
    }

    /// As [`with_cancel`](Context::with_cancel), with a handle that is told why.
    ///
    /// ```
    /// use fibers::context::{Context, ContextError};
    /// let (ctx, cancel) = Context::background().with_cancel_cause();
    /// cancel.cancel("the disk is full");
    /// assert_eq!(ctx.err(), Some(ContextError::Cancelled));
    /// assert_eq!(ctx.cause().unwrap().to_string(), "the disk is full");
    /// ```
    pub fn with_cancel_cause(&self) -> (Context, CancelCauseHandle) {
        let (context, handle) = self.with_cancel();
        (context, CancelCauseHandle(handle))
    }

    /// A child that ends at `deadline`, or when this one does, if that is earlier. It can be cancelled before.
    pub fn with_deadline(&self, deadline: Instant) -> (Context, CancelHandle) {
        self.derive(time::deadline_of(deadline), None)
    }

    /// As [`with_deadline`](Context::with_deadline). If the deadline passes, `cause` is the [cause](Context::cause).
    pub fn with_deadline_cause(
        &self,
        deadline: Instant,
        cause: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> (Context, CancelHandle) {
        self.derive(time::deadline_of(deadline), Some(cause.into().into()))
    }

    /// A child that ends `duration` from now on, or when this one does, if that is earlier. It can be cancelled before. A duration
    /// too long to be represented is none.
    ///
    /// ```
    /// use fibers::context::{Context, ContextError};
    /// use std::time::Duration;
    /// let (ctx, _cancel) = Context::background().with_timeout(Duration::from_millis(1));
    /// assert_eq!(ctx.done(), ContextError::DeadlineExceeded);
    /// ```
    pub fn with_timeout(&self, duration: Duration) -> (Context, CancelHandle) {
        self.derive(deadline_after(sched::now_ns(), duration), None)
    }

    /// As [`with_timeout`](Context::with_timeout). If the time is over, `cause` is the [cause](Context::cause).
    pub fn with_timeout_cause(
        &self,
        duration: Duration,
        cause: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> (Context, CancelHandle) {
        self.derive(deadline_after(sched::now_ns(), duration), Some(cause.into().into()))
    }

    fn derive(&self, deadline: u64, late: Option<Cause>) -> (Context, CancelHandle) {
        let token = Token::new(self.token.as_ref(), deadline, late);
        let context = Context {
            token: Some(token.clone()),
            values: self.values.clone(),
        };
        (context, CancelHandle(Some(token)))
    }

    /// A child that has one more value. It ends with this one.
    ///
    /// ```
    /// use fibers::context::{Context, Key};
    /// static REQUEST: Key<u64> = Key::new("request");
    /// let ctx = Context::background().with_value(&REQUEST, 17);
    /// assert_eq!(ctx.value(&REQUEST), Some(&17));
    /// assert_eq!(Context::background().value(&REQUEST), None);
    /// ```
    #[must_use]
    pub fn with_value<T: Send + Sync + 'static>(&self, key: &'static Key<T>, value: T) -> Context {
        Context {
            token: self.token.clone(),
            values: Some(Entry::new(key, value, self.values.clone())),
        }
    }

    /// The same values, without end or deadline: for what has to be done although the work was cancelled.
    #[must_use]
    pub fn without_cancel(&self) -> Context {
        Context {
            token: None,
            values: self.values.clone(),
        }
    }

    /// How the context has ended; `None` as long as it has not. Once it has, the answer stays the same.
    pub fn err(&self) -> Option<ContextError> {
        self.token.as_ref()?.error()
    }

    /// Why the context has ended: what was given as the cause by whoever ended it or one of its ancestors, whichever came first.
    /// Without one, what [`err`](Context::err) says. `None` as long as it has not ended.
    pub fn cause(&self) -> Option<Arc<dyn Error + Send + Sync>> {
        let end = self.token.as_ref()?.ended()?;
        Some(end.cause.unwrap_or_else(|| Arc::new(end.error)))
    }

    /// When the context ends at the latest, if there is a deadline.
    pub fn deadline(&self) -> Option<Instant> {
        let deadline = self.token.as_ref()?.deadline();
        (deadline != u64::MAX).then(|| time::instant_of(deadline))
    }

    /// The value under this key, of this context or the nearest ancestor that has one.
    pub fn value<T>(&self, key: &'static Key<T>) -> Option<&T> {
        self.values.as_ref()?.find(key)
    }

    /// Makes this the [`current`] context while `f` runs, also for what is spawned meanwhile. The one before is restored after it,
    /// also if `f` panics.
    ///
    /// ```
    /// use fibers::context::{self, Context, Key};
    /// static USER: Key<&str> = Key::new("user");
    /// fn greeting() -> String {
    ///     format!("hello {}", context::current().value(&USER).unwrap_or(&"stranger"))
    /// }
    /// fibers::run(|| {
    ///     let ctx = Context::background().with_value(&USER, "gopher");
    ///     let greeted = ctx.enter(|| fibers::spawn(greeting)).join().unwrap();
    ///     assert_eq!((greeted, greeting()), ("hello gopher".into(), "hello stranger".into()));
    /// });
    /// ```
    pub fn enter<R>(&self, f: impl FnOnce() -> R) -> R {
        let _entered = sched::enter(Arc::new(self.clone()));
        f()
    }
}

/// The context that the caller has [entered](Context::enter), or that its fiber has inherited;
/// [`background`](Context::background) if there is none.
pub fn current() -> Context {
    let inherited = sched::inherited().and_then(|inherited| inherited.downcast::<Context>().ok());
    inherited.map_or_else(Context::background, Arc::unwrap_or_clone)
}

/// Makes `context` the [`current`] one while `f` runs: see [`Context::enter`].
pub fn with<R>(context: &Context, f: impl FnOnce() -> R) -> R {
    context.enter(f)
}

/// Takes no lock that anybody holds for longer than a few instructions, and ends nothing.
impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Context");
        if let Some(token) = &self.token {
            let error = token.source().lock().error();
            let left = token.deadline().saturating_sub(sched::now_ns());
            let left = (token.deadline() != u64::MAX).then(|| Duration::from_nanos(left));
            out.field("err", &error)
                .field("left", &left)
                .field("children", &token.children());
        }
        if let Some(values) = &self.values {
            out.field("values", values);
        }
        out.finish()
    }
}

/// Cancels its context when it is told to, or dropped. To cancel again, or after the deadline, changes nothing.
///
/// Where it is told to by another fiber than the one that owns it, put it into an `Arc`.
#[must_use = "dropping the handle cancels the context: bind it to a name such as `_cancel`, or `detach` it"]
pub struct CancelHandle(Option<Arc<Token>>);

impl CancelHandle {
    /// Cancels the context, and all that were derived from it. They have all ended when this returns, unless another call is just
    /// about to end them.
    pub fn cancel(&self) {
        self.cancel_as(None);
    }

    fn cancel_as(&self, cause: Option<Cause>) {
        if let Some(token) = &self.0 {
            token.end(ContextError::Cancelled, cause);
        }
    }

    /// Lets the context go on without its handle: from now on only its deadline and its ancestors end it.
    ///
    /// ```
    /// use fibers::context::Context;
    /// use std::time::Duration;
    /// let (ctx, cancel) = Context::background().with_timeout(Duration::from_secs(60));
    /// cancel.detach();
    /// assert_eq!(ctx.err(), None);
    /// ```
    pub fn detach(mut self) {
        self.0 = None;
    }
}

impl Drop for CancelHandle {
    fn drop(&mut self) {
        self.cancel();
    }
}

impl fmt::Debug for CancelHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CancelHandle")
    }
}

/// As [`CancelHandle`], with the cause: see [`Context::with_cancel_cause`].
#[derive(Debug)]
#[must_use = "dropping the handle cancels the context: bind it to a name such as `_cancel`, or `detach` it"]
pub struct CancelCauseHandle(CancelHandle);

impl CancelCauseHandle {
    /// Cancels the context because of `cause`: an error, or a text. The first cause stays.
    pub fn cancel(&self, cause: impl Into<Box<dyn Error + Send + Sync>>) {
        self.0.cancel_as(Some(cause.into().into()));
    }

    /// See [`CancelHandle::detach`].
    pub fn detach(self) {
        self.0.detach();
    }
}

/// How a context has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ContextError {
    /// It was cancelled, or one of its ancestors was.
    Cancelled,
    /// Its deadline has passed.
    DeadlineExceeded,
}

impl fmt::Display for ContextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ContextError::Cancelled => "the context was cancelled",
            ContextError::DeadlineExceeded => "the deadline of the context has passed",
        })
    }
}

impl Error for ContextError {}

/// So that `?` takes it where functions fail as input and output do: of kind `TimedOut` after a deadline, otherwise `Other`. It is
/// inside.
///
/// ```
/// use fibers::Context;
/// use fibers::net::TcpStream;
/// use std::{io, net::SocketAddr};
/// fn connect(ctx: &Context, to: SocketAddr) -> io::Result<TcpStream> {
///     ctx.run(TcpStream::connect_op(to))?
/// }
/// ```
impl From<ContextError> for io::Error {
    fn from(end: ContextError) -> io::Error {
        let kind = match end {
            ContextError::DeadlineExceeded => io::ErrorKind::TimedOut,
            // Not `Interrupted`, after which everybody tries again.
            ContextError::Cancelled => io::ErrorKind::Other,
        };
        io::Error::new(kind, end)
    }
}
