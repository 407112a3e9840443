//! Runs commands from standard input, one per line, several at a time, each within a limit of time. Prints what each has written, in
//! the order of the lines, and ends with code 1 if one has failed.
//!
//! `printf 'echo one\nsleep 9\necho three\n' | cargo run --release --example run_all -- --jobs 2 --limit 1`
//!
//! Ctrl-C or SIGTERM starts no more commands, kills those that run, and reports what there is.

use fibers::process::{Command, Stdio, Unfinished};
use fibers::{Cond, JoinHandle, Op, Receiver, channel, go, select, time};
use fibers_examples::{Args, complain, positive, seconds, stop_on_signal};
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "\
usage: run_all [--jobs N] [--limit SECONDS] < COMMANDS

Runs commands, one per line, and prints what each has written, in their order.

  --jobs N         run so many at once (default: 4)
  --limit SECONDS  kill a command that takes longer (default: 60)
  -h, --help       print this text

The exit code is 0 if all commands have succeeded, and 1 otherwise.";

struct Options {
    jobs: usize,
    limit: Duration,
}

fn parse(args: &mut Args) -> Result<Options, String> {
    let (mut jobs, mut limit) = (4, Duration::from_secs(60));
    while let Some(arg) = args.text()? {
        match &*arg {
            "--jobs" => jobs = args.value(&arg, "a number of commands", positive)?,
            "--limit" => limit = args.value(&arg, "a number of seconds", seconds)?,
            _ => return Err(format!("unknown option {arg}")),
        }
    }
    let jobs = jobs.min(usize::from(u16::MAX)); // there is room for so many
    Ok(Options { jobs, limit })
}

/// What became of a command.
struct Done {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    /// None: all is well.
    trouble: Option<String>,
}

/// Runs one command in a group of its own, so that what it has started ends with it.
fn run(line: &str, limit: Duration, stop: &Cond) -> io::Result<Done> {
    let mut command = Command::new("sh");
    command.arg("-c").arg(line).process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let too_long = time::after(limit);
    match command.spawn()?.wait_with_output_unless(too_long.or(stop.wait_op())) {
        Ok(output) => Ok(Done {
            trouble: (!output.status.success()).then(|| output.status.to_string()),
            stdout: output.stdout,
            stderr: output.stderr,
        }),
        Err(error) => {
            let unfinished = error.downcast::<Unfinished>()?;
            let trouble = match stop.is_signalled() {
                true => "interrupted".to_string(),
                false => format!("took longer than {limit:?}"),
            };
            Ok(Done {
                stdout: unfinished.stdout,
                stderr: unfinished.stderr,
                trouble: Some(trouble),
            })
        }
    }
}

/// Starts the commands in turn, at most `jobs` at a time, and hands out their ends in the same order.
fn start_all(lines: String, options: Options, stop: Cond) -> Receiver<(String, JoinHandle<io::Result<Done>>)> {
    let (started, ends) = channel(options.jobs);
    // Whoever runs has put a token in.
    let (permits, running) = channel(options.jobs);
    go! {
        for line in lines.lines().filter(|line| !line.trim().is_empty()) {
            select! {
                permits <- () => {}
                <-stop => return,
            }
            let (line, limit) = (line.to_owned(), options.limit);
            let handle = go!(clone(line, stop, running); {
                let done = run(&line, limit, &stop);
                running.recv().expect("the token of this command");
                done
            });
            if started.send((line, handle)).is_err() {
                return;
            }
        }
    };
    ends
}

/// Prints what a command has left. Whether it went well.
fn report(line: &str, done: io::Result<Done>) -> io::Result<bool> {
    let mut out = fibers::io::stdout();
    writeln!(out, "$ {line}")?;
    let done = match done {
        Ok(done) => done,
        Err(error) => return writeln!(out, "! {error}").map(|()| false),
    };
    out.write_all(&done.stdout)?;
    out.write_all(&done.stderr)?;
    if let Some(trouble) = &done.trouble {
        writeln!(out, "! {trouble}")?;
    }
    Ok(done.trouble.is_none())
}

#[fibers::main]
fn main() -> ExitCode {
    let options = fibers_examples::options(USAGE, parse);
    match run_all(options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS, // the reader has had enough
        Err(error) => {
            complain(format_args!("run_all: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Whether all went well.
fn run_all(options: Options) -> io::Result<bool> {
    let lines = io::read_to_string(fibers::io::stdin())?;
    let stop = stop_on_signal()?;
    let mut all_well = true;
    for (line, end) in start_all(lines, options, stop) {
        all_well &= report(&line, end.join().expect("running does not panic"))?;
    }
    Ok(all_well)
}
