//! How late things come: an alarm on an idle runtime, an answer through a crowd of busy fibers, and whatever else has to get
//! through when fibers yield, or threads send, as fast as they can.
//!
//! ```text
//!    latency [PART..]     idle crowd yields wakes; names may be cut short
//! ```
//!
//! It prints percentiles in µs, each part on one worker and on two. Without a part all of them run, half a minute in all; under
//! `cargo test --benches`, which does not pass `--bench`, for some milliseconds each, as a check.

use fibers::fiber::Builder;
use fibers::{Receiver, Runtime, Sender, WaitGroup, channel, sleep, spawn, yield_now};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Its name, for how many tenths of a second each of its rows is measured, and what runs.
type Part = (&'static str, u64, fn(&Bench));

const PARTS: [Part; 4] = [
    ("idle", 24, idle),
    ("crowd", 12, crowd),
    ("yields", 12, yields),
    ("wakes", 15, wakes),
];

fn main() -> ExitCode {
    let (flags, wanted): (Vec<_>, Vec<_>) = std::env::args().skip(1).partition(|arg| arg.starts_with('-'));
    let full = !wanted.is_empty() || flags.iter().any(|flag| flag == "--bench");
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|start| name.starts_with(start.as_str()));
    let parts: Vec<_> = PARTS.iter().filter(|part| is_wanted(part.0)).collect();
    if parts.is_empty() {
        println!("no such part; there are: {}", PARTS.map(|part| part.0).join(" "));
        return ExitCode::from(2);
    }
    println!(
        "{:<44} {:>7} {:>8} {:>9} {:>9} {:>9} {:>9}",
        "µs", "workers", "samples", "p50", "p99", "p99.9", "max"
    );
    for &&(_, tenths, part) in &parts {
        for workers in [1, 2] {
            let time = Duration::from_millis(if full { tenths * 100 } else { 5 });
            let fewer = if full { 1 } else { 100 };
            let runtime = Runtime::builder().workers(workers).build().expect("a runtime can be built");
            runtime.run(|| part(&Bench { workers, time, fewer }));
        }
    }
    ExitCode::SUCCESS
}

struct Bench {
    workers: usize,
    /// For how long each row is measured.
    time: Duration,
    /// Crowds are smaller by this factor.
    fewer: usize,
}

impl Bench {
    /// Collects what `sample` returns, until the time is up.
    fn collect(&self, mut sample: impl FnMut(u64) -> Duration) -> Vec<Duration> {
        let began = Instant::now();
        (0..).take_while(|_| began.elapsed() < self.time).map(&mut sample).collect()
    }

    fn report(&self, what: &str, mut samples: Vec<Duration>, extra: impl AsRef<str>) {
        samples.sort_unstable();
        let at = |part: f64| {
            let place = (samples.len() as f64 * part) as usize;
            samples.get(place.min(samples.len().wrapping_sub(1))).map_or(f64::NAN, micros)
        };
        println!(
            "{what:<44} {:>7} {:>8} {:>9.1} {:>9.1} {:>9.1} {:>9.1}  {}",
            self.workers,
            samples.len(),
            at(0.5),
            at(0.99),
            at(0.999),
            at(1.0),
            extra.as_ref()
        );
    }
}

