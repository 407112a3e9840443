//! An example that runs until it is told to end, seen from outside.
//!
//! Nothing here waits without a limit: a test that hangs fails, and its program is killed.

use crate::program::{self, Program, Run, TIMEOUT};
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Instant;

/// An example that runs; it is killed if it is dropped before its end.
pub(crate) struct Running {
    child: Child,
    /// If there is a pipe to its standard input.
    pub(crate) stdin: Option<ChildStdin>,
    pub(crate) out: Output,
    pub(crate) err: Output,
}

impl Running {
    pub(crate) fn start(mut program: Program) -> Running {
        let mut child = program.command.spawn().expect("the example starts");
        Running {
            stdin: child.stdin.take(),
            out: child.stdout.take().map(Output::of).expect("a pipe"),
            err: child.stderr.take().map(Output::of).expect("a pipe"),
            child,
        }
    }

    /// With a pipe to its standard input.
    pub(crate) fn start_with_input(mut program: Program) -> Running {
        program.command.stdin(Stdio::piped());
        Running::start(program)
    }

    /// Writes to its standard input.
    pub(crate) fn say(&mut self, text: &str) {
        let stdin = self.stdin.as_mut().expect("a pipe");
        stdin.write_all(text.as_bytes()).expect("the example reads");
    }

    /// Sends it a signal: `INT`, `TERM`, ..
    pub(crate) fn signal(&self, name: &str) {
        // By the shell, which has it built in everywhere.
        let script = format!("kill -{name} {}", self.child.id());
        let sent = Command::new("sh").arg("-c").arg(&script).status().expect("a shell");
        assert!(sent.success(), "{script}");
    }

    /// The address that it says it listens at.
    #[track_caller]
    pub(crate) fn address(&mut self) -> String {
        let line = self.out.line();
        let address = line.trim_end().strip_prefix("listening on ");
        address.unwrap_or_else(|| panic!("no address: {line:?}")).to_owned()
    }

    /// Waits for its end, and collects what has not been read of its output.
    #[track_caller]
    pub(crate) fn end(mut self) -> Run {
        drop(self.stdin.take());
        let Running { child, out, err, .. } = &mut self;
        program::wait(child, || (out.rest(), err.rest()))
    }

    /// Ends it as a user does.
    #[track_caller]
    pub(crate) fn interrupt(self) -> Run {
        self.signal("INT");
        self.end()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One output of a program, read by a thread, so that the program never waits for us.
#[derive(Debug)]
pub(crate) struct Output {
    parts: Receiver<Vec<u8>>,
    read: VecDeque<u8>,
}

impl Output {
    fn of(mut pipe: impl Read + Send + 'static) -> Output {
        let (tx, parts) = channel();
        thread::spawn(move || {
            let mut part = [0; 4096];
            while let Ok(count @ 1..) = pipe.read(&mut part) {
                if tx.send(part[..count].to_vec()).is_err() {
                    return; // so the pipe is closed
                }
            }
        });
        let read = VecDeque::new();
        Output { parts, read }
    }

    /// The next line, with its end; what there is at the end of the output.
    #[track_caller]
    pub(crate) fn line(&mut self) -> String {
        self.until(b"\n")
    }

    /// What comes up to `end`, and with it; or else up to the end of the output.
    #[track_caller]
    pub(crate) fn until(&mut self, end: &[u8]) -> String {
        let started = Instant::now();
        let mut seen = 0;
        loop {
            let new = &self.read.make_contiguous()[seen..];
            if let Some(at) = new.windows(end.len()).position(|window| window == end) {
                return text(self.read.drain(..seen + at + end.len()));
            }
            // What was seen may be the beginning of it.
            seen = (self.read.len() + 1).saturating_sub(end.len());
            let left = TIMEOUT.saturating_sub(started.elapsed());
            match self.parts.recv_timeout(left) {
                Ok(part) => self.read.extend(part),
                Err(_) => {
                    assert!(
                        started.elapsed() < TIMEOUT,
                        "{:?} did not come after {:?}",
                        text(end.iter().copied()),
                        self.read
                    );
                    return text(self.read.drain(..));
                }
            }
        }
    }

    /// Lets the pipe be closed as soon as something more has come through it.
    pub(crate) fn close(&mut self) {
        self.parts = channel().1;
    }

    /// Whether nothing has come that was not read.
    pub(crate) fn is_silent(&mut self) -> bool {
        self.read.extend(self.parts.try_iter().flatten());
        self.read.is_empty()
    }

    /// Everything up to the end of the output.
    fn rest(&mut self) -> Vec<u8> {
        while let Ok(part) = self.parts.recv_timeout(TIMEOUT) {
            self.read.extend(part);
        }
        self.read.drain(..).collect()
    }
}

fn text(bytes: impl Iterator<Item = u8>) -> String {
    String::from_utf8_lossy(&bytes.collect::<Vec<_>>()).into_owned()
}
