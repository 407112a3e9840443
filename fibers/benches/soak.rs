//! What a program keeps that runs for long: operations of all kinds, and every now and then what the process uses.
//!
//! ```text
//!    soak [OPERATIONS]        10,000,000 if nothing is said; the number of workers is FIBERS_WORKERS
//!    soak --memory [FIBERS]   what a parked fiber takes (1,000,000), and what is left of a burst (a tenth of that)
//! ```
//!
//! It fails if memory, page tables, mappings or descriptors have grown by more than a little since the first tenth of the
//! operations, or if fibers take more than they should. Under `cargo test --benches`, which does not pass `--bench`, there is
//! little to do, as a check.

use fibers::{Op, Receiver, Sender, WaitGroup, channel, run, select, sleep, spawn, yield_now};
use std::fs;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Fibers that go through all kinds of operations, side by side, each with its partners.
const LANES: u64 = 16;
/// What may have come since the first tenth: kernel and allocator round up, and fibers happen to wait more at one time than at
/// another. A leak of a byte in eight operations is found in ten million.
const MORE_KB: usize = 1024;
const MORE_TABLES_KB: usize = 128;
const MORE_MAPPINGS: usize = 8;
/// A million parked fibers, in bytes each, page tables included.
const PARKED_BYTES: usize = 4800;

fn main() -> ExitCode {
    let (flags, words): (Vec<_>, Vec<_>) = std::env::args().skip(1).partition(|arg| arg.starts_with('-'));
    let has = |name: &str| flags.iter().any(|flag| flag == name);
    let number = words.first().and_then(|n| n.replace('_', "").parse::<u64>().ok());
    let full = number.is_some() || has("--bench") || has("--memory");
    let faults = if has("--memory") {
        memory(number.unwrap_or(1_000_000) as usize)
    } else if full {
        soak(number.unwrap_or(10_000_000))
    } else {
        memory(1000);
        soak(20_000);
        Vec::new() // of so few operations or fibers nothing can be told
    };
    faults.iter().for_each(|fault| println!("FAILED: {fault}"));
    if faults.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// What the process uses.
#[derive(Clone, Copy, Debug)]
struct Use {
    rss_kb: usize,
    /// `VmRSS` does not count them.
    tables_kb: usize,
    mappings: usize,
    descriptors: usize,
}

impl Use {
    fn now() -> Use {
        let status = fs::read_to_string("/proc/self/status").expect("procfs is mounted");
        let field = |name| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok())
                .unwrap_or_else(|| panic!("{name} is missing in /proc/self/status"))
        };
        let maps = fs::read("/proc/self/maps").expect("procfs is mounted");
        Use {
            rss_kb: field("VmRSS:"),
            tables_kb: field("VmPTE:"),
            mappings: maps.iter().filter(|&&byte| byte == b'\n').count(),
            descriptors: fs::read_dir("/proc/self/fd").expect("procfs is mounted").count(),
        }
    }

    fn total_kb(self) -> usize {
        self.rss_kb + self.tables_kb
    }

    /// What has grown by more than it may, in words.
    fn grown_to(self, end: Use) -> Vec<String> {
        [
            ("memory in KiB", self.rss_kb, end.rss_kb, MORE_KB),
            ("page tables in KiB", self.tables_kb, end.tables_kb, MORE_TABLES_KB),
            ("mappings", self.mappings, end.mappings, MORE_MAPPINGS),
            ("descriptors", self.descriptors, end.descriptors, 0),
        ]
        .into_iter()
        .filter(|&(_, before, after, more)| after > before + more)
        .map(|(what, before, after, more)| format!("{what}: from {before} to {after}, and {more} more are allowed"))
        .collect()
    }
}

/// Runs so many operations. Returns what has grown meanwhile.
fn soak(operations: u64) -> Vec<String> {
    println!(
        "{:>14} {:>8} {:>10} {:>10} {:>9} {:>5}",
        "operations", "s", "RSS KiB", "PTE KiB", "mappings", "fds"
    );
    run(|| {
        let (done, lanes, began) = (Arc::new(AtomicU64::new(0)), WaitGroup::new(), Instant::now());
        for lane in 0..LANES {
            let done = done.clone();
            // A while after the last row, so that all rows are taken while the lanes are busy.
            lanes.go(move || {
                while done.load(Ordering::Relaxed) <= operations {
                    done.fetch_add(
                        spawn(move || generation(lane)).join().expect("no fiber panics"),
                        Ordering::Relaxed,
                    );
                }
            });
        }
        let rows: Vec<Use> = (1..=10)
            .map(|tenth| {
                while done.load(Ordering::Relaxed) < operations / 10 * tenth {
                    sleep(Duration::from_millis(1));
                }
                let (so_far, s, now) = (done.load(Ordering::Relaxed), began.elapsed().as_secs_f64(), Use::now());
                println!(
                    "{so_far:>14} {s:>8.1} {:>10} {:>10} {:>9} {:>5}",
                    now.rss_kb, now.tables_kb, now.mappings, now.descriptors
                );
                now
            })
            .collect();
        lanes.wait();
        rows[0].grown_to(rows[9])
    })
}

/// What a lane talks to. They end when it lets go of its ends of the channels.
struct Partners {
    ask: Sender<u64>,
    answers: Receiver<u64>,
    store: Sender<u64>,
    stored: Receiver<u64>,
    numbers: Receiver<u64>,
    silent: Receiver<u64>,
    silence: Sender<u64>,
}

