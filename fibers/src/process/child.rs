//! A program that runs.

use super::end::End;
use super::orphans;
use super::{ExitStatus, Output};
use crate::Op;
use crate::file::{Direction, Look};
use crate::io::Fd;
use crate::op::{BoxOp, Receive, choice, never};
use crate::prim::Arc;
use crate::signal::Signal;
use crate::sys;
use std::error::Error;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The pipe to a child's standard input.
pub type ChildStdin = Fd<process::ChildStdin>;
/// The pipe from a child's standard output.
pub type ChildStdout = Fd<process::ChildStdout>;
/// The pipe from a child's standard error output.
pub type ChildStderr = Fd<process::ChildStderr>;

/// A child process, and the pipes to it. Made by [`Command::spawn`](super::Command::spawn).
///
/// Dropping it lets the child run on (unless [`kill_on_drop`](super::Command::kill_on_drop) says otherwise) and closes the pipes. It is
/// no zombie when it ends.
///
/// ```
/// use fibers::process::{Command, Stdio};
/// use std::io::{Read, Write};
/// fibers::run(|| {
///     let mut child = Command::new("tr").args(["a-z", "A-Z"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
///     child.stdin.take().unwrap().write_all(b"loud").unwrap();
///     let mut text = String::new();
///     child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
///     assert_eq!(text, "LOUD");
///     assert!(child.wait().unwrap().success());
/// });
/// ```
pub struct Child {
    /// The pipe to its standard input, if there is one.
    pub stdin: Option<ChildStdin>,
    /// The pipe from its standard output, if there is one.
    pub stdout: Option<ChildStdout>,
    /// The pipe from its standard error output, if there is one.
    pub stderr: Option<ChildStderr>,
    process: Arc<Process>,
    kill_on_drop: bool,
}

/// What is left of a child when its handle is dropped.
pub(super) struct Process {
    /// See [`End`].
    end: Fd<OwnedFd>,
    is_pidfd: bool,
    id: u32,
    leads_group: bool,
    /// Held for single system calls that do not block.
    state: Mutex<State>,
}

struct State {
    child: process::Child,
    /// Once it has been asked for, the number of the process may be another one's.
    status: Option<ExitStatus>,
}

impl Process {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Readable once it has ended.
    pub(super) fn end(&self) -> BorrowedFd<'_> {
        self.end.as_fd()
    }

    /// The status, if it has ended. From then on it is no zombie.
    pub(super) fn try_wait(&self) -> io::Result<Option<ExitStatus>> {
        let mut state = self.state();
        if state.status.is_none() {
            state.status = state.child.try_wait()?;
        }
        Ok(state.status)
    }

    /// Sends a signal, if the child's status has not been asked for.
    fn signal(&self, send: impl FnOnce(&Process) -> io::Result<()>) -> io::Result<()> {
        let state = self.state();
        if state.status.is_some() {
            return Ok(());
        }
        match send(self) {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            result => result,
        }
    }
}

impl Process {
    /// To be called by [`signal`](Process::signal).
    fn send(&self, signal: i32) -> io::Result<()> {
        if self.is_pidfd {
            match sys::pidfd_send_signal(self.end(), signal) {
                Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => {}
                result => return result,
            }
        }
        // It has not been waited for, and is not while the state is locked: the number is its own.
        sys::send_signal(self.id, signal)
    }
}

impl Child {
    pub(super) fn new(mut child: process::Child, kill_on_drop: bool, leads_group: bool) -> io::Result<Child> {
        let end = match End::of(child.id()) {
            Ok(end) => end,
            Err(error) => {
                // Nobody could be told of its end, so it must have ended.
                let _ = child.kill();
                let _ = child.wait();
                return Err(error);
            }
        };
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let mut new = Child {
            stdin: None,
            stdout: None,
            stderr: None,
            process: Arc::new(Process {
                id: child.id(),
                end: Fd::of_nonblocking(end.descriptor),
                is_pidfd: end.is_pidfd,
                leads_group,
                state: Mutex::new(State { child, status: None }),
            }),
            kill_on_drop: true, // until it is complete
        };
        new.stdin = stdin.map(Fd::new).transpose()?;
        new.stdout = stdout.map(Fd::new).transpose()?;
        new.stderr = stderr.map(Fd::new).transpose()?;
        new.kill_on_drop = kill_on_drop;
        Ok(new)
    }

