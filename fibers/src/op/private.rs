//! What the macros expand into: ordinary functions, so that an expansion stays small.

use super::basic::{Label, Text, Wrap};
use super::{Op, Receive, Transmit};
use crate::channel::error::SendError;

pub use super::basic::Arm;

/// `<-x`.
#[inline]
pub fn receive<R: Receive + ?Sized>(source: &R) -> R::Op<'_> {
    source.receive_op()
}

/// `x <- value`.
#[inline]
pub fn transmit<S: Transmit<T> + ?Sized, T>(sink: &S, value: T) -> S::Op<'_> {
    sink.transmit_op(value)
}

/// The end of an unbound send: as in Go, sending on a closed channel is a mistake of the program.
///
/// # Panics
/// If the channel was closed.
#[track_caller]
pub fn sent<T>(result: Result<(), SendError<T>>) {
    if result.is_err() {
        panic!("send on a closed channel; bind the result, as in `r = tx <- value => ..`, to handle this");
    }
}

/// An arm of a `select!`: an operation, the variant that its value goes into, and its text and place for graphs and reports.
///
/// No bound but the one on `O`: an operand that is no operation is reported once.
#[inline]
pub fn arm<O: Op, F>(op: O, variant: F, arm: &'static Arm) -> Label<Wrap<O, F>> {
    Label {
        op: Wrap { op, f: variant },
        label: Text::Arm(arm),
    }
}
