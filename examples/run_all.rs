//! Runs commands from standard input, one per line, several at a time, each within a limit of time. Prints what each has written, in
//! the order of the lines, and ends with code 1 if one has failed.
//!
//! `printf 'echo one\nsleep 9\necho three\n' | cargo run --release --example run_all -- --jobs 2 --limit 1`
//!
//! Ctrl-C starts no more commands, kills those that run, and reports what there is.

use fibers::process::{Command, Stdio, Unfinished};
use fibers::{Cond, JoinHandle, Op, Receiver, channel, go, select, signal, spawn_blocking, time};
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "usage: run_all [--jobs N] [--limit SECONDS] < COMMANDS";

struct Options {
    jobs: usize,
    limit: Duration,
}

fn options() -> Option<Options> {
    let mut options = Options {
        jobs: 4,
        limit: Duration::from_secs(60),
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let value = args.next()?;
        match &*arg {
            "--jobs" => options.jobs = value.parse().ok().filter(|jobs| *jobs > 0)?,
            "--limit" => options.limit = Duration::try_from_secs_f64(value.parse().ok()?).ok()?,
            _ => return None,
        }
    }
    Some(options)
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
    let mut out = io::stdout().lock();
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
fn main() -> io::Result<ExitCode> {
    let Some(options) = options() else {
        eprintln!("{USAGE}");
        return Ok(ExitCode::from(2));
    };
    let lines = spawn_blocking(|| io::read_to_string(io::stdin()))
        .join()
        .expect("reading does not panic")?;
    let stop = Cond::new();
    let interrupted = signal::ctrl_c_op()?;
    go!(clone(stop); {
        interrupted.perform();
        stop.signal();
    });
    let mut all_well = true;
    for (line, end) in start_all(lines, options, stop) {
        all_well &= report(&line, end.join().expect("running does not panic"))?;
    }
    Ok(if all_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
