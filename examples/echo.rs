//! A server that sends back what it receives, to any number of clients at once, over TCP or a Unix socket.
//!
//! `cargo run --release --example echo -- 127.0.0.1:7000`, and then, elsewhere, `nc 127.0.0.1 7000`
//!
//! One fiber takes connections; each connection has a fiber of its own, and these are spread over the workers. A fiber waits for bytes,
//! for the end of its patience and for the end of the server in one `select!`, so nothing has to be told to anybody when one of them
//! happens. What a client has sent is not read before it has taken what it was sent earlier: a client that sends and never reads
//! holds up nobody else, and costs no more memory than one that does.
//!
//! Ctrl-C or SIGTERM: nobody is let in any more, what has been received is sent back, and the program says what it has done.

use fibers::net::{AcceptBackoff, Stream, TcpListener, TcpStream, UnixListener, UnixStream};
use fibers::{Cond, Op, WaitGroup, defer, go, select, time};
use fibers_examples::{Args, complain, positive, say, seconds, stop_on_signal};
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use std::{fmt, fs};

const USAGE: &str = "\
usage: echo [ADDRESS | --unix PATH] [--idle SECONDS] [--demo CLIENTS]

Sends back what it receives.

  ADDRESS         host:port (default: 127.0.0.1:7000); port 0 is any free one
  --unix PATH     a Unix socket instead
  --idle SECONDS  give up a client that neither sends nor reads (default: 60)
  --demo CLIENTS  serve so many clients of its own, and end
  -h, --help      print this text";

/// How long clients may delay the end.
const GRACE: Duration = Duration::from_secs(2);

struct Options {
    at: Place,
    idle: Duration,
    demo: Option<usize>,
}

enum Place {
    Tcp(String),
    Unix(PathBuf),
}

fn parse(args: &mut Args) -> Result<Options, String> {
    let (mut at, mut idle, mut demo) = (None, Duration::from_secs(60), None);
    while let Some(arg) = args.text()? {
        let place = match &*arg {
            "--idle" => {
                idle = args.value("--idle", "a number of seconds", seconds)?;
                continue;
            }
            "--demo" => {
                demo = Some(args.value("--demo", "a number of clients", positive)?);
                continue;
            }
            "--unix" => Place::Unix(args.path("--unix")?),
            option if option.starts_with('-') => return Err(format!("unknown option {option}")),
            _ => Place::Tcp(arg),
        };
        if at.replace(place).is_some() {
            return Err("one place to listen at is enough".into());
        }
    }
    let at = at.unwrap_or_else(|| Place::Tcp("127.0.0.1:7000".into()));
    Ok(Options { at, idle, demo })
}

#[fibers::main]
fn main() -> ExitCode {
    let options = fibers_examples::options(USAGE, parse);
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(format_args!("echo: {error}"));
            ExitCode::from(if error.kind() == ErrorKind::InvalidInput { 2 } else { 1 })
        }
    }
}

fn run(options: &Options) -> io::Result<()> {
    match &options.at {
        Place::Tcp(address) => {
            let listener = TcpListener::bind(address)?;
            let address = listener.local_addr()?;
            let accept = listener.accept_op().wrap(|accepted| accepted.map(|(stream, _)| stream));
            serve(&address.to_string(), accept, move || TcpStream::connect(address), options)
        }
        Place::Unix(path) => {
            let listener = UnixListener::bind(path)?;
            defer! { let _ = fs::remove_file(path); }
            let address = path.clone();
            serve(
                &path.display().to_string(),
                listener.accept_op(),
                move || UnixStream::connect(&address),
                options,
            )
        }
    }
}

