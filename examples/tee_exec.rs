//! Runs a command, shows what it writes as it comes, and keeps it in a file; ends it if it takes too long.
//!
//! `cargo run --release --example tee_exec -- --timeout 60 --log build.log --stamp -- make -j2`
//!
//! ```text
//!           ┌─ standard output ─> pump ─┬─> standard output
//!   command ┤                           ├─> log ─> FILE
//!           └─ standard error ──> pump ─┴─> standard error
//! ```
//!
//! - A line goes out when it is complete, with whatever bytes are in it, so those of the two outputs do not mix. Half a line goes out
//!   when nothing more comes for a moment: it may be a question.
//! - The command leads a process group, so a timeout ends all that it has started. Ctrl-C and the like are passed on to the group, and
//!   it is for the command to end then. It is not waited for before its outputs have ended: until then its group has a safe name.
//! - If nobody reads our standard output any more, the command notices it at its next write, as if it wrote there itself.
//! - Standard input is the command's own, unless it is a terminal: only the group in its foreground may read that, which is ours, so
//!   a fiber passes on what is typed.

use fibers::fs::File;
use fibers::io::Fd;
use fibers::process::{Child, Command, ExitStatus, Stdio};
use fibers::signal::{self, Signal, Signals};
use fibers::{JoinHandle, Op, Receiver, Sender, WaitGroup, channel, go, select, time};
use fibers_examples::{Args, complain, seconds_or_none};
use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

const USAGE: &str = "\
usage: tee_exec [--timeout SECONDS] [--grace SECONDS] [--log FILE] [--stamp]
                [--prefix] [--no-stdin] [--] COMMAND ARGS..

Runs COMMAND, and copies each line that it writes to our own output, and to FILE.

  --timeout SECONDS  then send SIGTERM to the command and all that it has started
  --grace SECONDS    after that, then send SIGKILL (default: 5)
  --log FILE         write both outputs to FILE as well; what was in it is lost
  --stamp            begin each line with the seconds since the start
  --prefix           begin each line with 'out: ' or 'err: '
  --no-stdin         let the command read nothing
  -h, --help         print this text

The exit code is that of the command, or 128 and the number of the signal that has
killed it; 124 after a timeout, 125 if the log or something else here has failed,
126 if COMMAND cannot be run, and 127 if there is none.";

const TIMED_OUT: u8 = 124;
const FAILED: u8 = 125;
const CANNOT_RUN: u8 = 126;
const NO_COMMAND: u8 = 127;

/// How much is read at once, and how long a line may be before it goes out in pieces, in bytes.
const PART: usize = 64 << 10;

/// How long half a line waits for its other half.
const QUIET: Duration = Duration::from_millis(50);

#[fibers::main]
fn main() -> ExitCode {
    let options = fibers_examples::options(USAGE, parse);
    run(options)
        .unwrap_or_else(|error| {
            tell(error);
            FAILED
        })
        .into()
}

/// Says something on standard error. If that fails, there is nobody to tell.
fn tell(text: impl Display) {
    complain(format_args!("tee_exec: {text}"));
}

/// Yields the exit code.
fn run(options: Options) -> io::Result<u8> {
    let log = options.log.as_ref().map(File::create).transpose();
    let log = log.map_err(|error| io::Error::other(format!("the log: {error}")))?;
    let (out, err) = (output(io::stdout())?, output(io::stderr())?);
    // From here on a signal is the command's.
    let signals = signal::notify(&[Signal::HUP, Signal::INT, Signal::QUIT, Signal::TERM])?;
    let mut child = match options.command().spawn() {
        Ok(child) => child,
        Err(error) => {
            tell(format_args!("{}: {error}", options.program.display()));
            return Ok(if error.kind() == ErrorKind::NotFound {
                NO_COMMAND
            } else {
                CANNOT_RUN
            });
        }
    };
    pass_on_what_is_typed(&mut child);
    let (log, logger) = log.map(start_log).unzip();
    let (outputs, failed) = start_pumps(&mut child, [out, err], log, &options);
    let (status, timed_out) = supervise(&mut child, &outputs, &signals, &options)?;
    let code = match timed_out {
        true => TIMED_OUT,
        false => code_of(status),
    };
    // A process that has left the group may still write. The log goes on for a moment, and not for ever.
    let logged = logger.map(|logger| logger.join_op().timeout(options.grace).perform());
    let all_written = !failed.load(Relaxed) && !matches!(logged, Some(Ok(Ok(false))));
    Ok(if code == 0 && !all_written { FAILED } else { code })
}

