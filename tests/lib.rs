//! What the tests of this package share: seeds, watchdogs, performers of every kind, drop counters, subprocesses.
//!
//! Variables: `FIBERS_TEST_SEED` repeats a run; `FIBERS_STRESS` multiplies the full number of rounds (1: all of them).
#![cfg(not(loom))]

use fibers::{JoinHandle, Runtime};
use std::any::Any;
use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::panic::{self, AssertUnwindSafe};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicIsize, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

/// The seed of this process: from `FIBERS_TEST_SEED`, else random. Printed, so that a failure can be repeated.
pub fn seed() -> u64 {
    static SEED: OnceLock<u64> = OnceLock::new();
    let seed = *SEED.get_or_init(|| match std::env::var("FIBERS_TEST_SEED") {
        Ok(text) => text.parse().expect("FIBERS_TEST_SEED is a number"),
        Err(_) => Rng(thread_entropy()).next(),
    });
    println!("FIBERS_TEST_SEED={seed}");
    seed
}

/// The standard library's hash maps are seeded by the system; that is random enough here.
fn thread_entropy() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0)
}

/// SplitMix64 (Steele, Lea and Flood 2014).
#[derive(Clone, Debug)]
pub struct Rng(pub u64);

impl Rng {
    /// A generator that differs from its siblings by `stream`.
    pub fn new(stream: u64) -> Self {
        Rng(seed() ^ stream.wrapping_mul(0xD134_2543_DE82_EF95))
    }

    /// 64 random bits.
    #[expect(clippy::should_implement_trait, reason = "an endless sequence needs no Option")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform in `0..n`.
    pub fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(n)) >> 64) as u64
    }
}

/// How many rounds a test goes: `short` by default, `full` with `FIBERS_STRESS=1`, a handful under Miri.
pub fn rounds(short: u64, full: u64) -> u64 {
    if cfg!(miri) {
        return (short / 500).clamp(2, 8);
    }
    match std::env::var("FIBERS_STRESS") {
        Ok(factor) => (full as f64 * factor.parse::<f64>().expect("FIBERS_STRESS is a number")) as u64,
        Err(_) => short,
    }
}

/// Runs `f` and aborts the process with the test's name if that takes longer than `limit`.
///
/// The time grows with `FIBERS_STRESS`. Under Miri the clock is virtual and nobody watches.
pub fn watchdog<T>(limit: Duration, f: impl FnOnce() -> T) -> T {
    if cfg!(miri) {
        return f();
    }
    let test = thread::current().name().unwrap_or("a test").to_owned();
    let seed = seed();
    let limit = limit.mul_f64(std::env::var("FIBERS_STRESS").map_or(1.0, |_| 60.0));
    let (done, over) = mpsc::channel::<()>();
    let dog = thread::spawn(move || {
        if over.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
            // Not by a macro, whose output would be captured and lost.
            let _ = writeln!(io::stderr(), "{test}: hangs (more than {limit:?}); FIBERS_TEST_SEED={seed}");
            std::process::abort();
        }
    });
    let result = panic::catch_unwind(AssertUnwindSafe(f));
    drop(done);
    dog.join().expect("the watchdog does not panic");
    result.unwrap_or_else(|payload| panic::resume_unwind(payload))
}

/// What a single test may take before its watchdog calls it a hang.
pub const HANG: Duration = Duration::from_secs(60);

/// Who performs operations in a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    /// OS threads outside of any runtime.
    Threads,
    /// Fibers of one runtime with this many workers; the test's own body is its main fiber.
    Fibers(usize),
}

impl On {
    /// Runs `test` with performers of this kind, watched, and says so if it fails.
    pub fn run(self, test: impl FnOnce(On)) {
        println!("on {self:?}");
        watchdog(HANG, || match self {
            On::Threads => test(self),
            On::Fibers(workers) => runtime(workers).run(|| test(self)),
        });
    }

