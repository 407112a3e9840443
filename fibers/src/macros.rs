//! `select!`, `go!` and `defer!` as users see them.
//!
//! A procedural macro does not know by which name its user knows this crate. So each of them is hidden behind a `macro_rules!`
//! that hands in `$crate`, and passes on all other tokens as they are, so that errors point at them.

#[doc(inline)]
pub use fibers_macros::{main, test};

/// What the macros below expand to, under `__private`.
#[doc(hidden)]
pub mod entries {
    pub use fibers_macros::{defer, go, select};
}

/// Waits for several operations; exactly one of them happens.
///
/// An arm is `[pattern =] operation [if condition] [else block] => body`. An operation is `<-rx` (receive), `tx <- value` (send),
/// or any expression whose type is an [`Op`](crate::Op).
///
/// ```
/// use fibers::{channel, select};
/// use std::time::Duration;
///
/// fibers::run(|| {
///     let (jobs, inbox) = channel::<u32>(1);
///     let (quit, done) = channel::<()>(0);
///     let mut served = 0;
///     fibers::go! { for job in 0..3 { jobs.send(job).unwrap(); } };
///     loop {
///         select! {
///             biased;
///             Ok(job) = <-inbox else { break } => served += job,
///             _ = <-done => break,
///             _ = fibers::time::sleep_op(Duration::from_secs(10)) => panic!("nobody works"),
///         }
///     }
///     assert_eq!(served, 3);
///     drop(quit);
/// });
/// ```
///
/// | line | meaning |
/// |---|---|
/// | `biased;` | first line, optional: the earliest ready arm wins; otherwise all ready arms are equally likely |
/// | `v = <-rx => ..` | `v: Result<T, RecvError>` |
/// | `Ok(v) = <-rx else { break } => ..` | a pattern that may not match needs an `else` that leaves |
/// | `<-quit => ..` | the value is dropped before the body runs |
/// | `tx <- v => ..` | panics if the channel is closed |
/// | `r = tx <- v => ..` | `r: Result<(), SendError<T>>` |
/// | `v = <-rx if c => ..` | if `c` is false, the arm is absent and its operand is not evaluated |
/// | `c = listener.accept_op() => ..` | any operation, by value |
/// | `default => ..` | last line, optional: nothing was ready |
///
/// - It is an expression; all bodies have one type. They run outside of any closure: `?`, `break`, `continue` and `return` work.
/// - Operands are evaluated once each, in source order, before anything happens. Their temporaries are dropped before the body
///   runs.
/// - `<-` is one token: `a <- b` is a send, `a < -b` a comparison. The end of a channel may be any postfix expression,
///   `self.jobs[i].tx <- v`.
/// - `<-x` borrows `x` as a [`Receive`](crate::op::Receive), `x <- v` as a [`Transmit`](crate::op::Transmit).
/// - `select! {}` blocks for ever.
///
/// # Panics
/// If an unbound send finds its channel closed, and with what operands and bodies panic with.
///
/// # Blocking
/// Suspends the fiber, or blocks the thread, until an arm happens; with `default`, not at all.
#[macro_export]
macro_rules! select {
    ($($lines:tt)*) => { $crate::__private::macros::select! { [$crate] $($lines)* } };
}