fn pass_on_what_is_typed(child: &mut Child) {
    if let Some(mut stdin) = child.stdin.take() {
        go!({
            let _ = io::copy(&mut fibers::io::stdin(), &mut stdin); // ends when the command does not read any more, or with us
        });
    }
}

/// Yields the count of the outputs that have not ended, and whether one of ours has failed.
fn start_pumps(
    child: &mut Child,
    [out, err]: [File; 2],
    log: Option<Sender<Vec<u8>>>,
    options: &Options,
) -> (WaitGroup, Arc<AtomicBool>) {
    let (outputs, failed) = (WaitGroup::new(), Arc::new(AtomicBool::new(false)));
    let started = Instant::now();
    let form = |prefix| Form {
        stamp: options.stamp.then_some(started),
        prefix: if options.prefix { prefix } else { "" },
    };
    if let Some(pipe) = child.stdout.take() {
        let (log, failed, form) = (log.clone(), failed.clone(), form("out: "));
        let sinks = Sinks { log, out, failed };
        outputs.go(move || pump(pipe, sinks, form));
    }
    if let Some(pipe) = child.stderr.take() {
        let (out, failed, form) = (err, failed.clone(), form("err: "));
        let sinks = Sinks { log, out, failed };
        outputs.go(move || pump(pipe, sinks, form));
    }
    (outputs, failed)
}

/// Waits for the end of the command and of all that it has written; passes signals on, and ends it if it takes too long.
fn supervise(child: &mut Child, outputs: &WaitGroup, signals: &Signals, options: &Options) -> io::Result<(ExitStatus, bool)> {
    let mut too_long = options.timeout.map(time::after);
    let mut much_too_long = None;
    let mut timed_out = false;
    let mut has_more = true;
    loop {
        select! {
            <-outputs if has_more => has_more = false,
            status = child.wait_op() if !has_more => return Ok((status?, timed_out)),
            signal = <-signals => child.signal_group(signal)?,
            <-too_long => {
                (too_long, timed_out) = (None, true);
                much_too_long = Some(time::after(options.grace));
                child.signal_group(Signal::TERM)?;
                child.signal_group(Signal::CONT)?; // a process that is stopped does not see the first
            }
            <-much_too_long => {
                child.kill_group()?;
                child.kill()?; // if it has left its own group
                let status = child.wait()?;
                let _ = outputs.wait_op().timeout(options.grace).perform();
                return Ok((status, timed_out));
            }
        }
    }
}

/// As shells have it.
fn code_of(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| Some(128 + status.signal()?));
    code.and_then(|code| code.try_into().ok()).unwrap_or(FAILED)
}

/// One of our outputs. Writes go through the blocking pool: a terminal or a pipe that others share stays as it is, and may wait.
fn output(stream: impl AsFd) -> io::Result<File> {
    stream.as_fd().try_clone_to_owned().map(File::from)
}

/// How a line begins.
struct Form {
    stamp: Option<Instant>,
    prefix: &'static str,
}

impl Form {
    fn begin(&self, line: &mut Vec<u8>) {
        if let Some(started) = self.stamp {
            line.extend(format!("[{:10.3}] ", started.elapsed().as_secs_f64()).bytes());
        }
        line.extend(self.prefix.bytes());
    }
}

/// Where the lines of one output go.
struct Sinks {
    log: Option<Sender<Vec<u8>>>,
    out: File,
    failed: Arc<AtomicBool>,
}

impl Sinks {
    /// `None` if our output takes no more: if nobody reads it that is no failure, and otherwise it says why.
    fn write(&mut self, bytes: Vec<u8>) -> Option<()> {
        if let Some(log) = &self.log {
            let _ = log.send(bytes.clone()); // whoever writes the log has said what is wrong
        }
        let error = match self.out.write_all(&bytes) {
            Ok(()) => return Some(()),
            Err(error) => error,
        };
        if error.kind() != ErrorKind::BrokenPipe {
            self.failed.store(true, Relaxed);
            tell(format_args!("the output ends here: {error}"));
        }
        None
    }
}