    /// Starts another performer.
    #[track_caller]
    pub fn spawn<T: Send + 'static>(self, f: impl FnOnce() -> T + Send + 'static) -> Task<T> {
        match self {
            On::Threads => Task::Thread(thread::spawn(f)),
            On::Fibers(_) => Task::Fiber(fibers::spawn(f)),
        }
    }

    /// Lets others run.
    pub fn pause(self) {
        match self {
            On::Threads => thread::yield_now(),
            On::Fibers(_) => fibers::yield_now(),
        }
    }

    /// Waits until `cond` holds, without sleeping; the watchdog ends a wait in vain.
    pub fn eventually(self, mut cond: impl FnMut() -> bool) {
        while !cond() {
            self.pause();
        }
    }

    /// Who the caller is: differs between any two performers that live at the same time.
    pub fn who(self) -> String {
        match self {
            On::Threads => format!("{:?}", thread::current().id()),
            On::Fibers(_) => format!("{:?} on {:?}", fibers::current().id(), thread::current().id()),
        }
    }
}

/// Runs a test with every kind of performer; under Miri, which knows no fibers, with threads alone.
pub fn everywhere(test: impl Fn(On)) {
    On::Threads.run(&test);
    if !cfg!(miri) {
        on_workers(&[1, 2], test);
    }
}

/// Runs a stress test with every kind of performer, and with more workers than there may be processors.
pub fn under_stress(test: impl Fn(On)) {
    everywhere(&test);
    if !cfg!(miri) {
        On::Fibers(4).run(&test);
    }
}

/// A runtime of that many workers, with the seed of the process.
pub fn runtime(workers: usize) -> Runtime {
    Runtime::builder()
        .workers(workers)
        .seed(seed())
        .build()
        .expect("a runtime can be built")
}

/// Runs `test` as the main fiber of a runtime, once for each number of workers.
pub fn on_workers(workers: &[usize], test: impl Fn(On)) {
    for &workers in workers {
        On::Fibers(workers).run(&test);
    }
}

/// A performer that was started; join it to see its panic.
#[derive(Debug)]
pub enum Task<T> {
    /// See [`On::Threads`].
    Thread(thread::JoinHandle<T>),
    /// See [`On::Fibers`].
    Fiber(JoinHandle<T>),
}

impl<T> Task<T> {
    /// Waits for its end; panics as it has panicked.
    #[track_caller]
    pub fn join(self) -> T {
        self.outcome().unwrap_or_else(|payload| panic::resume_unwind(payload))
    }

    /// Waits for its end: its result, or the payload of its panic.
    pub fn outcome(self) -> Result<T, Box<dyn Any + Send>> {
        match self {
            Task::Thread(thread) => thread.join(),
            Task::Fiber(fiber) => fiber.join().map_err(|error| error.into_panic()),
        }
    }

    /// Whether it has ended.
    pub fn is_finished(&self) -> bool {
        match self {
            Task::Thread(thread) => thread.is_finished(),
            Task::Fiber(fiber) => fiber.is_finished(),
        }
    }
}

/// Runs `f`, which has to panic with exactly this message.
#[track_caller]
pub fn panics_with(message: &str, f: impl FnOnce()) {
    let payload = panic::catch_unwind(AssertUnwindSafe(f)).expect_err("it should have panicked");
    assert_eq!(panic_message(&*payload), message);
}

/// The text of a panic.
pub fn panic_message(payload: &(dyn Any + Send)) -> &str {
    match payload.downcast_ref::<&'static str>() {
        Some(text) => text,
        None => payload.downcast_ref::<String>().map_or("no text", String::as_str),
    }
}

/// A panic that prints nothing: the payload is a text, as with `panic!`.
pub fn quiet_panic(message: &'static str) -> ! {
    panic::resume_unwind(Box::new(message))
}

/// Counts values that are made and dropped.
#[derive(Clone, Debug, Default)]
pub struct Drops(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    made: AtomicUsize,
    live: AtomicIsize,
}

impl Drops {
    /// A counted value.
    pub fn make<T>(&self, value: T) -> Counted<T> {
        self.0.made.fetch_add(1, Ordering::Relaxed);
        self.0.live.fetch_add(1, Ordering::AcqRel);
        Counted {
            value,
            canary: ALIVE,
            drops: self.clone(),
        }
    }

    /// How many have been made and not been dropped.
    pub fn live(&self) -> isize {
        self.0.live.load(Ordering::Acquire)
    }

    /// How many have been made.
    pub fn made(&self) -> usize {
        self.0.made.load(Ordering::Acquire)
    }
}

const ALIVE: u64 = 0xA11F_EA11_FEA1_1FEA;

/// A value whose drop is counted, and which notices when it is dropped twice.
pub struct Counted<T> {
    /// What is carried.
    pub value: T,
    canary: u64,
    drops: Drops,
}

