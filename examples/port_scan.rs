//! Tells which TCP ports of a host are open.
//!
//! `cargo run --release --example port_scan -- localhost 22,80,8000-8100 --banner`
//!
//! Each port has a fiber, which is started when a semaphore has a permit for it; so a slow port delays nobody else, and not too many
//! are asked at once. The results are taken in the order of the ports, whoever ends first. A fiber that finds no descriptor waits until
//! others have given theirs back.
//!
//! Ctrl-C or SIGTERM ends it with what is known by then. Scan only what is yours.

use fibers::net::TcpStream;
use fibers::sync::Semaphore;
use fibers::time::Ticker;
use fibers::{Cond, JoinHandle, Op, Receiver, go, select, sleep, spawn_blocking, unbounded};
use fibers_examples::{Args, complain, positive, seconds, stop_on_signal};
use std::collections::BTreeSet;
use std::io::{self, ErrorKind, IsTerminal, Read, Write};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

const USAGE: &str = "\
usage: port_scan HOST [PORTS] [--at-once N] [--timeout SECONDS] [--banner]

Prints which TCP ports of HOST are open. Scan only hosts that are yours.

  PORTS              such as 22,80,8000-8100 (default: 1-1024)
  --at-once N        try so many ports at once (default: 256)
  --timeout SECONDS  how long to wait for each (default: 1)
  --banner           print what an open port says by itself
  -h, --help         print this text

The exit code is 0 if a port is open, 1 if none is, 2 if something is wrong, 130
after Ctrl-C.";

/// How long to wait for descriptors: the first time, and at most.
const PAUSE: Duration = Duration::from_millis(5);
const LONGEST: Duration = Duration::from_millis(500);

/// How often progress is shown.
const TICK: Duration = Duration::from_millis(100);

struct Options {
    host: String,
    ports: BTreeSet<u16>,
    at_once: usize,
    timeout: Duration,
    banner: bool,
}

fn parse(args: &mut Args) -> Result<Options, String> {
    let (mut host, mut ports) = (None, None);
    let (mut at_once, mut timeout, mut banner) = (256, Duration::from_secs(1), false);
    while let Some(arg) = args.text()? {
        match &*arg {
            "--at-once" => at_once = args.value(&arg, "a number of ports", positive)?,
            "--timeout" => timeout = args.value(&arg, "a number of seconds", seconds)?,
            "--banner" => banner = true,
            option if option.starts_with('-') => return Err(format!("unknown option {option}")),
            _ if host.is_none() => host = Some(arg),
            _ if ports.is_none() => ports = Some(parse_ports(&arg).ok_or_else(|| format!("'{arg}' are no ports"))?),
            _ => return Err("more than HOST and PORTS".into()),
        }
    }
    Ok(Options {
        host: host.ok_or("HOST is missing")?,
        ports: ports.unwrap_or_else(|| (1..=1024).collect()),
        at_once: at_once.min(usize::from(u16::MAX)),
        timeout,
        banner,
    })
}

/// Numbers and ranges, with commas between them.
fn parse_ports(text: &str) -> Option<BTreeSet<u16>> {
    let mut ports = BTreeSet::new();
    for range in text.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.parse::<u16>().ok()?, last.parse().ok()?);
        if first == 0 || first > last {
            return None;
        }
        ports.extend(first..=last);
    }
    Some(ports)
}

#[fibers::main]
fn main() -> ExitCode {
    let options = fibers_examples::options(USAGE, parse);
    match run(options) {
        Ok(code) => ExitCode::from(code),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS, // the reader has had enough
        Err(error) => {
            complain(format_args!("port_scan: {error}"));
            ExitCode::from(2)
        }
    }
}

fn run(options: Options) -> io::Result<u8> {
    let stop = stop_on_signal()?;
    let host = options.host.clone();
    let looking = spawn_blocking(move || (&*host, 0).to_socket_addrs().map(Vec::from_iter));
    let found = select! {
        found = <-looking => found.expect("looking up does not panic"),
        <-stop => return Ok(130),
    };
    let found = found.map_err(|error| io::Error::other(format!("{}: {error}", options.host)))?;
    let addresses: Vec<_> = found.iter().map(SocketAddr::ip).collect();

    let mut report = Report::new(options.ports.len());
    let ports = start_all(options, addresses, stop.clone());
    let is_complete = follow(&ports, &stop, &mut report)?;
    report.erase();
    complain(format_args!(
        "{} open, {} closed, {} silent",
        report.open, report.closed, report.silent
    ));
    Ok(match (is_complete, report.open) {
        (false, _) => 130,
        (true, 0) => 1,
        (true, _) => 0,
    })
}

/// What became of a port.
enum Port {
    /// With what it has said.
    Open(String),
    Closed,
    /// There was no answer in time, or no way to get there.
    Silent,
}

