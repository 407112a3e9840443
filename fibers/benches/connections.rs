//! What a request costs against the number of connections that are open, and on which workers the connections of a burst end up.
//!
//! ```text
//!    connections [PART..]     cost burst; names may be cut short
//! ```
//!
//! The server echoes: a fiber for each connection, started with `spread`. The clients are another process, this program once more,
//! on one thread with the standard library alone. So each side needs one descriptor for a connection, and the CPU time of this
//! process is the server's. There are always ten requests under way, however many connections there are: what is to be seen is the
//! price of the connections, not that of a batch. The best of several tries, since whatever else the machine does can only add.
//!
//! Under `cargo test --benches`, which does not pass `--bench`, with few connections, as a check.

use fibers::fiber::Builder;
use fibers::net::{TcpListener, TcpStream};
use fibers::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use fibers::{Receiver, Runtime, channel};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::thread::{self, ThreadId};
use std::time::Duration;

/// The requests that are under way at a time, and the connections that are active if not all are.
const WINDOW: usize = 10;
/// Bytes of a request, and of its answer.
const REQUEST: usize = 64;
/// What a process needs beside its connections.
const OTHERS: usize = 100;

/// Its name, and what runs.
type Part = (&'static str, fn(&Scale));

const PARTS: [Part; 2] = [("cost", cost), ("burst", burst)];

fn main() -> ExitCode {
    let (flags, words): (Vec<_>, Vec<_>) = std::env::args().skip(1).partition(|arg| arg.starts_with('-'));
    if flags.iter().any(|flag| flag == "--clients") {
        clients(words[0].parse().expect("the address of the server"));
        return ExitCode::SUCCESS;
    }
    let full = !words.is_empty() || flags.iter().any(|flag| flag == "--bench");
    let is_wanted = |name: &str| words.is_empty() || words.iter().any(|start| name.starts_with(start.as_str()));
    let parts: Vec<_> = PARTS.iter().filter(|part| is_wanted(part.0)).collect();
    if parts.is_empty() {
        println!("no such part; there are: {}", PARTS.map(|part| part.0).join(" "));
        return ExitCode::from(2);
    }
    let scale = Scale {
        full,
        most: raise_limit(),
    };
    parts.iter().for_each(|(_, part)| part(&scale));
    ExitCode::SUCCESS
}

/// How much is measured.
struct Scale {
    full: bool,
    /// The connections that a process may have.
    most: usize,
}

/// What the rows and columns are: so many connections, on so many workers.
fn cost(scale: &Scale) {
    let sizes: &[usize] = if scale.full { &[10, 100, 1_000, 10_000] } else { &[10, 50] };
    let sizes: Vec<_> = sizes.iter().copied().filter(|&size| size <= scale.most).collect();
    let columns: Vec<_> = [1, 2].iter().flat_map(|&workers| costs(scale, workers, &sizes)).collect();
    println!("µs of the server's CPU per request, {WINDOW} at a time");
    println!("{:>12} {:>22} {:>22}", "", "1 worker", "2 workers");
    let title = ["all active", "10 active"].map(|title| format!("{title:>11}")).concat();
    println!("{:>12} {title} {title}", "connections");
    for (i, size) in sizes.iter().enumerate() {
        let cells: Vec<_> = columns.iter().map(|column| format!("{:>11.2}", column[i])).collect();
        println!("{size:>12} {} {}", cells[..2].concat(), cells[2..].concat());
    }
    let growth: Vec<_> = columns.iter().map(|column| column[sizes.len() - 1] / column[0]).collect();
    let cells: Vec<_> = growth
        .iter()
        .map(|growth| format!("{:>11}", format!("x {growth:.2}")))
        .collect();
    println!("{:>12} {} {}", "growth", cells[..2].concat(), cells[2..].concat());
    if scale.full && scale.most < 10_000 {
        println!(
            "SKIPPED 10,000 connections: a process may have {} (see ulimit -Hn)",
            scale.most
        );
    }
}

/// Two columns: with all connections active, and with ten.
fn costs(scale: &Scale, workers: usize, sizes: &[usize]) -> [Vec<f64>; 2] {
    on_workers(workers, || {
        let (listener, address) = listen();
        let mut clients = Clients::start(address);
        fibers::spawn(move || listener.incoming().flatten().for_each(|stream| drop(serve(stream, || ()))));
        let mut columns = [Vec::new(), Vec::new()];
        for &size in sizes {
            clients.order(&format!("open {size}"));
            for (column, active) in columns.iter_mut().zip([size, WINDOW]) {
                column.push(clients.cost_of_a_request(scale, active));
            }
        }
        columns
    })
}

/// A burst that has arrived before anybody says a word.
fn burst(scale: &Scale) {
    let connections = if scale.full { scale.most.min(1_000) } else { 50 };
    println!("connections of a burst of {connections}, by worker");
    for workers in [2, 4] {
        for _ in 0..if scale.full { 3 } else { 1 } {
            let counts = on_workers(workers, || places(connections));
            println!("{workers:>12} workers: {counts:?}");
        }
    }
}

/// How many of them each worker serves, the least first. A worker that serves none is not listed.
fn places(connections: usize) -> Vec<usize> {
    let (listener, address) = listen();
    let mut clients = Clients::start(address);
    clients.order(&format!("open {connections}"));
    let (tell, told) = channel(connections);
    for _ in 0..connections {
        let (stream, _) = listener.accept().expect("they have connected");
        let tell = tell.clone();
        drop(serve(stream, move || {
            tell.send(thread::current().id()).expect("there is room")
        }));
    }
    count(&told, connections)
}

fn count(told: &Receiver<ThreadId>, connections: usize) -> Vec<usize> {
    let mut places: Vec<_> = told.iter().take(connections).collect();
    places.sort_unstable_by_key(|id| format!("{id:?}"));
    let mut counts: Vec<_> = places.chunk_by(|a, b| a == b).map(<[_]>::len).collect();
    counts.sort_unstable();
    counts
}

fn on_workers<T>(workers: usize, main: impl FnOnce() -> T) -> T {
    let runtime = Runtime::builder().workers(workers).build().expect("a runtime can be built");
    runtime.run(main)
}

fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a port");
    let address = listener.local_addr().expect("it has one");
    (listener, address)
}

