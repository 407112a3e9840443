//! Faults: what a program, a user or the system does wrong, and what must happen then. One module per kind of fault; the tests
//! are named by the number of the fault in the list of faults.
//!
//! What ends a process, needs one without other threads, or spoils all calls of one, runs in `child`, a program of its own.

#![cfg(not(loom))]

mod bad_input;
mod blocking;
mod deadlock;
mod ending;
mod memory;
mod panics;
mod shutdown;
mod stacks;
mod threads;
mod time;

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};

/// How a child process has ended.
#[derive(Debug)]
struct Ended {
    /// The signal that ended it.
    signal: Option<i32>,
    code: Option<i32>,
    out: String,
    err: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Ended {
            signal: output.status.signal(),
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Ended {
    /// It has ended by itself, with success.
    #[track_caller]
    fn well(self) -> Self {
        assert_eq!((self.signal, self.code), (None, Some(0)), "{self:#?}");
        self
    }

    /// It has ended by this signal.
    #[track_caller]
    fn by(self, signal: i32) -> Self {
        assert_eq!(self.signal, Some(signal), "{self:#?}");
        self
    }

    /// It has ended by a panic of its main thread.
    #[track_caller]
    fn by_panic(self) -> Self {
        assert_eq!((self.signal, self.code), (None, Some(101)), "{self:#?}");
        self
    }

    /// It has written all of this on its standard error output.
    #[track_caller]
    fn says(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(self.err.contains(text), "{text:?} is missing in {self:#?}");
        }
        self
    }

    /// It has written none of this.
    #[track_caller]
    fn never_says(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(!self.err.contains(text), "{text:?} is in {self:#?}");
        }
        self
    }
}

/// Runs a scenario of `child`.
fn child(scenario: &str) -> Ended {
    child_with(scenario, &[])
}

/// Runs a scenario of `child` with these variables set.
fn child_with(scenario: &str, variables: &[(&str, &str)]) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_faults-child"));
    command.arg(scenario).envs(variables.iter().copied());
    let mut process = command
        .env_remove("RUST_BACKTRACE")
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the child can be run");
    // A child that hangs is ended, and says so by its signal.
    let pid = process.id() as libc::pid_t;
    let (done, over) = std::sync::mpsc::channel::<()>();
    let dog = std::thread::spawn(move || {
        if over.recv_timeout(fibers_tests::HANG) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            // SAFETY: the child has not been waited for, so the number is still its own.
            unsafe { libc::kill(pid, libc::SIGALRM) };
        }
    });
    let (mut out, mut err) = (process.stdout.take().expect("piped"), process.stderr.take().expect("piped"));
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        std::io::Read::read_to_end(&mut err, &mut text).map(|_| text)
    });
    let mut stdout = Vec::new();
    std::io::Read::read_to_end(&mut out, &mut stdout).expect("a pipe can be read");
    let stderr = reader.join().expect("no panic").expect("a pipe can be read");
    drop(done);
    dog.join().expect("the watchdog does not panic");
    let status = process.wait().expect("the child can be waited for");
    Output { status, stdout, stderr }.into()
}
