//! What the programs beside this file share.

mod redis;

pub use redis::RedisConnection;

use fibers::signal::{self, Signal};
use fibers::{Cond, go};
use std::io::{self, Write};

/// Signalled by the first Ctrl-C (or SIGTERM); from then on that does what it always does, so the second one ends the program.
///
/// # Errors
/// As [`signal::notify`].
pub fn interrupted() -> io::Result<Cond> {
    let stop = Cond::new();
    let signals = signal::notify(&[Signal::INT, Signal::TERM])?;
    go!(clone(stop); {
        signals.recv();
        drop(signals);
        stop.signal();
    });
    Ok(stop)
}

/// Prints text; whoever does not want to read any more has had enough.
///
/// # Errors
/// If standard output is broken in another way.
pub fn print(text: &str) -> io::Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}