/// Starts a fiber.
///
/// ```
/// use fibers::{channel, go};
///
/// fn double(n: u32) -> u32 { n * 2 }
///
/// fibers::run(|| {
///     let (tx, rx) = channel::<u32>(0);
///     let handle = go!(double(20 + 1));        // the argument is evaluated now, the call runs in the fiber
///     assert_eq!(handle.join().unwrap(), 42);
///     go!(name = "sender", clone(tx); { tx.send(1).unwrap(); });
///     assert_eq!(rx.recv(), Ok(1));
///     go!(tx <- 2);                            // an operation
///     assert_eq!(rx.recv(), Ok(2));
/// });
/// ```
///
/// | form | runs |
/// |---|---|
/// | `go!(f(a, b))`, `go!(x.m(a))` | the call; callee, receiver and arguments are evaluated now, by value |
/// | `go! { .. }` | the block, which moves what it mentions |
/// | `go!(\|\| ..)`, `go!(move \|\| ..)` | the closure, as it is |
/// | `go!(tx <- v)`, `go!(<-rx)` | the operation; the ends and the value move now |
///
/// The form is decided by the tokens, not by the brackets: a single call, in whatever brackets, evaluates its arguments now;
/// with a semicolon, `go! { f(a); }`, it is a block. A receiver moves into the fiber, also where the method only borrows it:
/// `go!(x.clone().m())` keeps `x`. A receiver that is itself a call, as in `go! { tx.send(1).unwrap() }`, is refused: it would
/// run now, which is rarely meant.
///
/// Options come first, and end with a semicolon: `go!(name = "acceptor", stack = 1 << 20; f(a))`.
///
/// | option | meaning |
/// |---|---|
/// | `name = "..."` | the fiber's name in reports and panic messages |
/// | `stack = bytes` | a stack of its own, of that size |
/// | `local` | runs on the current worker, and need not be `Send` |
/// | `spread` | starts on another worker than its siblings |
/// | `worker = n` | starts on worker `n` |
/// | `scope = s` | a child of the [`Scope`](crate::Scope) `s`, which may borrow: spawned by `s.spawn(..)`, or by [`Builder::spawn_scoped`](crate::fiber::Builder::spawn_scoped) if there is a name, a stack size or `spread` |
/// | `clone(tx, wg)` | the fiber gets clones of these variables |
///
/// In a scope, `go!(scope = s; || ..)` borrows what it mentions, where the block `{ .. }` moves it, and `worker` and `local` are
/// refused: a child runs anywhere. Without other options `s` may be a [`TryScope`](crate::scope::TryScope) as well.
///
/// The value is the fiber's [`JoinHandle`](crate::JoinHandle) (of a child: its [`ScopedJoinHandle`](crate::ScopedJoinHandle)), which
/// may be ignored. A call in braces ends with `;` if it is a
/// statement.
///
/// # Panics
/// Outside of a runtime, and if the system has no memory for another fiber; [`fiber::Builder`](crate::fiber::Builder) returns
/// that error instead.
#[macro_export]
macro_rules! go {
    ($($body:tt)*) => { $crate::__private::macros::go! { [$crate] $($body)* } };
}

/// Runs something at the end of the enclosing block, however it is left: at its end, by `return` or `?`, by a panic, by the
/// shutdown of the runtime. What was deferred last runs first.
///
/// ```
/// use fibers::{channel, defer};
///
/// let (tx, rx) = channel::<&str>(2);
/// {
///     defer!(tx <- "first deferred, last run");
///     defer! { tx.send("a block").unwrap(); }
/// }
/// assert_eq!(rx.recv(), Ok("a block"));
/// assert_eq!(rx.recv(), Ok("first deferred, last run"));
/// ```
///
/// `defer!(f(a))` and `defer!(x.m(a))` evaluate the arguments now and borrow the receiver until then; `defer! { a(); b() }`
/// evaluates everything at the end and borrows what it mentions; `defer!(tx <- v)` performs an operation, with `v` evaluated now.
///
/// The form is decided by the tokens, not by the brackets: a single call evaluates its arguments now in braces as well. With a
/// semicolon it is a block: `defer! { f(a); }`. A receiver that is itself a call, as in `defer! { m.lock().push(1) }`, is
/// refused: it would run now, which is rarely meant.
///
/// It is a statement. [`defer()`](crate::defer()) returns a guard that can be cancelled or run early.
#[macro_export]
macro_rules! defer {
    ($($body:tt)*) => { $crate::__private::macros::defer! { [$crate] $($body)* } };
}