impl<T> Drop for Counted<T> {
    fn drop(&mut self) {
        if self.canary != ALIVE {
            eprintln!("a value was dropped twice, or is garbage");
            std::process::abort();
        }
        self.canary = 0;
        self.drops.0.live.fetch_sub(1, Ordering::AcqRel);
    }
}

impl<T: Clone> Clone for Counted<T> {
    fn clone(&self) -> Self {
        self.drops.make(self.value.clone())
    }
}

impl<T: fmt::Debug> fmt::Debug for Counted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Counted({:?})", self.value)
    }
}

/// A counter that clones share.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Adds one.
    pub fn add(&self) {
        self.next();
    }

    /// Adds one, and returns what it was before.
    pub fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::AcqRel)
    }

    /// What it is.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// Runs the calling test, named by its full path in the test binary, a second time in a process of its own, where `child` is
/// run instead. Returns the child's output.
///
/// `child` ends the process itself if it is to end in a particular way; otherwise the process succeeds when it returns.
pub fn subprocess(test: &str, child: impl FnOnce()) -> Output {
    subprocess_under(&[], test, child)
}

/// What a subprocess finds in its environment.
const CHILD: &str = "FIBERS_TEST_CHILD";

/// Whether this is the process that [`subprocess`] has started.
pub fn is_subprocess() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// As [`subprocess`], with the process run by a program, such as a tracer, whose command line comes before its own.
pub fn subprocess_under(tracer: &[&str], test: &str, child: impl FnOnce()) -> Output {
    if is_subprocess() {
        child();
        std::process::exit(0);
    }
    let binary = std::env::current_exe().expect("a test binary has a path");
    let mut command = match tracer {
        [] => Command::new(binary),
        [program, args @ ..] => {
            let mut command = Command::new(program);
            command.args(args).arg(binary);
            command
        }
    };
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]);
    let output = finish(command.env(CHILD, "1"));
    let ran = String::from_utf8_lossy(&output.stdout);
    assert!(ran.contains("running 1 test"), "no test is named {test}:\n{ran}");
    output
}

/// Runs a program to its end. If it takes longer than [`HANG`], it is killed and the caller panics.
#[track_caller]
pub fn finish(command: &mut Command) -> Output {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.expect("the program can be run");
    let began = Instant::now();
    while child.try_wait().expect("a child can be waited for").is_none() {
        if began.elapsed() > HANG {
            let _ = child.kill();
            panic!("{command:?} hangs: {:?}", child.wait_with_output());
        }
        thread::sleep(Duration::from_millis(2));
    }
    child.wait_with_output().expect("its output can be read")
}

/// What the system counts for this process.
pub mod memory {
    /// The memory that it uses, in bytes (resident set size).
    pub fn now() -> usize {
        status("VmRSS:")
    }

    /// The most that it has ever used, in bytes.
    pub fn peak() -> usize {
        status("VmHWM:")
    }

    fn status(name: &str) -> usize {
        let text = std::fs::read_to_string("/proc/self/status").expect("a process can look at itself");
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .expect("the kernel tells it");
        let kib: usize = value.trim().trim_end_matches(" kB").parse().expect("a number");
        kib << 10
    }
}

/// An open file that holds this, and is gone when it is closed.
pub fn unlinked_file(contents: &[u8]) -> File {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("fibers-test-{}-{number}", std::process::id()));
    std::fs::write(&path, contents).unwrap();
    let file = File::open(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    file
}

/// Says, so that nobody misses it, that a test has not been made.
pub fn skipped(why: &str) {
    let test = thread::current().name().unwrap_or("a test").to_owned();
    // Not by a macro, whose output would be captured and lost.
    let _ = writeln!(io::stderr(), "### SKIPPED {test}: {why}");
}

/// Panics unless `count` of `total` is what a coin of probability `p` gives, within six standard deviations.
#[track_caller]
pub fn assert_share(count: u64, total: u64, p: f64) {
    let (n, k) = (total as f64, count as f64);
    let six_sigma = 6.0 * (n * p * (1.0 - p)).sqrt() + 1.0;
    assert!(
        (k - n * p).abs() <= six_sigma,
        "{count} of {total}; expected {:.0} +- {six_sigma:.0}",
        n * p
    );
}
