//! A guard for the hottest paths: how many instructions each of them takes, against what is written down in `instructions.txt`.
//!
//! Times depend on the machine and on what else it does; a count of instructions is nearly the same each time, so it shows a
//! change of a few percent at once. `cargo bench -p fibers --bench instructions` runs each path twice under callgrind, with N
//! and with 2 N operations on one worker: the difference, divided by N, is the count per operation, free of what starting and
//! ending costs. It fails if a path has become longer than its tolerance allows.
//!
//! `-- --accept` writes the new counts down, `-- NAME..` counts these paths alone. A count says nothing of cache misses,
//! mispredicted branches or what a locked instruction costs: `workloads` measures those. Under `cargo test --benches`, which
//! does not pass `--bench`, each path runs a little without valgrind, as a check.

#[path = "programs/crowd.rs"]
mod crowd;
#[path = "programs/skynet.rs"]
mod skynet;

use crowd::crowd;
use fibers::sync::{Mutex, RwLock};
use fibers::{Runtime, WaitGroup, channel, select, spawn, yield_now};
use skynet::skynet;
use std::env::{args, current_exe};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;
use std::{fs, io};

struct Path {
    name: &'static str,
    /// How many operations the shorter run does.
    n: usize,
    /// How far its count may move, in percent.
    tolerance: f64,
    run: fn(usize),
}

/// What repeated counts of one program differ by is below 0.1 %, so this is what a change may cost without being asked for.
const STEADY: f64 = 3.0;
/// Paths that allocate: the lengths of malloc's walks through its bins depend on what was allocated before.
const ALLOCATING: f64 = 5.0;
/// For counts that were made with another compiler or C library: enough to see that something has gone badly wrong.
const OTHER_TOOLS: f64 = 20.0;
/// Below this no difference counts: a few percent of a short path is less than one instruction.
const LEAST: f64 = 1.0;

const PATHS: &[Path] = &[
    path("yield", 50_000, STEADY, yielding),
    path("spawn", 20_000, ALLOCATING, spawning),
    path("spawnjoin", 20_000, ALLOCATING, spawn_join),
    path("pingpong", 20_000, STEADY, ping_pong),
    path("select", 20_000, STEADY, select_of_4),
    path("selectquit", 20_000, STEADY, select_or_quit),
    path("default", 50_000, STEADY, select_with_default),
    path("buffered", 50_000, STEADY, buffered),
    path("mpmc", 50_000, STEADY, crowd),
    path("timeout", 20_000, STEADY, receive_with_timeout),
    path("mutex", 50_000, STEADY, mutex),
    path("lockquit", 20_000, STEADY, lock_or_quit),
    path("rwlock", 50_000, STEADY, rwlock),
    path("tree", 10_000, ALLOCATING, trees),
];

const fn path(name: &'static str, n: usize, tolerance: f64, run: fn(usize)) -> Path {
    Path { name, n, tolerance, run }
}

/// What the program that is counted is called with, before the name of a path and N.
const COUNTED: &str = "--counted";

fn main() -> ExitCode {
    let arguments: Vec<String> = args().skip(1).collect();
    let is_flag = |flag: &str| arguments.iter().any(|argument| argument == flag);
    if let [first, name, n] = arguments.as_slice()
        && first == COUNTED
    {
        run_once(name, n.parse().expect("N is a number"));
        return ExitCode::SUCCESS;
    }
    if !is_flag("--bench") {
        PATHS.iter().for_each(|path| run_once(path.name, 100));
        return ExitCode::SUCCESS;
    }
    let names: Vec<&str> = arguments.iter().map(String::as_str).filter(|a| !a.starts_with('-')).collect();
    if let Some(unknown) = names.iter().find(|name| PATHS.iter().all(|path| path.name != **name)) {
        println!("unknown path {unknown}");
        return ExitCode::from(2);
    }
    let wanted = PATHS.iter().filter(|path| names.is_empty() || names.contains(&path.name));
    if Command::new("valgrind")
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .is_err()
    {
        println!("### skipped: there is no valgrind, so NO instructions are counted");
        return ExitCode::SUCCESS;
    }
    let counts: Vec<(&Path, f64)> = wanted.map(|path| (path, count(path))).collect();
    match is_flag("--accept") {
        true => accept(&counts),
        false => compare(&counts),
    }
}

/// One path, on one worker: on several, other threads would spin for as long as they like.
fn run_once(name: &str, n: usize) {
    let path = PATHS.iter().find(|path| path.name == name).expect("a known path");
    let runtime = Runtime::builder().workers(1).seed(1).build().expect("a runtime");
    runtime.run(|| (path.run)(n));
}

