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

/// Which arm of a `select!` has happened, with the value of its operation.
macro_rules! selected {
    ($($Selected:ident($($Arm:ident)+);)+) => {
        $(
            #[derive(Debug)]
            #[expect(missing_docs, reason = "the variants stand for the arms, in their order")]
            pub enum $Selected<$($Arm),+> {
                $($Arm($Arm)),+
            }
        )+
    };
}

selected! {
    Selected1(A0);
    Selected2(A0 A1);
    Selected3(A0 A1 A2);
    Selected4(A0 A1 A2 A3);
    Selected5(A0 A1 A2 A3 A4);
    Selected6(A0 A1 A2 A3 A4 A5);
    Selected7(A0 A1 A2 A3 A4 A5 A6);
    Selected8(A0 A1 A2 A3 A4 A5 A6 A7);
    Selected9(A0 A1 A2 A3 A4 A5 A6 A7 A8);
    Selected10(A0 A1 A2 A3 A4 A5 A6 A7 A8 A9);
    Selected11(A0 A1 A2 A3 A4 A5 A6 A7 A8 A9 A10);
    Selected12(A0 A1 A2 A3 A4 A5 A6 A7 A8 A9 A10 A11);
    Selected13(A0 A1 A2 A3 A4 A5 A6 A7 A8 A9 A10 A11 A12);
    Selected14(A0 A1 A2 A3 A4 A5 A6 A7 A8 A9 A10 A11 A12 A13);
    Selected15(A0 A1 A2 A3 A4 A5 A6 A7 A8 A9 A10 A11 A12 A13 A14);
    Selected16(A0 A1 A2 A3 A4 A5 A6 A7 A8 A9 A10 A11 A12 A13 A14 A15);
}