fn micros(time: &Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// How much later than asked for `sleep` returns. Times of 1 to 5 ms, which do not keep step with anything.
fn lateness(sleep: impl Fn(Duration), i: u64) -> Duration {
    let asked = Duration::from_micros(1000 + i * 1709 % 4000);
    let began = Instant::now();
    sleep(asked);
    began.elapsed().saturating_sub(asked)
}

/// An alarm, and nothing else to do. How late the kernel wakes the same thread if it sleeps by itself is a part of that.
fn idle(bench: &Bench) {
    bench.report("alarm, idle", bench.collect(|i| lateness(sleep, i)), "");
    bench.report("the thread sleeps, idle", bench.collect(|i| lateness(thread::sleep, i)), "");
}

/// Round trips of two fibers beside 10,000 that never stop: that yield, or that pass messages in pairs.
fn crowd(bench: &Bench) {
    let count = 10_000 / bench.fewer;
    let round_trips = |what, storm: Storm| {
        let (there, received) = channel(0);
        let (answer, back) = channel(0);
        spawn(move || received.iter().try_for_each(|v: u64| answer.send(v)));
        let samples = bench.collect(|i| {
            let began = Instant::now();
            there.send(i).expect("the other one lives");
            back.recv().expect("the other one lives");
            began.elapsed()
        });
        let round = storm.end() * count as f64;
        bench.report(what, samples, format!("all others in turn: {:.0}", round / 1e3));
    };
    round_trips("round trip, 10,000 yield", Storm::of_yields(bench.workers, count));
    round_trips("round trip, 10,000 talk in pairs", Storm::of_pairs(bench.workers, count));
}

/// What else has to get through while 1,000 fibers yield.
fn yields(bench: &Bench) {
    let storm = || Storm::of_yields(bench.workers, 1000 / bench.fewer);

    let (now, alarms) = (storm(), bench.collect(|i| lateness(sleep, i)));
    bench.report("alarm, 1,000 yield", alarms, now.rate());

    let (now, (tx, rx)) = (storm(), channel(0));
    let time = bench.time;
    let sender = thread::spawn(move || {
        let began = Instant::now();
        // The thread does not wait for the receiver, unless that is very late.
        while began.elapsed() < time && tx.send(Instant::now()).is_ok() {
            thread::sleep(Duration::from_micros(300));
        }
    });
    let wakes = rx.iter().map(|sent: Instant| sent.elapsed()).collect();
    sender.join().expect("a thread that only sends");
    bench.report("wake from a thread, 1,000 yield", wakes, now.rate());

    let now = storm();
    let starts = bench.collect(|_| {
        let spawned = Instant::now();
        let late = spawn(move || spawned.elapsed()).join().expect("it reads the clock");
        // Far enough from the last one, and not in step with the others.
        (0..7).for_each(|_| yield_now());
        late
    });
    bench.report("first run of a spawned fiber, 1,000 yield", starts, now.rate());

    let (now, (tx, rx), handle) = (storm(), channel(0), fibers::Handle::current());
    let spawner = thread::spawn(move || {
        let began = Instant::now();
        while began.elapsed() < time {
            let (spawned, tx) = (Instant::now(), tx.clone());
            drop(handle.spawn(move || tx.send(spawned.elapsed())));
            thread::sleep(Duration::from_micros(300));
        }
    });
    let starts = rx.iter().collect();
    spawner.join().expect("a thread that only spawns");
    bench.report("first run, spawned by a thread, 1,000 yield", starts, now.rate());
}

/// Two threads send to a fiber as fast as they can. They take CPU time as well, so two that only compute show what that costs.
fn wakes(bench: &Bench) {
    for (what, capacity) in [
        ("alarm, 1,000 yield, 2 threads compute", None),
        ("alarm, 1,000 yield, 2 threads send", Some(0)),
        ("alarm, 1,000 yield, 2 threads send, room 128", Some(128)),
    ] {
        let stop = Arc::new(AtomicBool::new(false));
        let (tx, rx) = channel(capacity.unwrap_or(0));
        let receiver = spawn(move || rx.iter().count());
        let threads = [tx.clone(), tx].map(|tx| {
            let stop = stop.clone();
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    match capacity {
                        Some(_) => tx.send(()).expect("the receiver lives"),
                        None => std::hint::spin_loop(),
                    }
                }
            })
        });
        let storm = Storm::of_yields(bench.workers, 1000 / bench.fewer);
        let began = Instant::now();
        let alarms = bench.collect(|i| lateness(sleep, i));
        stop.store(true, Ordering::Relaxed);
        let took = began.elapsed();
        let rate = storm.rate();
        threads
            .into_iter()
            .for_each(|thread| thread.join().expect("a thread that only sends"));
        let received = receiver.join().expect("a fiber that only receives") as f64 / took.as_millis() as f64;
        bench.report(what, alarms, format!("{rate}, messages per ms: {received:.0}"));
    }
}

/// Fibers that never stop, evenly on all workers.
struct Storm {
    stop: Arc<AtomicBool>,
    /// How many times one of them went on.
    steps: Arc<AtomicU64>,
    all: WaitGroup,
    began: Instant,
}

impl Storm {
    fn of_yields(workers: usize, count: usize) -> Storm {
        let yielder = |mut steps: Steps| {
            move || {
                while steps.go_on() {
                    yield_now();
                }
            }
        };
        Storm::new(count, |i, steps| start(i % workers, yielder(steps)))
    }

    fn of_pairs(workers: usize, count: usize) -> Storm {
        Storm::new(count / 2, |i, mut steps| {
            let (tx, rx): (Sender<u64>, Receiver<u64>) = channel(0);
            start(i % workers, move || rx.iter().for_each(drop));
            start(i % workers, move || {
                // A message is a step of the one and one of the other.
                while steps.go_on() && steps.go_on() {
                    tx.send(0).expect("the receiver lives");
                }
            });
        })
    }

    /// Returns when all of them are under way.
    fn new(count: usize, one: impl Fn(usize, Steps)) -> Storm {
        let (stop, sum, all) = (Arc::new(AtomicBool::new(false)), Arc::default(), WaitGroup::new());
        let started = Arc::new(AtomicUsize::new(0));
        for i in 0..count {
            all.add(1);
            let steps = Steps {
                own: 0,
                stop: stop.clone(),
                sum: Arc::clone(&sum),
                started: started.clone(),
                all: all.clone(),
            };
            one(i, steps);
        }
        while started.load(Ordering::Relaxed) < count {
            yield_now();
        }
        let began = Instant::now();
        Storm {
            stop,
            steps: sum,
            all,
            began,
        }
    }

    /// Ends it. Returns what a step took, in ns, on all workers together.
    fn end(self) -> f64 {
        let took = self.began.elapsed();
        self.stop.store(true, Ordering::Relaxed);
        self.all.wait();
        took.as_nanos() as f64 / self.steps.load(Ordering::Relaxed).max(1) as f64
    }

    /// Ends it, and says how fast it was.
    fn rate(self) -> String {
        format!("yields per ms: {:.0}", 1e6 / self.end())
    }
}

fn start(worker: usize, f: impl FnOnce() + Send + 'static) {
    drop(Builder::new().worker(worker).spawn(f).expect("there is a stack"));
}

/// The steps of one fiber, in its own memory until it ends: many would get in each other's way in one counter.
struct Steps {
    own: u64,
    stop: Arc<AtomicBool>,
    sum: Arc<AtomicU64>,
    started: Arc<AtomicUsize>,
    all: WaitGroup,
}

impl Steps {
    fn go_on(&mut self) -> bool {
        if self.own == 0 {
            self.started.fetch_add(1, Ordering::Relaxed);
        }
        self.own += 1;
        !self.stop.load(Ordering::Relaxed)
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        self.sum.fetch_add(self.own, Ordering::Relaxed);
        self.all.done();
    }
}
