//! Complete programs written with `fibers`; each `.rs` beside this file is one. What several of them need is here.

use fibers::signal::{self, Signal};
use fibers::{Cond, go};
use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;
use std::{env, process, vec};

/// The program's only argument, a number, or `default` if there is none.
///
/// Asked for help (`-h`, `--help`), it prints `usage` and ends the program; anything else that it does not understand ends the
/// program with code 2.
pub fn number(usage: &str, default: usize) -> usize {
    let mut args = env::args().skip(1);
    let (first, second) = (args.next(), args.next());
    match (first.as_deref(), second) {
        (None, _) => default,
        (Some("-h" | "--help"), _) => {
            println!("{usage}");
            process::exit(0)
        }
        (Some(text), None) if let Ok(number) = text.parse() => number,
        _ => {
            eprintln!("{usage}");
            process::exit(2)
        }
    }
}

/// The words of the command line behind the name of the program, one after the other.
#[derive(Debug)]
pub struct Args {
    words: vec::IntoIter<OsString>,
    /// The word that was taken last is a question for help.
    asks_for_help: bool,
}

/// What `parse` makes of the command line.
///
/// If `parse` says what is wrong, it prints that and `usage`, and ends the program with code 2. If it is `-h` or `--help` that `parse`
/// does not know what to do with, it prints `usage` and ends the program.
pub fn options<T>(usage: &str, parse: impl FnOnce(&mut Args) -> Result<T, String>) -> T {
    let words: Vec<_> = env::args_os().skip(1).collect();
    let mut args = Args {
        words: words.into_iter(),
        asks_for_help: false,
    };
    parse(&mut args).unwrap_or_else(|wrong| {
        if args.asks_for_help {
            say(usage);
            process::exit(0)
        }
        complain(format_args!("{wrong}\n{usage}"));
        process::exit(2)
    })
}

impl Args {
    /// The next word, if it is text: names of files may be something else.
    pub fn text(&mut self) -> Result<Option<String>, String> {
        let word = self.next().map(OsString::into_string).transpose();
        word.map_err(|word| format!("'{}' is not UTF-8", word.display()))
    }

    /// The value that stands behind `option`, read by `read`; `what` says what it should be.
    pub fn value<T>(&mut self, option: &str, what: &str, read: impl FnOnce(&str) -> Option<T>) -> Result<T, String> {
        let word = self.next().ok_or_else(|| format!("{option} needs {what}"))?;
        let value = word.to_str().and_then(read);
        value.ok_or_else(|| format!("{option} needs {what}, not '{}'", word.display()))
    }

    /// The path that stands behind `option`.
    pub fn path(&mut self, option: &str) -> Result<PathBuf, String> {
        self.next().map(PathBuf::from).ok_or_else(|| format!("{option} needs a path"))
    }
}

impl Iterator for Args {
    type Item = OsString;

    fn next(&mut self) -> Option<OsString> {
        let word = self.words.next();
        self.asks_for_help = word.as_ref().is_some_and(|word| word == "-h" || word == "--help");
        word
    }
}

/// A number that is not 0.
pub fn positive(text: &str) -> Option<usize> {
    text.parse().ok().filter(|number| *number > 0)
}

/// A number of seconds, perhaps with a fraction: more than 0, and no more than a year has.
pub fn seconds(text: &str) -> Option<Duration> {
    seconds_or_none(text).filter(|duration| !duration.is_zero())
}

/// A number of seconds, which may be 0.
pub fn seconds_or_none(text: &str) -> Option<Duration> {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
    let duration = Duration::try_from_secs_f64(text.parse().ok()?).ok()?;
    (duration <= YEAR).then_some(duration)
}

/// A cond that is signalled by Ctrl-C or SIGTERM. Only by the first: the second one ends the program, as it does elsewhere.
pub fn stop_on_signal() -> io::Result<Cond> {
    let signals = signal::notify(&[Signal::INT, Signal::TERM])?;
    let stop = Cond::new();
    go!(clone(stop); {
        signals.recv();
        // Before anybody can notice the first one.
        drop(signals);
        stop.signal();
    });
    Ok(stop)
}

/// Prints a line, for programs that do not end because nobody reads what they print.
pub fn say(text: impl Display) {
    let _ = writeln!(fibers::io::stdout(), "{text}");
}

/// Prints a line to standard error, if somebody is there to read it.
pub fn complain(text: impl Display) {
    let _ = writeln!(fibers::io::stderr(), "{text}");
}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