    /// The number of the process.
    pub fn id(&self) -> u32 {
        self.process.id
    }

    /// Closes the pipe to its standard input, if it is here, and waits until the child has ended.
    ///
    /// # Errors
    /// If it is no child of this process any more (somebody else has waited for it), or what tells of its end cannot be watched.
    ///
    /// # Blocking
    /// Suspends the fiber, or blocks the thread.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        drop(self.stdin.take());
        self.wait_op().perform()
    }

    /// The operation that is ready once the child has ended. It closes no pipe: a child that reads its standard input to the end
    /// ends when [`stdin`](Child::stdin) is dropped.
    ///
    /// Any number of fibers may wait, and each gets the status. One that loses has taken nothing.
    ///
    /// ```
    /// use fibers::{Op, process::Command};
    /// use std::time::Duration;
    /// fibers::run(|| {
    ///     let mut child = Command::new("sleep").arg("600").spawn().unwrap();
    ///     if child.wait_op().timeout(Duration::from_millis(10)).perform().is_err() {
    ///         child.kill().unwrap();
    ///     }
    ///     assert!(!child.wait().unwrap().success());
    /// });
    /// ```
    pub fn wait_op(&self) -> impl Op<Output = io::Result<ExitStatus>> {
        let process = &*self.process;
        process.end.try_op(
            Direction::Read,
            "end of a child, by descriptor",
            move |_: &Fd<OwnedFd>, _: &mut Look<'_>| match process.try_wait()? {
                Some(status) => Ok(status),
                None => Err(io::ErrorKind::WouldBlock.into()),
            },
        )
    }

    /// The status, if the child has ended.
    ///
    /// # Errors
    /// As [`wait`](Child::wait).
    pub fn try_wait(&self) -> io::Result<Option<ExitStatus>> {
        self.process.try_wait()
    }

    /// Kills the child (SIGKILL). It has not ended yet when this returns: wait for it. Does nothing if it has been waited for.
    ///
    /// # Errors
    /// If that is not allowed.
    pub fn kill(&self) -> io::Result<()> {
        self.signal(Signal::KILL)
    }

    /// Sends a signal to the child. Does nothing if it has been waited for.
    ///
    /// # Errors
    /// If that is not allowed.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        self.process.signal(|process| process.send(signal.as_raw()))
    }

    /// Sends a signal to the group that the child leads: to itself and its descendants, as far as they have not left the group. Does
    /// nothing if the child has been waited for: the group has no safe name then.
    ///
    /// # Errors
    /// `InvalidInput` if the child was not spawned with [`process_group(0)`](super::Command::process_group); if it is not allowed.
    pub fn signal_group(&self, signal: Signal) -> io::Result<()> {
        if !self.process.leads_group {
            let message = "the child leads no process group: spawn it with process_group(0)";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        self.process.signal(|process| sys::kill_group(process.id, signal.as_raw()))
    }

    /// Kills the group that the child leads: see [`signal_group`](Child::signal_group).
    ///
    /// # Errors
    /// As [`signal_group`](Child::signal_group).
    pub fn kill_group(&self) -> io::Result<()> {
        self.signal_group(Signal::KILL)
    }

    fn kill_all(&self) {
        // There is nothing to be done about a child that this program may not kill any more.
        let _ = match self.process.leads_group {
            true => self.kill_group(),
            false => self.kill(),
        };
    }

    /// Closes the pipe to its standard input, captures both outputs to their ends, and waits until the child has ended.
    ///
    /// An output ends when nobody has it open any more: a descendant that has inherited it and lives on holds this up.
    ///
    /// # Errors
    /// Those of reading and of [`wait`](Child::wait).
    ///
    /// # Blocking
    /// Suspends the fiber, or blocks the thread.
    pub fn wait_with_output(mut self) -> io::Result<Output> {
        self.capture(never())
    }

    /// As [`wait_with_output`](Child::wait_with_output), until `stop` is ready; then the child is killed, with its group if it leads
    /// one. So it is if the caller is unwound. `stop` is performed again and again, and is to stay ready once it is: a cancelled
    /// context, a [`Cond`](crate::Cond), a [deadline](crate::time::after()).
    ///
    /// # Errors
    /// `TimedOut`, carrying [`Unfinished`] with what was captured until then, if `stop` came first; those of
    /// [`wait_with_output`](Child::wait_with_output).
    ///
    /// # Blocking
    /// Suspends the fiber, or blocks the thread.
    pub fn wait_with_output_unless(mut self, stop: impl Op<Output = ()> + Clone) -> io::Result<Output> {
        self.kill_on_drop = true;
        self.capture(stop)
    }

    fn capture(&mut self, stop: impl Op<Output = ()> + Clone) -> io::Result<Output> {
        enum Got {
            Stdout(usize),
            Stderr(usize),
            Status(ExitStatus),
            Stop,
        }
        drop(self.stdin.take());
        let (mut stdout, mut stderr) = (Captured::new(self.stdout.take()), Captured::new(self.stderr.take()));
        let status = loop {
            let all = !stdout.is_open() && !stderr.is_open();
            let got = choice((
                stdout.read_op().wrap(|read| read.map(Got::Stdout)),
                stderr.read_op().wrap(|read| read.map(Got::Stderr)),
                all.then(|| self.wait_op()).wrap(|status| status.map(Got::Status)),
                stop.clone().wrap(|()| Ok(Got::Stop)),
            ));
            match got.perform()? {
                Got::Stdout(count) => stdout.keep(count),
                Got::Stderr(count) => stderr.keep(count),
                Got::Status(status) => break Some(status),
                Got::Stop => break None,
            }
        };
        let (stdout, stderr) = (stdout.all, stderr.all);
        match status {
            Some(status) => Ok(Output { status, stdout, stderr }),
            None => Err(io::Error::new(io::ErrorKind::TimedOut, Unfinished { stdout, stderr })),
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.kill_on_drop {
            self.kill_all();
        }
        // Nobody waits here any more.
        self.process.end.close();
        orphans::adopt(self.process.clone());
    }
}

impl Receive for Child {
    type Output = io::Result<ExitStatus>;
    type Op<'a> = BoxOp<'a, io::Result<ExitStatus>>;

    fn receive_op(&self) -> Self::Op<'_> {
        self.wait_op().boxed()
    }
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Child")
            .field("id", &self.id())
            .field("stdin", &self.stdin)
            .field("stdout", &self.stdout)
            .field("stderr", &self.stderr)
            .finish_non_exhaustive()
    }
}

