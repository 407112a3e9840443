//! How a program is to be started.

use super::child::Child;
use super::orphans;
use super::{ExitStatus, Output, Stdio};
use crate::signal::Signal;
use crate::{sys, time};
use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process;
use std::time::Duration;

/// A program to be run, with its arguments and surroundings, as [`std::process::Command`] has it.
///
/// A child starts with a clean signal mask, and with the default dispositions for what [`signal`](crate::signal) handles here.
///
/// ```
/// use fibers::process::Command;
/// fibers::run(|| {
///     let output = Command::new("echo").arg("hello").output().unwrap();
///     assert!(output.status.success());
///     assert_eq!(output.stdout, b"hello\n");
/// });
/// ```
pub struct Command {
    command: process::Command,
    kill_on_drop: bool,
    own_group: bool,
    /// Which of stdin, stdout and stderr the user has decided about.
    decided: [bool; 3],
}

impl Command {
    /// The program of that name (looked for in `PATH` if it has no slash), without arguments, with everything inherited.
    pub fn new(program: impl AsRef<OsStr>) -> Command {
        process::Command::new(program).into()
    }

    /// Adds an argument.
    pub fn arg(&mut self, arg: impl AsRef<OsStr>) -> &mut Command {
        self.command.arg(arg);
        self
    }

    /// Adds arguments.
    pub fn args(&mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> &mut Command {
        self.command.args(args);
        self
    }

    /// Sets a variable of its environment.
    pub fn env(&mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> &mut Command {
        self.command.env(key, value);
        self
    }

    /// Sets variables of its environment.
    pub fn envs<K: AsRef<OsStr>, V: AsRef<OsStr>>(&mut self, vars: impl IntoIterator<Item = (K, V)>) -> &mut Command {
        self.command.envs(vars);
        self
    }

    /// Removes a variable from its environment.
    pub fn env_remove(&mut self, key: impl AsRef<OsStr>) -> &mut Command {
        self.command.env_remove(key);
        self
    }

    /// Removes all variables from its environment.
    pub fn env_clear(&mut self) -> &mut Command {
        self.command.env_clear();
        self
    }

    /// Sets its working directory.
    pub fn current_dir(&mut self, dir: impl AsRef<Path>) -> &mut Command {
        self.command.current_dir(dir);
        self
    }

    /// Where its standard input comes from. Inherited by default; nothing, for [`output`](Command::output).
    pub fn stdin(&mut self, stdin: impl Into<Stdio>) -> &mut Command {
        self.command.stdin(stdin);
        self.decided[0] = true;
        self
    }

    /// Where its standard output goes. Inherited by default; captured, for [`output`](Command::output).
    pub fn stdout(&mut self, stdout: impl Into<Stdio>) -> &mut Command {
        self.command.stdout(stdout);
        self.decided[1] = true;
        self
    }

    /// Where its standard error output goes. Inherited by default; captured, for [`output`](Command::output).
    pub fn stderr(&mut self, stderr: impl Into<Stdio>) -> &mut Command {
        self.command.stderr(stderr);
        self.decided[2] = true;
        self
    }

    /// Whether the child is killed (SIGKILL) when its [`Child`] is dropped before it has been waited for: when the fiber that owns it
    /// panics, returns early, or is unwound by a shutdown. With [`process_group(0)`](Command::process_group) its whole group
    /// is. Default: no.
    pub fn kill_on_drop(&mut self, kill: bool) -> &mut Command {
        self.kill_on_drop = kill;
        self
    }

    /// Puts the child into a process group; 0 is a new one, which the child leads. Signals of the terminal reach a group as a
    /// whole, and so does [`Child::kill_group`].
    pub fn process_group(&mut self, group: i32) -> &mut Command {
        self.command.process_group(group);
        self.own_group = group == 0;
        self
    }

    /// Lets the child receive `signal` when its parent dies.
    ///
    /// The parent is, for the kernel, the *thread* that spawns. A worker ends with its runtime: so the child then receives
    /// the signal when the runtime ends, unless it was spawned on the thread that has called `run`.
    pub fn parent_death_signal(&mut self, signal: Signal) -> &mut Command {
        sys::set_parent_death_signal(&mut self.command, signal.as_raw());
        self
    }

    /// The command as std has it, for everything that is not here (user, group, `pre_exec`, ..). What is decided about stdio there,
    /// [`output`](Command::output) does not know of.
    pub fn as_std_mut(&mut self) -> &mut process::Command {
        &mut self.command
    }

    /// Starts the program.
    ///
    /// # Errors
    /// As [`std::process::Command::spawn`]; also if there is no descriptor left to watch it, or, where the kernel refuses pidfds, no
    /// thread (`ResourceBusy` if 128 wait for children already). No process is left behind then.
    ///
    /// # Blocking
    /// Blocks the worker until the child has become its program: about a millisecond.
    pub fn spawn(&mut self) -> io::Result<Child> {
        orphans::reap_left();
        let child = self.command.spawn()?;
        Child::new(child, self.kill_on_drop, self.own_group)
    }

    /// Runs the program to its end.
    ///
    /// # Errors
    /// Those of [`spawn`](Command::spawn) and [`Child::wait`].
    ///
    /// # Blocking
    /// Suspends the fiber, or blocks the thread.
    pub fn status(&mut self) -> io::Result<ExitStatus> {
        self.spawn()?.wait()
    }

    /// Runs the program to its end and captures what it writes: both outputs at the same time, so that it never waits for a reader.
    ///
    /// # Errors
    /// Those of [`spawn`](Command::spawn) and [`Child::wait_with_output`].
    ///
    /// # Blocking
    /// Suspends the fiber, or blocks the thread.
    pub fn output(&mut self) -> io::Result<Output> {
        self.spawn_captured()?.wait_with_output()
    }

    /// As [`output`](Command::output), for at most `limit`; then the child is killed. For other reasons to stop, such as a
    /// cancelled context, see [`Child::wait_with_output_unless`].
    ///
    /// # Errors
    /// `TimedOut`, carrying [`Unfinished`](super::Unfinished) with what was captured until then; those of
    /// [`output`](Command::output).
    ///
    /// # Blocking
    /// Suspends the fiber, or blocks the thread.
    ///
    /// ```
    /// use fibers::process::{Command, Unfinished};
    /// use std::time::Duration;
    /// fibers::run(|| {
    ///     let error = Command::new("sleep").arg("600").output_timeout(Duration::from_millis(10)).unwrap_err();
    ///     assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    ///     assert!(error.get_ref().unwrap().is::<Unfinished>());
    /// });
    /// ```
    pub fn output_timeout(&mut self, limit: Duration) -> io::Result<Output> {
        let end = time::after(limit);
        self.spawn_captured()?.wait_with_output_unless(end)
    }

    /// Spawns with pipes where the user has not decided otherwise.
    fn spawn_captured(&mut self) -> io::Result<Child> {
        let [stdin, stdout, stderr] = self.decided;
        let set = |command: &mut process::Command, idle: fn() -> Stdio, captured: fn() -> Stdio| {
            if !stdin {
                command.stdin(idle());
            }
            if !stdout {
                command.stdout(captured());
            }
            if !stderr {
                command.stderr(captured());
            }
        };
        set(&mut self.command, Stdio::null, Stdio::piped);
        let child = self.spawn();
        set(&mut self.command, Stdio::inherit, Stdio::inherit);
        child
    }
}

impl From<process::Command> for Command {
    fn from(command: process::Command) -> Command {
        Command {
            command,
            kill_on_drop: false,
            own_group: false,
            decided: [false; 3],
        }
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.command, f)
    }
}