impl Partners {
    fn new() -> Partners {
        let (ask, asked) = channel(0);
        let (answer, answers) = channel(0);
        spawn(move || asked.iter().try_for_each(|v: u64| answer.send(v + 1)));
        let (store, shelf) = channel(8);
        let (out, stored) = channel(8);
        spawn(move || shelf.iter().try_for_each(|v: u64| out.send(v)));
        let (number, numbers) = channel(0);
        spawn(move || (0..).try_for_each(|i: u64| number.send(i)));
        let (silence, silent) = channel(0);
        Partners {
            ask,
            answers,
            store,
            stored,
            numbers,
            silent,
            silence,
        }
    }
}

/// New channels and fibers, and some rounds of all that can be done with them. Returns the number of operations.
fn generation(lane: u64) -> u64 {
    let partners = Partners::new();
    let sum = (0..50)
        .map(|round| rendezvous(&partners) + buffered(&partners) + choices(&partners, lane) + times(&partners, round))
        .sum();
    // Its fibers end with it, and so does whatever they wait in.
    drop(partners);
    sum
}

fn rendezvous(p: &Partners) -> u64 {
    for i in 0..16 {
        p.ask.send(i).expect("the partner lives");
        assert_eq!(p.answers.recv(), Ok(i + 1));
    }
    16 * 4
}

/// A few more than there is room for on the way.
fn buffered(p: &Partners) -> u64 {
    for i in 0..16 {
        p.store.send(i).expect("the partner lives");
    }
    for i in 0..16 {
        assert_eq!(p.stored.recv(), Ok(i));
    }
    16 * 4
}

/// Of each choice one arm wins, and the others are taken back.
fn choices(p: &Partners, lane: u64) -> u64 {
    for _ in 0..16 {
        select! {
            v = <-p.numbers => assert!(v.is_ok()),
            <-p.silent => unreachable!("nobody sends there"),
            <-p.answers => unreachable!("nobody has asked"),
        }
        select! {
            p.ask <- lane => assert_eq!(p.answers.recv(), Ok(lane + 1)),
            p.silence <- 0 if lane > LANES => unreachable!("there are not so many"),
            <-p.silent => unreachable!("nobody sends there"),
        }
        select! {
            <-p.silent => unreachable!("nobody sends there"),
            default => {}
        }
    }
    16 * (2 + 4 + 1)
}

/// Timeouts that lose, at times one that wins, sleeps, and fibers that are joined or not.
fn times(p: &Partners, round: u64) -> u64 {
    for i in 0..8 {
        assert!(p.numbers.recv_timeout(Duration::from_secs(60)).is_ok());
        let late = p.answers.recv_op().timeout(Duration::from_secs(60));
        p.ask.send(i).expect("the partner lives");
        assert_eq!(late.perform(), Ok(Ok(i + 1)));
        assert_eq!(spawn(move || i).join().expect("it does not panic"), i);
        spawn(yield_now);
    }
    assert!(p.silent.recv_timeout(Duration::from_micros(20 + round)).is_err());
    sleep(Duration::from_micros(10 + round));
    yield_now();
    8 * (2 + 4 + 2 + 2) + 3
}

/// What fibers take that wait for a message, and what remains of many when they have ended. Returns what is too much.
fn memory(count: usize) -> Vec<String> {
    let mut faults = Vec::new();
    let burst = (count / 10).max(1);
    run(|| {
        let before = Use::now();
        let tx = park(burst);
        let peak = Use::now();
        tx.close();
        let gone = Instant::now();
        sleep(Duration::from_secs(1));
        let after = Use::now();
        println!(
            "burst of {burst} fibers: RSS {} KiB before, {} at the peak, {} after {:.1} s; page tables {}, {}, {}",
            before.rss_kb,
            peak.rss_kb,
            after.rss_kb,
            gone.elapsed().as_secs_f64(),
            before.tables_kb,
            peak.tables_kb,
            after.tables_kb,
        );
        let (grown, kept) = (peak.rss_kb - before.rss_kb, after.rss_kb.saturating_sub(before.rss_kb));
        if kept > grown / 10 {
            faults.push(format!(
                "{kept} of {grown} KiB are kept after a burst, and a tenth is allowed"
            ));
        }
    });
    run(|| {
        let before = Use::now();
        let tx = park(count);
        let after = Use::now();
        let bytes = |before: usize, after: usize| after.saturating_sub(before) * 1024 / count;
        let each = bytes(before.total_kb(), after.total_kb());
        println!(
            "{count} parked fibers: {each} bytes each, {} of them page tables",
            bytes(before.tables_kb, after.tables_kb)
        );
        if each > PARKED_BYTES {
            faults.push(format!("{each} bytes for a parked fiber, and {PARKED_BYTES} are allowed"));
        }
        tx.close();
    });
    faults
}

/// Spawns fibers that wait until the channel is closed, and returns when all of them do.
fn park(count: usize) -> Sender<u64> {
    let (tx, rx) = channel(0);
    for _ in 0..count {
        let rx = rx.clone();
        spawn(move || rx.recv());
    }
    while tx.waiting_receivers() < count {
        yield_now();
    }
    tx
}