/// Starts with the ports in turn, and hands them out in that order.
fn start_all(options: Options, addresses: Vec<IpAddr>, stop: Cond) -> Receiver<(u16, JoinHandle<Port>)> {
    let (started, ports) = unbounded();
    let permits = Arc::new(Semaphore::new(options.at_once));
    go! {
        for port in options.ports {
            let permit = select! {
                permit = permits.clone().acquire_owned_op() => permit.expect("nobody closes the semaphore"),
                <-stop => return,
            };
            let addresses = addresses.iter().map(|ip| SocketAddr::new(*ip, port)).collect();
            let probing = go!({
                let _permit = permit;
                probe(addresses, options.timeout, options.banner)
            });
            if started.send((port, probing)).is_err() {
                return;
            }
        }
    };
    ports
}

/// Tries to connect, at any of the addresses of a host.
fn probe(addresses: Vec<SocketAddr>, timeout: Duration, banner: bool) -> Port {
    let mut pause = PAUSE;
    loop {
        match TcpStream::connect_timeout(&addresses[..], timeout) {
            Ok(stream) if is_its_own_peer(&stream) => return Port::Closed,
            Ok(stream) => {
                let text = if banner {
                    read_banner(&stream, timeout)
                } else {
                    String::new()
                };
                // Reset rather than ended: the system need not remember any of these connections.
                let _ = stream.set_linger(Some(Duration::ZERO));
                return Port::Open(text);
            }
            Err(error) if is_want_of_room(&error) => {
                sleep(pause);
                pause = (pause * 2).min(LONGEST);
            }
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => return Port::Closed,
            Err(_) => return Port::Silent,
        }
    }
}

/// A port of this machine that nobody listens at may be given to this end of the connection, which then meets itself.
fn is_its_own_peer(stream: &TcpStream) -> bool {
    matches!((stream.local_addr(), stream.peer_addr()), (Ok(this), Ok(peer)) if this == peer)
}

/// Whether it will do again when others have given back what they have: descriptors, memory.
fn is_want_of_room(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
    )
}

/// The first line that the port says by itself, if it says one.
fn read_banner(stream: &TcpStream, timeout: Duration) -> String {
    let mut bytes = [0; 256];
    let count = stream.with_deadline(Instant::now() + timeout).read(&mut bytes).unwrap_or(0);
    let text = String::from_utf8_lossy(&bytes[..count]);
    let line = text.lines().next().unwrap_or_default();
    line.chars().filter(|c| !c.is_control()).collect()
}

/// Reports the ports in their order. Whether that were all of them.
fn follow(ports: &Receiver<(u16, JoinHandle<Port>)>, stop: &Cond, report: &mut Report) -> io::Result<bool> {
    let ticker = Ticker::new(TICK);
    let (mut number, mut probing) = (0, None::<JoinHandle<Port>>);
    loop {
        select! {
            biased;
            <-stop => break,
            <-ticker => report.tick(),
            port = <-probing => {
                probing = None;
                report.add(number, port.expect("probing does not panic"))?;
            }
            Ok((next, handle)) = <-ports if probing.is_none() else { return Ok(true) } => {
                (number, probing) = (next, Some(handle));
            }
        }
    }
    // What is known already, behind a port that is not.
    for (number, probing) in probing.map(|probing| (number, probing)).into_iter().chain(ports.try_iter()) {
        if let Some(port) = probing.join_op().try_perform() {
            report.add(number, port.expect("probing does not panic"))?;
        }
    }
    Ok(false)
}

/// Open ports on standard output, and a progress line on standard error if that is a terminal.
struct Report {
    ports: usize,
    open: usize,
    closed: usize,
    silent: usize,
    has_progress: bool,
    is_drawn: bool,
}

impl Report {
    fn new(ports: usize) -> Self {
        Report {
            ports,
            open: 0,
            closed: 0,
            silent: 0,
            has_progress: io::stderr().is_terminal(),
            is_drawn: false,
        }
    }

    fn add(&mut self, number: u16, port: Port) -> io::Result<()> {
        match port {
            Port::Closed => self.closed += 1,
            Port::Silent => self.silent += 1,
            Port::Open(text) => {
                self.open += 1;
                self.erase();
                writeln!(fibers::io::stdout(), "{}", format!("{number}/tcp open {text}").trim_end())?;
            }
        }
        Ok(())
    }

    fn tick(&mut self) {
        if self.has_progress {
            let done = self.open + self.closed + self.silent;
            let _ = write!(io::stderr(), "\r\x1b[K{done} of {} ports, {} open", self.ports, self.open);
            self.is_drawn = true;
        }
    }

    fn erase(&mut self) {
        if std::mem::take(&mut self.is_drawn) {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
