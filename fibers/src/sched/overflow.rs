//! What the fault handler says of a fiber that has run into its guard.
//!
//! Runs in a signal handler, on the thread's alternate stack: no allocation, no lock, and only reads of what the thread
//! itself owns.

use std::fmt::{self, Write};

use super::current::here;

/// If `addr` lies in the guard of the running fiber: true, after having written who that is.
pub(super) fn describe(addr: usize, out: &mut dyn FnMut(&[u8])) -> bool {
    let Some(here) = here() else { return false };
    let stack = here.stack();
    if !stack.guard_range().contains(&addr) {
        return false;
    }
    let mut out = Sink(out);
    // The sink does not fail.
    let _ = write!(
        out,
        "\n{} has overflowed its stack of {} bytes\n",
        here.header(),
        stack.size()
    );
    true
}

struct Sink<'a>(&'a mut dyn FnMut(&[u8]));

impl fmt::Write for Sink<'_> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        (self.0)(s.as_bytes());
        Ok(())
    }
}
