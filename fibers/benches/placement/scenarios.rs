//! The programs. Each is what somebody would write, and each is hard on some rule of placement.

use crate::Sample;
use crate::crowd::crowd;
use crate::machine::compute;
use crate::sieve::sieve;
use crate::skynet::skynet;
use fibers::fiber::Builder;
use fibers::{WaitGroup, channel, sleep, spawn, spawn_blocking, spawn_local};
use std::time::{Duration, Instant};

/// What a program's time is compared with.
pub(crate) enum Ideal {
    /// It talks: the same program on one worker.
    OneWorker,
    /// It computes: its work, divided among the cores.
    AllCores,
}
use Ideal::{AllCores, OneWorker};

pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) ideal: Ideal,
    /// Runs on the main fiber. The work is to be divided by the argument.
    pub(crate) run: fn(usize) -> Sample,
}

const fn scenario(name: &'static str, ideal: Ideal, run: fn(usize) -> Sample) -> Scenario {
    Scenario { name, ideal, run }
}

pub(crate) const SCENARIOS: [Scenario; 35] = [
    scenario("ping-pong", OneWorker, ping_pong),
    scenario("crowd", OneWorker, crowd_of_16),
    scenario("sieve", OneWorker, sieve_of_2000),
    scenario("skynet", OneWorker, skynet_of_a_million),
    scenario("burst", OneWorker, burst),
    scenario("fan-out-16", AllCores, |part| fan_out(no_pause, &FEW, Nothing, part)),
    scenario("fan-out-16-late", AllCores, |part| fan_out(sleep_50_ms, &FEW, Nothing, part)),
    scenario("fan-out-16-busy-main", AllCores, |part| {
        fan_out(no_pause, &FEW_AND_MAIN, Nothing, part)
    }),
    scenario("fan-out-1000", AllCores, |part| fan_out(no_pause, &MANY, Nothing, part)),
    scenario("fan-out-1000-busy-main", AllCores, |part| {
        fan_out(no_pause, &MANY_AND_MAIN, Nothing, part)
    }),
    scenario("pool-sleep", AllCores, |part| pool(sleep_10_ms, COMPUTE, Nothing, part)),
    scenario("pool-read", AllCores, |part| pool(read_a_file, COMPUTE, Nothing, part)),
    scenario("pool-blocking", AllCores, |part| {
        pool(read_on_the_side, COMPUTE, Nothing, part)
    }),
    scenario("pool-at-once", AllCores, |part| pool(no_pause, COMPUTE, Nothing, part)),
    scenario("pool-mixed-sleep", AllCores, |part| pool(sleep_10_ms, MIXED, Nothing, part)),
    scenario("pool-mixed-read", AllCores, |part| pool(read_a_file, MIXED, Nothing, part)),
    scenario("pool-mixed-blocking", AllCores, |part| {
        pool(read_on_the_side, MIXED, Nothing, part)
    }),
    scenario("pool-mixed-at-once", AllCores, |part| pool(no_pause, MIXED, Nothing, part)),
    scenario("pool-empty-sleep", OneWorker, |part| pool(sleep_10_ms, EMPTY, Nothing, part)),
    scenario("pool-empty-sleep+local", OneWorker, |part| {
        pool(sleep_10_ms, EMPTY, Local, part)
    }),
    scenario("pool-empty-at-once", OneWorker, |part| pool(no_pause, EMPTY, Nothing, part)),
    scenario("sessions-random", AllCores, |part| sessions(RANDOM, Nothing, part)),
    scenario("sessions-neighbours", AllCores, |part| sessions(NEIGHBOURS, Nothing, part)),
    scenario("sessions-neighbours+spread", AllCores, |part| {
        sessions(NEIGHBOURS, Spread, part)
    }),
    scenario("parent-joins-40", OneWorker, |part| parent_joins(micros(40), part)),
    scenario("parent-joins-80", OneWorker, |part| parent_joins(micros(80), part)),
    scenario("parent-spawns-40", AllCores, |part| parent_spawns(micros(40), part)),
    scenario("parent-spawns-80", AllCores, |part| parent_spawns(micros(80), part)),
    scenario("pipeline-work-sleep", AllCores, |part| {
        pipeline(sleep_10_ms, LONG, Nothing, part)
    }),
    scenario("pipeline-work-at-once", AllCores, |part| {
        pipeline(no_pause, LONG, Nothing, part)
    }),
    scenario("pipeline-empty-sleep", OneWorker, |part| {
        pipeline(sleep_10_ms, SHORT, Nothing, part)
    }),
    scenario("pipeline-empty-sleep+local", OneWorker, |part| {
        pipeline(sleep_10_ms, SHORT, Local, part)
    }),
    scenario("pipeline-empty-at-once", OneWorker, |part| {
        pipeline(no_pause, SHORT, Nothing, part)
    }),
    scenario("pipeline-empty-buffered", OneWorker, |part| {
        pipeline(sleep_10_ms, BUFFERED, Nothing, part)
    }),
    scenario("fan-out-16+spread", AllCores, |part| fan_out(no_pause, &FEW, Spread, part)),
];