/// One output of a child, and what has come from it.
struct Captured<T: AsFd> {
    /// None: it has ended.
    pipe: Option<Fd<T>>,
    part: Box<[u8]>,
    all: Vec<u8>,
}

impl<T: AsFd> Captured<T> {
    fn new(pipe: Option<Fd<T>>) -> Captured<T> {
        /// Bytes read at a time: a quarter of what a pipe holds.
        const PART: usize = 16 * 1024;
        Captured {
            part: vec![0; if pipe.is_some() { PART } else { 0 }].into(),
            pipe,
            all: Vec::new(),
        }
    }

    fn is_open(&self) -> bool {
        self.pipe.is_some()
    }

    fn read_op(&mut self) -> Option<impl Op<Output = io::Result<usize>>> {
        let (pipe, part) = (self.pipe.as_ref()?, &mut self.part[..]);
        Some(pipe.read_op(part))
    }

    fn keep(&mut self, count: usize) {
        self.all.extend_from_slice(&self.part[..count]);
        if count == 0 {
            self.pipe = None;
        }
    }
}

/// What an [`io::Error`] of kind `TimedOut` carries when a child was stopped before it had ended: what it had written until then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// What was captured of its standard output.
    pub stdout: Vec<u8>,
    /// What was captured of its standard error output.
    pub stderr: Vec<u8>,
}

impl fmt::Display for Unfinished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the child was stopped before it had ended")
    }
}

impl Error for Unfinished {}