/// Instructions per operation.
fn count(path: &Path) -> f64 {
    let (short, long) = (start_counting(path, path.n), start_counting(path, 2 * path.n));
    let (short, long) = (collected(short), collected(long));
    (long - short) / path.n as f64
}

fn start_counting(path: &Path, n: usize) -> Child {
    Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(current_exe().expect("a program knows where it is"))
        .args([COUNTED, path.name, &n.to_string()])
        // Variables that tune the runtime or malloc would be counted as well.
        .env_clear()
        .stderr(Stdio::piped())
        .spawn()
        .expect("valgrind is there")
}

/// From callgrind's last line but one: `==1== Collected : 48271`.
fn collected(child: Child) -> f64 {
    let output = child.wait_with_output().expect("a child can be waited for");
    let text = String::from_utf8_lossy(&output.stderr);
    let number = text
        .lines()
        .find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok());
    number.unwrap_or_else(|| panic!("valgrind has counted nothing:\n{text}"))
}

/// The counts that are written down, and with which tools they were made.
struct Kept {
    tools: String,
    counts: Vec<(String, f64)>,
}

impl Kept {
    fn file() -> PathBuf {
        PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions.txt"))
    }

    fn read() -> io::Result<Kept> {
        let text = fs::read_to_string(Kept::file())?;
        let tools = text.lines().find_map(|line| line.strip_prefix("# made with "));
        let count = |line: &str| {
            let (name, number) = line.split_once(' ')?;
            Some((name.to_string(), number.trim().parse().ok()?))
        };
        Ok(Kept {
            tools: tools.unwrap_or("unknown tools").to_string(),
            counts: text.lines().filter(|line| !line.starts_with('#')).filter_map(count).collect(),
        })
    }

    fn of(&self, path: &Path) -> Option<f64> {
        self.counts
            .iter()
            .find(|(name, _)| name == path.name)
            .map(|(_, count)| *count)
    }
}

/// The compiler and the C library, whose malloc and memcpy are counted too.
fn tools() -> String {
    let first_line = |program: &str, argument: &str| {
        let output = Command::new(program).arg(argument).output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).lines().next()?.trim().to_string())
    };
    let compiler = first_line("rustc", "-V").unwrap_or_else(|| "an unknown compiler".into());
    let library = first_line("getconf", "GNU_LIBC_VERSION").unwrap_or_else(|| "an unknown C library".into());
    format!("{compiler}, {library}, {}", std::env::consts::ARCH)
}

/// Writes the counts down, and keeps those of the paths that were not counted.
fn accept(counts: &[(&Path, f64)]) -> ExitCode {
    let kept = Kept::read().ok();
    let mut text = String::from(
        "# Instructions per operation, as callgrind counts them. Written by\n\
         # cargo bench -p fibers --bench instructions -- --accept\n",
    );
    let _ = writeln!(text, "# made with {}", tools());
    for path in PATHS {
        let new = counts
            .iter()
            .find(|(counted, _)| counted.name == path.name)
            .map(|(_, count)| *count);
        if let Some(count) = new.or_else(|| kept.as_ref()?.of(path)) {
            let _ = writeln!(text, "{} {count:.1}", path.name);
            println!("{:<11} {count:>9.1}", path.name);
        }
    }
    fs::write(Kept::file(), text).expect("instructions.txt can be written");
    ExitCode::SUCCESS
}

