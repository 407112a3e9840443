//! Input and output on any descriptor.

mod fd;

pub use crate::file::Closed;
pub use fd::Fd;
