//! What `select!` costs to compile: a program with 100 blocks of four arms each, and the same program with the `select!` of Tokio.
//!
//! `cargo bench --bench compile [ROUNDS]` generates both into the target directory, builds what they depend on, and then builds
//! the programs themselves in turn, each after a change to its source. It prints the best time of each, for a check, a debug and
//! a release build, with the ratio; the size of what the macros expand to; and the size of the stripped binaries. Linking is a
//! part of a build. The `select!` of Tokio has no send arm, so a future that sends stands there.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};
use std::time::{Duration, Instant};

const BLOCKS: usize = 100;
/// The aim: fibers take at most so many times as long as Tokio.
const AIM: f64 = 1.5;
const BUILDS: [(&str, &[&str]); 3] = [
    ("check", &["check"]),
    ("debug build", &["build"]),
    ("release build", &["build", "--release"]),
];

fn main() -> ExitCode {
    let (flags, words): (Vec<_>, Vec<_>) = std::env::args().skip(1).partition(|arg| arg.starts_with('-'));
    if words.is_empty() && !flags.iter().any(|flag| flag == "--bench") {
        println!("skipped: compile times are measured by `cargo bench` only");
        return ExitCode::SUCCESS;
    }
    let rounds = words.first().and_then(|word| word.parse().ok()).unwrap_or(3);
    let fibers = Program::new("fibers", FIBERS);
    let tokio = Program::new("tokio", TOKIO);
    for program in [&fibers, &tokio] {
        // Everything that it depends on, and a first build of it.
        for (_, build) in BUILDS {
            let output = program.cargo(build);
            if !output.status.success() {
                let error = String::from_utf8_lossy(&output.stderr);
                if program.name == "tokio" && is_offline(&error) {
                    println!("skipped: Tokio cannot be had here:\n{error}");
                    return ExitCode::SUCCESS;
                }
                println!("the program for {} does not compile:\n{error}", program.name);
                return ExitCode::FAILURE;
            }
        }
    }
    println!("{BLOCKS} select! blocks of 4 arms       fibers      tokio   fibers/tokio");
    for (name, build) in BUILDS {
        let (mut ours, mut theirs) = (Duration::MAX, Duration::MAX);
        for round in 0..rounds {
            ours = ours.min(fibers.time(build, round));
            theirs = theirs.min(tokio.time(build, round));
        }
        let ratio = ours.as_secs_f64() / theirs.as_secs_f64();
        let verdict = if ratio <= AIM { "" } else { "  more than the aim" };
        println!(
            "{name:29} {:7.0} ms {:7.0} ms   {ratio:.2}{verdict}",
            ours.as_secs_f64() * 1e3,
            theirs.as_secs_f64() * 1e3
        );
    }
    row("expansion", fibers.expansion(), tokio.expansion(), "bytes");
    row("stripped release binary", fibers.binary(), tokio.binary(), "bytes");
    ExitCode::SUCCESS
}

fn row(what: &str, ours: Option<u64>, theirs: Option<u64>, unit: &str) {
    match (ours, theirs) {
        (Some(ours), Some(theirs)) => println!(
            "{what:25} {ours:8} {unit} {theirs:8} {unit}   {:.2}",
            ours as f64 / theirs as f64
        ),
        _ => println!("{what}: skipped: it could not be found out"),
    }
}

/// Whether the registry could not be reached, as cargo says it.
fn is_offline(error: &str) -> bool {
    ["failed to download", "failed to fetch", "failed to get", "network", "offline"]
        .iter()
        .any(|sign| error.contains(sign))
}

/// What differs between the two programs.
struct Dialect {
    dependency: fn() -> String,
    head: &'static str,
    /// Block number `i`.
    block: fn(usize) -> String,
    main: fn() -> String,
}

struct Program {
    name: &'static str,
    dir: PathBuf,
    source: String,
}

impl Program {
    /// Writes the package.
    fn new(name: &'static str, dialect: Dialect) -> Program {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compile").join(name);
        let mut source = format!("//! {BLOCKS} blocks.\n{}", dialect.head);
        (0..BLOCKS).for_each(|i| source.push_str(&(dialect.block)(i)));
        source.push_str(&(dialect.main)());
        let manifest = format!(
            "[package]\nname = \"with-{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[dependencies]\n{}\n\n\
             [profile.release]\nstrip = true\n\n[workspace]\n",
            (dialect.dependency)()
        );
        fs::create_dir_all(dir.join("src")).expect("the target directory can be written to");
        fs::write(dir.join("Cargo.toml"), manifest).expect("the package can be written");
        let program = Program { name, dir, source };
        program.write("");
        program
    }

