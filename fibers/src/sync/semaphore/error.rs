//! Why permits were not acquired.

use crate::op::Elapsed;
use std::error::Error;
use std::fmt;

/// The semaphore is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AcquireError;

/// Why [`Semaphore::try_acquire`](super::Semaphore::try_acquire) did not acquire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TryAcquireError {
    /// There are not enough permits now, or others wait for them.
    NoPermits,
    /// The semaphore is closed.
    Closed,
}

/// Why [`Semaphore::acquire_timeout`](super::Semaphore::acquire_timeout) did not acquire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AcquireTimeoutError {
    /// The time was over first.
    Timeout,
    /// The semaphore is closed.
    Closed,
}

impl From<AcquireError> for TryAcquireError {
    fn from(AcquireError: AcquireError) -> Self {
        TryAcquireError::Closed
    }
}

impl From<AcquireError> for AcquireTimeoutError {
    fn from(AcquireError: AcquireError) -> Self {
        AcquireTimeoutError::Closed
    }
}

impl From<Elapsed> for AcquireTimeoutError {
    fn from(Elapsed: Elapsed) -> Self {
        AcquireTimeoutError::Timeout
    }
}

impl fmt::Display for AcquireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the semaphore is closed")
    }
}

impl fmt::Display for TryAcquireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TryAcquireError::NoPermits => f.write_str("there are not enough permits"),
            TryAcquireError::Closed => AcquireError.fmt(f),
        }
    }
}

impl fmt::Display for AcquireTimeoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AcquireTimeoutError::Timeout => f.write_str("the time was over before there were enough permits"),
            AcquireTimeoutError::Closed => AcquireError.fmt(f),
        }
    }
}

impl Error for AcquireError {}
impl Error for TryAcquireError {}
impl Error for AcquireTimeoutError {}
