//! What can go wrong at a variable. What was not stored comes back.

use std::error::Error;
use std::fmt;

/// The variable is full; here is the value that did not go in.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PutError<T>(pub T);

/// Nobody was there to exchange with, or the variable held nothing; here is the value that was offered.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SwapError<T>(pub T);

/// What a [`Subscriber`](super::Subscriber) received instead of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BroadcastRecvError {
    /// This many values were dropped before the subscriber came to read them. The next receive takes the oldest that is left.
    Lagged(u64),
    /// Every value has been received, and no more will come.
    Closed,
}

/// The last [`Watch`](super::Watch) is gone: the value changes no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WatchClosed;

/// `Debug` without the value, `Display`, `Error`, and the way to the value.
macro_rules! gives_back {
    ($Error:ident: $text:literal) => {
        impl<T> $Error<T> {
            /// The value that was offered.
            pub fn into_inner(self) -> T {
                self.0
            }
        }

        impl<T> fmt::Debug for $Error<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($Error), "(..)"))
            }
        }

        impl<T> fmt::Display for $Error<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($text)
            }
        }

        impl<T> Error for $Error<T> {}
    };
}

gives_back!(PutError: "the variable is full");
gives_back!(SwapError: "there was nothing to exchange the value for");

impl fmt::Display for BroadcastRecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BroadcastRecvError::Lagged(missed) => write!(f, "the subscriber was too slow and missed {missed} values"),
            BroadcastRecvError::Closed => f.write_str("the broadcast is closed"),
        }
    }
}

impl fmt::Display for WatchClosed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the value changes no more: the last setter is gone")
    }
}

impl Error for BroadcastRecvError {}
impl Error for WatchClosed {}