/// Serves until it is told to stop, or until its own clients have had enough.
fn serve<S: Stream + 'static>(
    address: &str,
    accept: impl Op<Output = io::Result<S>> + Clone,
    connect: impl Fn() -> io::Result<S> + Send + Sync + 'static,
    options: &Options,
) -> io::Result<()> {
    let stop = stop_on_signal()?;
    let clients = options.demo.map(|count| go!(clone(stop); { demo(count, connect, &stop) }));
    if clients.is_none() {
        say(format_args!("listening on {address}"));
    }

    let totals = Arc::new(Totals::default());
    let connections = take_all(accept, options.idle, stop, totals.clone())?;
    select! {
        <-connections => {}
        <-time::after(GRACE) => complain(format_args!("echo: cut off {} clients", connections.count())),
    }
    if let Some(clients) = clients {
        return select! {
            ended = <-clients => ended.expect("a client does not panic"),
            <-time::after(GRACE) => Err(ErrorKind::Interrupted.into()),
        };
    }
    say(totals);
    Ok(())
}

/// Takes connections until it is told to stop. Returns what waits for their ends.
fn take_all<S: Stream + 'static>(
    accept: impl Op<Output = io::Result<S>> + Clone,
    idle: Duration,
    stop: Cond,
    totals: Arc<Totals>,
) -> io::Result<WaitGroup> {
    let connections = WaitGroup::new();
    let mut backoff = AcceptBackoff::new();
    let mut pause = None; // Some: the process has no descriptor for one more connection
    loop {
        select! {
            accepted = accept.clone() if pause.is_none() => match accepted {
                Ok(stream) => {
                    backoff.reset();
                    totals.connections.fetch_add(1, Relaxed);
                    let done = connections.guard();
                    go!(spread, name = "connection", clone(stop, totals); {
                        let _done = done;
                        if let Err(error) = echo(&stream, idle, &stop, &totals) {
                            complain(format_args!("echo: a connection has failed: {error}"));
                        }
                    });
                }
                Err(error) => pause = Some(time::after(backoff.pause(error)?)),
            },
            <-pause => pause = None,
            <-stop => return Ok(connections),
        }
    }
}

/// Sends back what comes, until the client has no more to say. Told to stop, it still sends back what is there already.
fn echo(stream: &impl Stream, idle: Duration, stop: &Cond, totals: &Totals) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        let count = select! {
            count = stream.read_op(&mut buffer) => count?,
            <-stop => stream.read_op(&mut buffer).try_perform().unwrap_or(Ok(0))?,
            <-time::after(idle) => return Err(ErrorKind::TimedOut.into()),
        };
        if count == 0 {
            return Ok(());
        }
        let mut rest = &buffer[..count];
        while !rest.is_empty() {
            let count = stream.write_op(rest).timeout(idle).perform();
            rest = &rest[count.map_err(|_| ErrorKind::TimedOut)??..];
        }
        totals.bytes.fetch_add(count as u64, Relaxed);
    }
}

/// What has been done so far.
#[derive(Default)]
struct Totals {
    connections: AtomicU64,
    bytes: AtomicU64,
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (connections, bytes) = (self.connections.load(Relaxed), self.bytes.load(Relaxed));
        write!(f, "served {connections} connections, {bytes} bytes")
    }
}

/// Some clients at once. Prints what each of them hears, and then stops the server.
fn demo<S: Stream>(count: usize, connect: impl Fn() -> io::Result<S> + Send + Sync + 'static, stop: &Cond) -> io::Result<()> {
    defer!(stop.signal()); // whichever way this ends
    let connect = Arc::new(connect);
    let clients: Vec<_> = (1..=count)
        .map(|i| go!(clone(connect); { ask(connect()?, &format!("hello from {i}")) }))
        .collect();
    for client in clients {
        // Interrupted, the program may end before its clients have heard anything.
        say(client.join().map_err(|error| io::Error::other(error.to_string()))??);
    }
    Ok(())
}

/// Says something, and returns what it hears.
fn ask(mut stream: impl Stream, text: &str) -> io::Result<String> {
    stream.write_all(text.as_bytes())?;
    let mut heard = vec![0; text.len()];
    stream.read_exact(&mut heard)?;
    Ok(String::from_utf8_lossy(&heard).into_owned())
}