/// Copies an output of the command to its end, or until nobody reads it here; then its pipe is closed.
fn pump<T: AsFd>(pipe: Fd<T>, mut sinks: Sinks, form: Form) {
    let mut part = vec![0; PART];
    let mut lines = Lines::new(form);
    loop {
        let quiet = lines.has_half().then(|| time::after(QUIET));
        let ready = select! {
            biased; // what has come is no silence, however long it took to get round to it
            read = pipe.read_op(&mut part) => match read {
                Ok(count @ 1..) => lines.add(&part[..count]),
                Ok(0) | Err(_) => break,
            },
            <-quiet => lines.take_all(),
        };
        if !ready.is_empty() && sinks.write(ready).is_none() {
            return;
        }
    }
    let _ = sinks.write(lines.take_all());
}

/// Makes whole lines of what comes in parts.
struct Lines {
    form: Form,
    /// The beginning of a line whose end has not come, as far as it has not gone out.
    half: Vec<u8>,
    /// What comes next begins a line.
    is_at_begin: bool,
}

impl Lines {
    fn new(form: Form) -> Lines {
        Lines {
            form,
            half: Vec::new(),
            is_at_begin: true,
        }
    }

    fn has_half(&self) -> bool {
        !self.half.is_empty()
    }

    /// Yields the lines that are complete with this, and no line that is too long.
    fn add(&mut self, part: &[u8]) -> Vec<u8> {
        let mut whole = Vec::new();
        for piece in part.split_inclusive(|byte| *byte == b'\n') {
            if self.is_at_begin {
                self.form.begin(&mut self.half);
            }
            self.half.extend(piece);
            self.is_at_begin = piece.ends_with(b"\n");
            if self.is_at_begin || self.half.len() > PART {
                whole.append(&mut self.half);
            }
        }
        whole
    }

    fn take_all(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.half)
    }
}

/// A fiber that writes what both outputs send it, as it comes. It yields whether all could be written.
fn start_log(mut file: File) -> (Sender<Vec<u8>>, JoinHandle<bool>) {
    /// Parts that wait to be written.
    const WAITING: usize = 16;
    let (log, parts): (_, Receiver<Vec<u8>>) = channel(WAITING);
    let logger = go!(name = "log"; {
        for part in parts {
            if let Err(error) = file.write_all(&part) {
                tell(format_args!("the log ends here: {error}"));
                return false;
            }
        }
        true
    });
    (log, logger)
}

/// What the command line asks for.
#[derive(Default)]
struct Options {
    timeout: Option<Duration>,
    grace: Duration,
    log: Option<PathBuf>,
    stamp: bool,
    prefix: bool,
    no_stdin: bool,
    program: OsString,
    args: Vec<OsString>,
}

fn parse(args: &mut Args) -> Result<Options, String> {
    const SECONDS: &str = "a number of seconds";
    let mut options = Options {
        grace: Duration::from_secs(5),
        ..Options::default()
    };
    options.program = loop {
        let arg = args.next().ok_or("COMMAND is missing")?;
        match arg.to_str() {
            Some("--timeout") => options.timeout = Some(args.value("--timeout", SECONDS, seconds_or_none)?),
            Some("--grace") => options.grace = args.value("--grace", SECONDS, seconds_or_none)?,
            Some("--log") => options.log = Some(args.path("--log")?),
            Some("--stamp") => options.stamp = true,
            Some("--prefix") => options.prefix = true,
            Some("--no-stdin") => options.no_stdin = true,
            Some("--") => break args.next().ok_or("COMMAND is missing")?,
            Some(text) if text.starts_with('-') => return Err(format!("unknown option {text}")),
            _ => break arg,
        }
    };
    options.args = args.collect();
    Ok(options)
}

impl Options {
    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args).process_group(0).kill_on_drop(true);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.stdin(match self.no_stdin {
            true => Stdio::null(),
            false if io::stdin().is_terminal() => Stdio::piped(),
            false => Stdio::inherit(),
        });
        command
    }
}