    fn write(&self, change: &str) {
        fs::write(self.dir.join("src/main.rs"), format!("{}{change}", self.source)).expect("the program can be written");
    }

    /// Cargo without what this run of it has set.
    fn cargo(&self, args: &[&str]) -> Output {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command
            .args(args)
            .current_dir(&self.dir)
            .env("CARGO_TARGET_DIR", self.dir.join("target"))
            .env_remove("RUSTFLAGS")
            .env("RUSTC_BOOTSTRAP", "1");
        command.output().expect("cargo is there")
    }

    /// How long a build takes after a change to the program.
    fn time(&self, build: &[&str], round: usize) -> Duration {
        self.write(&format!("\n/// Change {round}.\npub const _CHANGE: usize = {round};\n"));
        let start = Instant::now();
        let output = self.cargo(build);
        let took = start.elapsed();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        took
    }

    /// The size of the program with its macros expanded.
    fn expansion(&self) -> Option<u64> {
        let output = self.cargo(&["rustc", "--", "-Zunpretty=expanded"]);
        output.status.success().then_some(output.stdout.len() as u64)
    }

    fn binary(&self) -> Option<u64> {
        let file = self.dir.join(format!("target/release/with-{}", self.name));
        Some(fs::metadata(file).ok()?.len())
    }
}

/// The four arms of block `i`: a plain one, one with a condition, a send or a second receive, a timer.
const FIBERS: Dialect = Dialect {
    dependency: || format!("fibers = {{ path = {:?} }}", env!("CARGO_MANIFEST_DIR")),
    head: "use fibers::{Receiver, Sender, channel, select, time::sleep_op};\nuse std::time::Duration;\n",
    block: |i| {
        let third = match i % 2 {
            0 => format!("r = tx <- {i} => u64::from(r.is_ok())"),
            _ => "v = <-c => v.map_or(0, |(x, y)| x * y)".to_owned(),
        };
        format!(
            "
fn block_{i}(a: &Receiver<u64>, b: &Receiver<String>, c: &Receiver<(u64, u64)>, tx: &Sender<u64>, open: bool) -> u64 {{
    let _ = (c, tx);
    select! {{
        v = <-a => v.map_or(0, |v| v + {i}),
        v = <-b if open => v.map_or(0, |v| v.len() as u64 * {i}),
        {third},
        _ = sleep_op(Duration::from_millis({i})) => 0,
    }}
}}
"
        )
    },
    main: || {
        let mut main = "
fn main() {
    fibers::run(|| {
        let (tx, a) = channel(1);
        let (_b, b) = channel(1);
        let (_c, c) = channel(1);
        let open = std::env::args().count() == 1;
        let mut sum = 0;
"
        .to_owned();
        (0..BLOCKS).for_each(|i| writeln!(main, "        sum += block_{i}(&a, &b, &c, &tx, open);").unwrap_or_default());
        main + "        println!(\"{sum}\");\n    });\n}\n"
    },
};

const TOKIO: Dialect = Dialect {
    dependency: || "tokio = { version = \"1\", features = [\"macros\", \"rt\", \"sync\", \"time\"] }".to_owned(),
    head: "use std::time::Duration;\nuse tokio::{select, sync::mpsc::{Receiver, Sender, channel}, time::sleep};\n",
    block: |i| {
        let third = match i % 2 {
            0 => format!("r = tx.send({i}) => u64::from(r.is_ok())"),
            _ => "v = c.recv() => v.map_or(0, |(x, y)| x * y)".to_owned(),
        };
        format!(
            "
async fn block_{i}(a: &mut Receiver<u64>, b: &mut Receiver<String>, c: &mut Receiver<(u64, u64)>, tx: &Sender<u64>, open: bool) -> u64 {{
    let _ = (&c, tx);
    select! {{
        v = a.recv() => v.map_or(0, |v| v + {i}),
        v = b.recv(), if open => v.map_or(0, |v| v.len() as u64 * {i}),
        {third},
        _ = sleep(Duration::from_millis({i})) => 0,
    }}
}}
"
        )
    },
    main: || {
        let mut main = "
fn main() {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
        let (tx, mut a) = channel(1);
        let (_b, mut b) = channel(1);
        let (_c, mut c) = channel(1);
        let open = std::env::args().count() == 1;
        let mut sum = 0;
"
        .to_owned();
        (0..BLOCKS).for_each(|i| {
            writeln!(main, "        sum += block_{i}(&mut a, &mut b, &mut c, &tx, open).await;").unwrap_or_default();
        });
        main + "        println!(\"{sum}\");\n    });\n}\n"
    },
};
