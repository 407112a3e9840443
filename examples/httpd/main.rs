//! Serves the files below a directory over HTTP/1.1.
//!
//! `cargo run --release --example httpd -- DIR [--addr ADDRESS:PORT]`, then open the address that it prints in a browser.
//!
//! ```text
//!             a permit for each        a fiber for each connection
//!   accept ───────────────────> read a request, find the file, answer ───┐
//!     ^ until SIGINT or SIGTERM                  again                   │ lines
//!     └ main: then waits for the answers that are under way              v
//!                                                                     logger ──> standard output
//! ```
//!
//! - `connection` is the life of one connection, with its limits of time and size; `request` and `response` are what it reads and
//!   writes (`httparse` reads the heads); `target`, `files`, `range` and `listing` say what the answer is.
//! - Files are sent by the system (`fibers::net::send_file`), in parts, each of which has its time; a slow disk holds up nobody but
//!   those who wait for it.
//! - Nothing outside of DIR is ever sent, whatever a request says, and wherever a symbolic link in DIR points.

mod connection;
mod files;
mod listing;
mod log;
mod range;
mod request;
mod response;
mod server;
mod target;

use fibers::net::TcpListener;
use fibers::signal::{self, Signal};
use fibers::{Context, go, select, time};
use fibers_examples::{Args, complain, positive, seconds, seconds_or_none};
use files::Site;
use log::Log;
use server::{Limits, Server};
use std::fmt::Display;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

const USAGE: &str = "\
usage: httpd DIR [--addr ADDRESS:PORT] [--connections N] [--idle SECONDS]
             [--patience SECONDS] [--grace SECONDS]

Serves the files below DIR over HTTP/1.1. Writes a line for each request to
standard output, in the Common Log Format. SIGINT and SIGTERM end it once the
answers that are under way have been sent; a second one ends it at once.

  --addr ADDRESS:PORT  where to listen (default: 127.0.0.1:8080; port 0: any)
  --connections N      serve N connections at a time (default: 1024)
  --idle SECONDS       close connections that ask for nothing (default: 30)
  --patience SECONDS   for a request to arrive, and for each 64 KiB of an answer
                       to be read (default: 10)
  --grace SECONDS      for answers under way when it is told to end (default: 10)
  -h, --help           print this text";

#[fibers::main]
fn main() -> ExitCode {
    let options = fibers_examples::options(USAGE, parse);
    match serve(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            tell(message);
            ExitCode::FAILURE
        }
    }
}

/// Says something on standard error. If that fails, there is nobody to tell.
fn tell(text: impl Display) {
    complain(format_args!("httpd: {text}"));
}

/// Serves until a signal comes, and then for as long as it takes to end well.
fn serve(options: Options) -> Result<(), String> {
    let dir = options.dir.display();
    let site = Site::new(&options.dir).map_err(|error| format!("{dir}: {error}"))?;
    // Before anybody knows that it listens.
    let signals = signal::notify(&[Signal::INT, Signal::TERM]).map_err(|error| format!("signals: {error}"))?;
    let listener = TcpListener::bind(&*options.addr).map_err(|error| format!("{}: {error}", options.addr))?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    let (log, logger) = Log::start();
    tell(format_args!("{dir} is at http://{address}/"));

    let (stop, stopper) = Context::background().with_cancel();
    let server = Arc::new(Server::new(site, options.limits, stop, log));
    let accepting = go!(clone(server); server.accept(listener));
    select! {
        signal = <-signals => tell(format_args!("{signal}, ending")),
        // The listener is broken.
        failed = <-accepting => {
            let failed = failed.expect("accepting does not panic");
            return failed.map_err(|error| format!("accept: {error}"));
        }
    }
    stopper.cancel();
    let _ = accepting.join();
    // What is left when the main fiber returns is unwound.
    let too_late = time::after(options.grace);
    let in_time = select! {
        <-server.connections => true,
        <-signals => false,
        <-too_late => false,
    };
    drop(server);
    if in_time {
        select! {
            <-logger => {}
            <-too_late => {}
        }
    }
    Ok(())
}

/// What the command line asks for.
struct Options {
    dir: PathBuf,
    addr: String,
    grace: Duration,
    limits: Limits,
}

fn parse(args: &mut Args) -> Result<Options, String> {
    const SECONDS: &str = "a number of seconds";
    let mut dirs: Vec<PathBuf> = Vec::new();
    let mut addr = "127.0.0.1:8080".to_string();
    let mut grace = Duration::from_secs(10);
    let mut limits = Limits::default();
    while let Some(arg) = args.next() {
        match arg.to_str() {
            Some("--") => dirs.extend(args.by_ref().map(PathBuf::from)),
            Some("--addr") => addr = args.value("--addr", "an address", |addr| Some(addr.to_owned()))?,
            Some("--connections") => limits.connections = args.value("--connections", "a number up to 1000000", count)?,
            Some("--idle") => limits.idle = args.value("--idle", SECONDS, seconds)?,
            Some("--patience") => limits.patience = args.value("--patience", SECONDS, seconds)?,
            Some("--grace") => grace = args.value("--grace", SECONDS, seconds_or_none)?,
            Some(text) if text.starts_with('-') => return Err(format!("unknown option {text}")),
            _ => dirs.push(arg.into()),
        }
    }
    let dir = dirs.pop().ok_or("DIR is missing")?;
    match dirs.is_empty() {
        true => Ok(Options {
            dir,
            addr,
            grace,
            limits,
        }),
        false => Err("more than one DIR".into()),
    }
}

fn count(text: &str) -> Option<usize> {
    positive(text).filter(|count| *count <= 1_000_000)
}
