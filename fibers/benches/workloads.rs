//! The workloads that the peers (Go, Tokio, may) run as well: the same number of operations, in the same shape, over channels of
//! the same capacity.
//!
//! `workloads WORKLOAD [N]` prints `WORKLOAD fibers NS ns/op MS ms [extra]`. The number of workers is `FIBERS_WORKERS`. Without a
//! workload all of them run in turn, except for `http PORT`, a server that never ends (see `http.sh` of the peers); under
//! `cargo test --benches`, which does not pass `--bench`, with a small N, as a check.

#[path = "programs/crowd.rs"]
mod crowd;
#[path = "programs/sieve.rs"]
mod sieve;
#[path = "programs/skynet.rs"]
mod skynet;

use crowd::crowd;
use fibers::net::{TcpListener, TcpStream};
use fibers::{WaitGroup, channel, go, run, select, sleep, spawn, yield_now};
use sieve::sieve;
use skynet::skynet;
use std::fmt::Display;
use std::io::{Read, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Its name, the N of a full run, the N of a check, and what runs.
type Workload = (&'static str, usize, usize, fn(&Bench));

const WORKLOADS: &[Workload] = &[
    ("yield", 5_000_000, 100, yielding),
    ("spawn", 2_000_000, 100, spawning),
    ("spawnjoin", 1_000_000, 100, spawn_join),
    ("pingpong", 3_000_000, 1000, ping_pong),
    ("sieve", 2000, 20, sieve_of),
    ("select", 2_000_000, 1000, select_of_4),
    ("selectquit", 3_000_000, 1000, select_or_quit),
    ("default", 20_000_000, 1000, select_with_default),
    ("buffered", 10_000_000, 1000, buffered),
    ("mpmc", 4_000_000, 1000, crowd_of_16),
    ("timeout", 1_000_000, 1000, receive_with_timeout),
    ("sleepers", 100_000, 10, sleepers),
    ("parked", 1_000_000, 100, parked),
    ("skynet", 1_000_000, 100, skynet_of),
];

fn main() -> ExitCode {
    let (flags, words): (Vec<_>, Vec<_>) = std::env::args().skip(1).partition(|arg| arg.starts_with('-'));
    let full = !words.is_empty() || flags.iter().any(|flag| flag == "--bench");
    let n = words.get(1).and_then(|n| n.parse().ok());
    let wanted = words.first().map(String::as_str);
    let mut found = false;
    for &(name, many, few, workload) in WORKLOADS {
        if wanted.is_none_or(|wanted| wanted == name) {
            found = true;
            let n = n.unwrap_or(if full { many } else { few });
            run(|| workload(&Bench { name, n }));
        }
    }
    if found {
        return ExitCode::SUCCESS;
    }
    match wanted {
        Some("http") => run(|| http(n.expect("http PORT"))),
        Some("mutex") => println!("workload mutex: fibers::sync::Mutex does not exist yet"),
        _ => println!("unknown workload {}", wanted.unwrap_or_default()),
    }
    ExitCode::from(2)
}

struct Bench {
    name: &'static str,
    n: usize,
}

impl Bench {
    /// Prints the line that the script reads, for `operations` since `start`.
    fn report(&self, operations: usize, start: Instant, extra: impl Display) {
        let took = start.elapsed();
        let per_operation = took.as_nanos() as f64 / operations as f64;
        println!(
            "{} fibers {per_operation:.1} ns/op {:.1} ms {extra}",
            self.name,
            took.as_secs_f64() * 1e3
        );
    }
}

/// The smallest keep-alive HTTP/1.1 server: finds the blank line and answers fixed bytes. Never ends.
fn http(port: usize) {
    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\nContent-Type: text/plain\r\n\r\nHello, world!";
    let port = u16::try_from(port).expect("a port");
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
    for stream in listener.incoming() {
        let stream = stream.expect("a connection");
        stream.set_nodelay(true).expect("an option of TCP");
        go!(spread; answer_requests(stream, ANSWER));
    }
}

fn answer_requests(mut stream: TcpStream, answer: &[u8]) {
    let mut buffer = [0; 4096];
    let mut filled = 0;
    loop {
        match stream.read(&mut buffer[filled..]) {
            Ok(0) | Err(_) => return,
            Ok(count) => filled += count,
        }
        if buffer[..filled].ends_with(b"\r\n\r\n") {
            filled = 0;
            if stream.write_all(answer).is_err() {
                return;
            }
        }
    }
}

/// Two fibers that do nothing but let each other run.
fn yielding(bench: &Bench) {
    let n = bench.n;
    let wg = WaitGroup::new();
    let start = Instant::now();
    for _ in 0..2 {
        wg.go(move || (0..n).for_each(|_| yield_now()));
    }
    wg.wait();
    bench.report(2 * n, start, "");
}

/// All fibers are spawned before the spawner waits for them.
fn spawning(bench: &Bench) {
    let wg = WaitGroup::new();
    let start = Instant::now();
    for _ in 0..bench.n {
        wg.add(1);
        let wg = wg.clone();
        spawn(move || wg.done());
    }
    wg.wait();
    bench.report(bench.n, start, "");
}

/// One fiber at a time, and its result.
fn spawn_join(bench: &Bench) {
    let start = Instant::now();
    for i in 0..bench.n {
        assert_eq!(spawn(move || i).join().unwrap(), i);
    }
    bench.report(bench.n, start, "");
}

/// Round trips between two fibers.
fn ping_pong(bench: &Bench) {
    let (there, received) = channel(0);
    let (answer, back) = channel(0);
    spawn(move || received.iter().try_for_each(|v: usize| answer.send(v)));
    let start = Instant::now();
    for i in 0..bench.n {
        there.send(i).unwrap();
        back.recv().unwrap();
    }
    bench.report(bench.n, start, "");
}

/// A chain of filters that grows by one fiber per prime.
fn sieve_of(bench: &Bench) {
    let start = Instant::now();
    let last = sieve(bench.n);
    bench.report(bench.n, start, last);
}

/// Four senders, one receiver that selects.
fn select_of_4(bench: &Bench) {
    let each = bench.n / 4;
    let [a, b, c, d] = std::array::from_fn(|_| {
        let (tx, rx) = channel(0);
        spawn(move || {
            (0..each).try_for_each(|k: usize| tx.send(k)).unwrap();
            // The channel stays open: a closed one would be ready for ever.
            select! {}
        });
        rx
    });
    let start = Instant::now();
    let mut sum = 0;
    for _ in 0..each * 4 {
        select! {
            v = <-a => sum += v.unwrap(),
            v = <-b => sum += v.unwrap(),
            v = <-c => sum += v.unwrap(),
            v = <-d => sum += v.unwrap(),
        }
    }
    bench.report(bench.n, start, sum);
}

/// The everyday loop: data or quit.
fn select_or_quit(bench: &Bench) {
    let n = bench.n;
    let (tx, rx) = channel(0);
    let (quitter, quit) = channel::<bool>(0);
    let keep_open = tx.clone();
    spawn(move || {
        (0..n).try_for_each(|k: usize| tx.send(k)).unwrap();
        drop(quitter);
    });
    let start = Instant::now();
    let mut sum = 0;
    loop {
        select! {
            v = <-rx => sum += v.unwrap(),
            <-quit => break,
        }
    }
    bench.report(n, start, sum);
    drop(keep_open);
}

/// Two channels on which nothing ever happens.
fn select_with_default(bench: &Bench) {
    let (_a, from_a) = channel::<usize>(0);
    let (_b, from_b) = channel::<usize>(0);
    let start = Instant::now();
    let mut defaults = 0;
    for _ in 0..bench.n {
        select! {
            <-from_a => {}
            <-from_b => {}
            default => defaults += 1,
        }
    }
    bench.report(bench.n, start, defaults);
}

/// One producer, one consumer, room for 128.
fn buffered(bench: &Bench) {
    let n = bench.n;
    let (tx, rx) = channel(128);
    spawn(move || (0..n).try_for_each(|i: usize| tx.send(i)));
    let start = Instant::now();
    let sum: usize = rx.iter().sum();
    bench.report(n, start, sum);
}

/// Eight producers, eight consumers, room for 128.
fn crowd_of_16(bench: &Bench) {
    let start = Instant::now();
    crowd(bench.n);
    bench.report(bench.n, start, "");
}

/// A timeout that never fires: a timer is armed and cancelled each time.
fn receive_with_timeout(bench: &Bench) {
    let n = bench.n;
    let (tx, rx) = channel(0);
    spawn(move || (0..n).try_for_each(|i: usize| tx.send(i)));
    let start = Instant::now();
    for _ in 0..n {
        rx.recv_timeout(Duration::from_secs(1)).unwrap();
    }
    bench.report(n, start, "");
}

/// N fibers that sleep ten times, for 0 to 199 ms.
fn sleepers(bench: &Bench) {
    let wg = WaitGroup::new();
    let start = Instant::now();
    for i in 0..bench.n {
        wg.go(move || {
            let mut random = i as u64;
            for _ in 0..10 {
                sleep(Duration::from_millis(below_200(&mut random)));
            }
        });
    }
    wg.wait();
    bench.report(bench.n, start, "");
}

/// SplitMix64 (Steele, Lea and Flood 2014): good from any seed, also from 0, 1, 2..
fn below_200(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (z ^ (z >> 31)) % 200
}

/// What a fiber costs that waits in a receive, stack and page tables included.
fn parked(bench: &Bench) {
    let before = memory_kb();
    let (tx, rx) = channel::<usize>(0);
    let start = Instant::now();
    for _ in 0..bench.n {
        let rx = rx.clone();
        spawn(move || rx.recv());
    }
    while tx.waiting_receivers() < bench.n {
        yield_now();
    }
    sleep(Duration::from_millis(200));
    let bytes = (memory_kb() - before) * 1024 / bench.n;
    bench.report(bench.n, start, format_args!("{bytes} B/fiber"));
    tx.close();
}

/// Resident memory plus page tables. A stack is a page or two in a slot of many, so its share of the page tables is not small, and
/// `VmRSS` does not count them.
fn memory_kb() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs is mounted");
    let field = |name| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok())
            .unwrap_or_else(|| panic!("{name} is missing in /proc/self/status"))
    };
    field("VmRSS:") + field("VmPTE:")
}

/// A tree of fibers, ten to a node, whose leaves are numbered and summed up.
fn skynet_of(bench: &Bench) {
    let start = Instant::now();
    let sum = skynet(bench.n);
    bench.report(bench.n, start, sum);
}