/// What a program says of where its fibers are to start.
#[derive(Clone, Copy)]
enum Hint {
    Nothing,
    Local,
    Spread,
}
use Hint::{Local, Nothing, Spread};

/// Starts a fiber of a group.
#[track_caller]
fn start(wg: &WaitGroup, hint: Hint, f: impl FnOnce() + Send + 'static) {
    wg.add(1);
    let wg = wg.clone();
    let f = move || {
        f();
        wg.done();
    };
    drop(match hint {
        Nothing => spawn(f),
        Local => spawn_local(f),
        Spread => Builder::new().spread().spawn(f).expect("there is memory for a fiber"),
    });
}

const fn micros(n: u64) -> Duration {
    Duration::from_micros(n)
}

fn since(start: Instant, work: Duration) -> Sample {
    Sample {
        took: start.elapsed(),
        work,
        least: Duration::ZERO,
    }
}

/// Round trips of two fibers that do nothing else.
fn ping_pong(part: usize) -> Sample {
    let (there, received) = channel(0);
    let (answer, back) = channel(0);
    spawn(move || received.iter().try_for_each(|v: usize| answer.send(v)));
    let start = Instant::now();
    for i in 0..500_000 / part {
        there.send(i).unwrap();
        back.recv().unwrap();
    }
    since(start, Duration::ZERO)
}

/// Eight producers and eight consumers on one channel.
fn crowd_of_16(part: usize) -> Sample {
    let start = Instant::now();
    crowd(2_000_000 / part);
    since(start, Duration::ZERO)
}

/// A chain of 2,000 filters that grows by one fiber per prime.
fn sieve_of_2000(part: usize) -> Sample {
    let start = Instant::now();
    sieve(2000 / part);
    since(start, Duration::ZERO)
}

/// A tree of a million fibers, ten to a node.
fn skynet_of_a_million(part: usize) -> Sample {
    let start = Instant::now();
    skynet(if part == 1 { 1_000_000 } else { 1000 });
    since(start, Duration::ZERO)
}

/// A million fibers that end at once.
fn burst(part: usize) -> Sample {
    let wg = WaitGroup::new();
    let start = Instant::now();
    for _ in 0..1_000_000 / part {
        wg.add(1);
        let wg = wg.clone();
        spawn(move || wg.done());
    }
    wg.wait();
    since(start, Duration::ZERO)
}

/// What a main does between its own start and that of its work.
type Pause = fn();

fn no_pause() {}

fn sleep_10_ms() {
    sleep(Duration::from_millis(10));
}

/// After that the other workers sleep deeply.
fn sleep_50_ms() {
    sleep(Duration::from_millis(50));
}

fn read_a_file() {
    std::fs::read(std::env::current_exe().unwrap()).unwrap();
}

fn read_on_the_side() {
    spawn_blocking(read_a_file).join().unwrap();
}

struct FanOut {
    fibers: u32,
    each: Duration,
    main: Duration,
}
const FEW: FanOut = FanOut {
    fibers: 16,
    each: micros(5000),
    main: Duration::ZERO,
};
const MANY: FanOut = FanOut {
    fibers: 1000,
    each: micros(80),
    main: Duration::ZERO,
};
const FEW_AND_MAIN: FanOut = FanOut {
    main: micros(40_000),
    ..FEW
};
const MANY_AND_MAIN: FanOut = FanOut {
    main: micros(40_000),
    ..MANY
};

/// Fibers that compute, and a main that computes itself before it waits for them.
fn fan_out(pause: Pause, of: &FanOut, hint: Hint, part: usize) -> Sample {
    let wg = WaitGroup::new();
    let (each, main) = (of.each / part as u32, of.main / part as u32);
    pause();
    let begun = Instant::now();
    for _ in 0..of.fibers {
        start(&wg, hint, move || compute(each));
    }
    compute(main);
    wg.wait();
    Sample {
        least: main.max(each),
        ..since(begun, main + each * of.fibers)
    }
}

