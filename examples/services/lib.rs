//! What the programs beside this file share.

mod redis;

pub use redis::RedisConnection;

use std::env::{self, Args};
use std::fmt::Display;
use std::io::{self, Write};
use std::iter::{Peekable, Skip};
use std::process::ExitCode;

/// The `main` of a program: what `parse` makes of the command line is performed.
///
/// Asked for help it prints `usage`; ends with code 2 if `parse` does not understand the command line, and with code 1 and a line that
/// says why if the program fails.
pub fn program<T, E: Display>(
    name: &str,
    usage: &str,
    parse: impl FnOnce(Peekable<Skip<Args>>) -> Option<T>,
    perform: impl FnOnce(T) -> Result<(), E>,
) -> ExitCode {
    let mut args = env::args().skip(1).peekable();
    if args.next_if(|arg| arg == "-h" || arg == "--help").is_some() {
        println!("{usage}");
        return ExitCode::SUCCESS;
    }
    let Some(task) = parse(args) else {
        eprintln!("{usage}");
        return ExitCode::from(2);
    };
    match perform(task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::FAILURE
        }
    }
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