/// Echoes until the end of the connection.
fn serve(mut stream: TcpStream, begin: impl FnOnce() + Send + 'static) -> fibers::JoinHandle<()> {
    stream.set_nodelay(true).expect("an option of TCP");
    let handler = Builder::new().spread().spawn(move || {
        begin();
        let mut buffer = [0; 1024];
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            if stream.write_all(&buffer[..count]).is_err() {
                return;
            }
        }
    });
    handler.expect("there is a stack")
}

/// The other process.
struct Clients {
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    _process: Child,
}

impl Clients {
    fn start(server: SocketAddr) -> Clients {
        let mut command = Command::new(std::env::current_exe().expect("the path of this program"));
        command.args(["--clients", &server.to_string()]).kill_on_drop(true);
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it can be run again");
        Clients {
            orders: process.stdin.take().expect("it is a pipe"),
            answers: BufReader::new(process.stdout.take().expect("it is a pipe")),
            _process: process,
        }
    }

    /// Returns when it has been carried out.
    fn order(&mut self, order: &str) {
        writeln!(self.orders, "{order}").expect("the clients live");
        let mut answer = String::new();
        self.answers.read_line(&mut answer).expect("the clients live");
        assert_eq!(answer, "done\n", "{order}");
    }

    /// In µs of CPU.
    fn cost_of_a_request(&mut self, scale: &Scale, active: usize) -> f64 {
        let (tries, requests) = if scale.full { (5, 50_000) } else { (1, 100) };
        // Each connection once: the first request finds nobody registered, and a fiber that has not begun.
        self.order(&format!("ask {active} {active}"));
        let mut one = || {
            let before = cpu_time();
            self.order(&format!("ask {requests} {active}"));
            (cpu_time() - before).as_secs_f64() * 1e6 / requests as f64
        };
        (0..tries).map(|_| one()).fold(f64::MAX, f64::min)
    }
}

/// The program of the other process: carries out one order after the other.
fn clients(server: SocketAddr) {
    raise_limit();
    let mut streams = Vec::new();
    for line in io::stdin().lines() {
        let line = line.expect("the bench lives");
        let words: Vec<_> = line.split(' ').collect();
        let number = |i: usize| words[i].parse().expect("a number");
        match words[0] {
            "open" => streams.resize_with(number(1), || connect(server)),
            "ask" => ask(&streams[..number(2)], number(1)),
            _ => panic!("an order: {line}"),
        }
        println!("done");
    }
}

fn connect(server: SocketAddr) -> std::net::TcpStream {
    let stream = std::net::TcpStream::connect(server).expect("the server listens");
    stream.set_nodelay(true).expect("an option of TCP");
    stream
}

/// Makes so many requests, of one window of connections after the other.
fn ask(streams: &[std::net::TcpStream], requests: usize) {
    let request = [b'r'; REQUEST];
    for window in streams.chunks(WINDOW).cycle().take(requests.div_ceil(WINDOW)) {
        for mut stream in window {
            stream.write_all(&request).expect("the server lives");
        }
        for mut stream in window {
            let mut answer = [0; REQUEST];
            stream.read_exact(&mut answer).expect("the server answers");
            assert_eq!(answer, request);
        }
    }
}

/// The CPU time of this process.
fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a place for the answer.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) }, 0);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Allows this process as many descriptors as it may have. Returns for how many connections they suffice.
fn raise_limit() -> usize {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is a place for the answer, and holds a valid limit when it is set.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit), 0);
        limit.rlim_cur = limit.rlim_max.min(20_000);
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0);
    }
    (limit.rlim_cur as usize).saturating_sub(OTHERS)
}
