//! Complete programs written with `fibers`; each `.rs` beside this file is one. What several of them need is here.

use std::env;
use std::process;

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

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