#[derive(Clone, Copy)]
struct Job {
    sleep: Duration,
    compute: Duration,
    times: u32,
}
const COMPUTE: Job = Job {
    sleep: Duration::ZERO,
    compute: micros(80),
    times: 1000,
};
const MIXED: Job = Job {
    sleep: micros(100),
    compute: micros(100),
    times: 800,
};
const EMPTY: Job = Job {
    sleep: Duration::ZERO,
    compute: Duration::ZERO,
    times: 200_000,
};

/// A pool of eight fibers that is there before its jobs.
fn pool(pause: Pause, job: Job, hint: Hint, part: usize) -> Sample {
    const SIZE: u32 = 8;
    let (jobs, queue) = channel::<Job>(0);
    let wg = WaitGroup::new();
    for _ in 0..SIZE {
        let queue = queue.clone();
        start(&wg, hint, move || {
            for job in queue {
                if !job.sleep.is_zero() {
                    sleep(job.sleep);
                }
                compute(job.compute);
            }
        });
    }
    pause();
    let times = job.times / part as u32;
    let begun = Instant::now();
    for _ in 0..times {
        jobs.send(job).unwrap();
    }
    jobs.close();
    wg.wait();
    Sample {
        least: (job.sleep + job.compute) * times / SIZE,
        ..since(begun, job.compute * times)
    }
}

/// Which of the sessions become busy.
type Busy = fn(usize) -> bool;
const RANDOM: Busy = |i| i * 7919 % 1000 < 100;
const NEIGHBOURS: Busy = |i| i / 100 == 3;

/// A thousand fibers that wait, each for messages of its own, of which a hundred get something to do. There is room for what
/// they get: a main that waited for one of them would stand in line behind the others.
fn sessions(is_busy: Busy, hint: Hint, part: usize) -> Sample {
    let wg = WaitGroup::new();
    let open: Vec<_> = (0..1000)
        .map(|_| {
            let (tx, rx) = channel(4);
            start(&wg, hint, move || rx.iter().for_each(compute));
            tx
        })
        .collect();
    sleep(Duration::from_millis(30));
    let each = micros(200) / part as u32;
    let begun = Instant::now();
    for _ in 0..4 {
        for session in (0..1000).filter(|&i| is_busy(i)) {
            open[session].send(each).unwrap();
        }
    }
    drop(open);
    wg.wait();
    since(begun, each * 400)
}

/// One child after the other, each of which is waited for.
fn parent_joins(each: Duration, part: usize) -> Sample {
    let start = Instant::now();
    let times = 1000 / part as u32;
    for _ in 0..times {
        spawn(move || compute(each)).join().unwrap();
    }
    since(start, each * times)
}

/// One child after the other, each as soon as there is a ticket for it: an acceptor that serves 64 at a time.
fn parent_spawns(each: Duration, part: usize) -> Sample {
    let (back, tickets) = channel(64);
    (0..64).for_each(|_| back.send(()).unwrap());
    let start = Instant::now();
    let times = 80_000 / part as u32 / each.as_micros() as u32;
    for _ in 0..times {
        tickets.recv().unwrap();
        let back = back.clone();
        spawn(move || {
            compute(each);
            back.send(()).unwrap();
        });
    }
    (0..64).for_each(|_| tickets.recv().unwrap());
    since(start, each * times)
}

#[derive(Clone, Copy)]
struct Stream {
    room: usize,
    compute: Duration,
    items: usize,
}
const LONG: Stream = Stream {
    room: 0,
    compute: micros(20),
    items: 500,
};
const SHORT: Stream = Stream {
    room: 0,
    compute: Duration::ZERO,
    items: 100_000,
};
const BUFFERED: Stream = Stream { room: 16, ..SHORT };

/// Eight stages, each of which does some work on every item.
fn pipeline(pause: Pause, of: Stream, hint: Hint, part: usize) -> Sample {
    const STAGES: usize = 8;
    let wg = WaitGroup::new();
    let (first, mut last) = channel::<usize>(of.room);
    for _ in 0..STAGES {
        let (out, next) = channel(of.room);
        let items = std::mem::replace(&mut last, next);
        start(&wg, hint, move || {
            for item in items {
                compute(of.compute);
                out.send(item).unwrap();
            }
        });
    }
    pause();
    let items = of.items / part;
    let begun = Instant::now();
    start(&wg, hint, move || (0..items).for_each(|i| first.send(i).unwrap()));
    assert_eq!(last.iter().count(), items);
    wg.wait();
    Sample {
        least: of.compute * (items + STAGES) as u32,
        ..since(begun, of.compute * (items * STAGES) as u32)
    }
}