fn compare(counts: &[(&Path, f64)]) -> ExitCode {
    let kept = match Kept::read() {
        Ok(kept) => kept,
        Err(error) => {
            println!("!!! {}: {error}", Kept::file().display());
            return ExitCode::FAILURE;
        }
    };
    let tools = tools();
    let same_tools = kept.tools == tools;
    if !same_tools {
        println!("### the counts were made with {}", kept.tools);
        println!("### and this is {tools}: only differences above {OTHER_TOOLS} % are told");
    }
    let (mut longer, mut shorter) = (0, 0);
    println!("{:<11} {:>9} {:>9} {:>8}", "path", "was", "is", "change");
    for &(path, count) in counts {
        let Some(was) = kept.of(path) else {
            println!(
                "{:<11} {:>9} {count:>9.1} {:>8}  new: not written down yet",
                path.name, "-", "-"
            );
            longer += 1;
            continue;
        };
        let percent = (count - was) * 100.0 / was;
        let tolerance = if same_tools { path.tolerance } else { OTHER_TOOLS };
        let verdict = match percent {
            _ if (count - was).abs() <= LEAST => "",
            up if up > tolerance => "!!! longer",
            down if down < -tolerance => "shorter",
            _ => "",
        };
        longer += usize::from(verdict.starts_with('!'));
        shorter += usize::from(verdict == "shorter");
        println!("{:<11} {was:>9.1} {count:>9.1} {percent:>+7.1}%  {verdict}", path.name);
    }
    let accept = "cargo bench -p fibers --bench instructions -- --accept";
    if shorter > 0 && longer == 0 {
        println!("{shorter} of the paths have become shorter; to hold on to that, write the new counts down: {accept}");
    }
    if longer > 0 {
        println!("!!! {longer} of the paths have become longer. If that is worth it, write the new counts down: {accept}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Two fibers that do nothing but let each other run; N in all.
fn yielding(n: usize) {
    let wg = WaitGroup::new();
    for _ in 0..2 {
        wg.go(move || (0..n / 2).for_each(|_| yield_now()));
    }
    wg.wait();
}

/// All fibers are spawned before the spawner waits for them.
fn spawning(n: usize) {
    let wg = WaitGroup::new();
    for _ in 0..n {
        wg.add(1);
        let wg = wg.clone();
        spawn(move || wg.done());
    }
    wg.wait();
}

/// One fiber at a time, and its result.
fn spawn_join(n: usize) {
    for i in 0..n {
        assert_eq!(spawn(move || i).join().unwrap(), i);
    }
}

/// Round trips between two fibers.
fn ping_pong(n: usize) {
    let (there, received) = channel(0);
    let (answer, back) = channel(0);
    spawn(move || received.iter().try_for_each(|v: usize| answer.send(v)));
    for i in 0..n {
        there.send(i).unwrap();
        back.recv().unwrap();
    }
}

/// Four senders, one receiver that selects.
fn select_of_4(n: usize) {
    let [a, b, c, d] = std::array::from_fn(|_| {
        let (tx, rx) = channel(0);
        spawn(move || {
            (0..n / 4).try_for_each(|k: usize| tx.send(k)).unwrap();
            // The channel stays open: a closed one would be ready for ever.
            select! {}
        });
        rx
    });
    let mut sum = 0;
    for _ in 0..n {
        select! {
            v = <-a => sum += v.unwrap(),
            v = <-b => sum += v.unwrap(),
            v = <-c => sum += v.unwrap(),
            v = <-d => sum += v.unwrap(),
        }
    }
    assert_eq!(sum, n / 4 * (n / 4 - 1) * 2);
}

/// The everyday loop: data or quit.
fn select_or_quit(n: usize) {
    let (tx, rx) = channel(0);
    let (quitter, quit) = channel::<bool>(0);
    let keep_open = tx.clone();
    spawn(move || {
        (0..n).try_for_each(|k: usize| tx.send(k)).unwrap();
        drop(quitter);
    });
    let mut sum = 0;
    loop {
        select! {
            v = <-rx => sum += v.unwrap(),
            <-quit => break,
        }
    }
    assert_eq!(sum, n * (n - 1) / 2);
    drop(keep_open);
}

/// Two channels on which nothing ever happens.
fn select_with_default(n: usize) {
    let (_a, from_a) = channel::<usize>(0);
    let (_b, from_b) = channel::<usize>(0);
    let mut defaults = 0;
    for _ in 0..n {
        select! {
            <-from_a => {}
            <-from_b => {}
            default => defaults += 1,
        }
    }
    assert_eq!(defaults, n);
}

/// One producer, one consumer, room for 128.
fn buffered(n: usize) {
    let (tx, rx) = channel(128);
    spawn(move || (0..n).try_for_each(|i: usize| tx.send(i)));
    assert_eq!(rx.iter().sum::<usize>(), n * (n - 1) / 2);
}

/// A timeout that never fires: a timer is armed and cancelled each time.
fn receive_with_timeout(n: usize) {
    let (tx, rx) = channel(0);
    spawn(move || (0..n).try_for_each(|i: usize| tx.send(i)));
    for _ in 0..n {
        rx.recv_timeout(Duration::from_secs(1000)).unwrap();
    }
}

/// A mutex that is always free.
fn mutex(n: usize) {
    let mutex = Mutex::new(0);
    (0..n).for_each(|_| *mutex.lock() += 1);
    assert_eq!(mutex.into_inner(), n);
}

/// The same in a loop that can be ended.
fn lock_or_quit(n: usize) {
    let mutex = Mutex::new(0);
    let (_quitter, quit) = channel::<bool>(0);
    for _ in 0..n {
        select! {
            mut guard = mutex.lock_op() => *guard += 1,
            <-quit => unreachable!(),
        }
    }
    assert_eq!(mutex.into_inner(), n);
}

/// A lock for reading that is always free.
fn rwlock(n: usize) {
    let lock = RwLock::new(1);
    assert_eq!((0..n).map(|_| *lock.read()).sum::<usize>(), n);
}

/// Trees of a thousand leaves, ten fibers to a node, one tree after the other; N leaves in all.
fn trees(n: usize) {
    for _ in 0..n.div_ceil(1000) {
        assert_eq!(skynet(1000), 499_500);
    }
}
