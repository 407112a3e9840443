//! SHA-256 of every regular file below a directory, on all cores. Prints what this prints:
//! `find DIR -type f -print0 | LC_ALL=C sort -z | xargs -0r sha256sum`
//!
//! `cargo run --release --example digest_tree -- DIR [--fail-fast] [--jobs N]`
//!
//! ```text
//!           files                      replies, one channel per file
//!   walk ───────────> hash (N times) ────────────┐
//!    │                                           v
//!    └───────────────────────────────────────> print
//!           lines: the receiving ends of the replies, in the order of paths
//! ```
//!
//! Walking and hashing block in the kernel or keep a core busy, so they run on threads of their own (`spawn_blocking`); they meet
//! the fiber that prints at the same channels. All channels are bounded, so memory is as well, whatever the size of the tree: a
//! slow reader of the output stops the walk. When printing ends early, a cond tells the hashers, and the closed channels tell the
//! walk.

use fibers::time::Ticker;
use fibers::{Cond, Receiver, Runtime, Sender, channel, defer, select, spawn_blocking};
use sha2::{Digest, Sha256};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, IsTerminal, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use std::{env, thread};

const USAGE: &str = "\
usage: digest_tree DIR [--fail-fast] [--jobs N]

Prints the SHA-256 of every regular file below DIR, sorted by path, as sha256sum
prints it. Does not follow symbolic links. What cannot be read is reported on
standard error, and the exit code is 1.

  --fail-fast  stop at the first path that cannot be read
  --jobs N     read and hash N files at once, 1 to 512 (default: one per core)
  -h, --help   print this text";

/// How far the walk may be ahead of the output, in files.
const WINDOW: usize = 1024;

/// How much of a file is read at once, in bytes.
const CHUNK: usize = 128 << 10;

/// How often the output is flushed and the progress line is drawn.
const TICK: Duration = Duration::from_millis(100);

/// A path, and its digest or the reason why there is none.
struct Line {
    path: PathBuf,
    digest: io::Result<[u8; 32]>,
}

/// A file to be hashed, and where the result is wanted.
struct Job {
    path: PathBuf,
    reply: Sender<Line>,
}

fn main() -> ExitCode {
    let options = match Options::parse(env::args_os().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            eprintln!("digest_tree: {message}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    // One thread for each hasher, and one for the walk.
    let runtime = match Runtime::builder().blocking_threads(options.jobs + 1).build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("digest_tree: cannot start: {error}");
            return ExitCode::from(1);
        }
    };
    runtime.run(|| digest_tree(options))
}

fn digest_tree(options: Options) -> ExitCode {
    let (files, to_hash) = channel(WINDOW);
    let (lines, to_print) = channel(WINDOW);
    let stop = Cond::new();
    let totals = Arc::new(Totals::default());

    let mut threads = vec![spawn_blocking(move || {
        walk(options.root, files, lines);
    })];
    for _ in 0..options.jobs {
        let (files, stop, totals) = (to_hash.clone(), stop.clone(), totals.clone());
        threads.push(spawn_blocking(move || hash(files, stop, totals)));
    }
    drop(to_hash);

    let printed = print(to_print, &stop, &mut Output::new(totals), options.fail_fast);
    for thread in threads {
        thread.join().expect("neither walk nor hash panics");
    }
    match printed {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS, // the reader has had enough
        Err(error) => {
            eprintln!("digest_tree: standard output: {error}");
            ExitCode::from(1)
        }
    }
}

/// What lies below a directory.
enum Found {
    Dir(PathBuf),
    File(PathBuf),
    Failed(PathBuf, io::Error),
}

/// Sends every file at or below `root` in the order of paths. `None`: nobody wants to know any more.
///
/// The bytes of a whole path sort as its files and directories do, level by level, if a directory's name ends with a slash. So
/// sorting directory by directory sorts everything, and what is kept is only what lies beside the path from the root to here.
fn walk(root: Option<Found>, files: Sender<Job>, lines: Sender<Receiver<Line>>) -> Option<()> {
    let mut stack = Vec::from_iter(root);
    while let Some(found) = stack.pop() {
        let (reply, line) = channel(1);
        match found {
            Found::Dir(path) => list(path, &mut stack),
            Found::File(path) => {
                lines.send(line).ok()?;
                files.send(Job { path, reply }).ok()?;
            }
            Found::Failed(path, error) => {
                reply
                    .send(Line {
                        path,
                        digest: Err(error),
                    })
                    .ok()?;
                lines.send(line).ok()?;
            }
        }
    }
    Some(())
}

/// Puts what lies in a directory on the stack, in reverse order: the first will be popped first.
fn list(dir: PathBuf, stack: &mut Vec<Found>) {
    let entries = match fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(error) => return stack.push(Found::Failed(dir, error)),
    };
    let mut names: Vec<(OsString, Found)> = Vec::new();
    let mut failed = None;
    for entry in entries {
        match entry {
            Ok(entry) => names.extend(examine(entry)),
            Err(error) => failed = Some(error),
        }
    }
    names.sort_unstable_by(|a, b| b.0.cmp(&a.0));
    stack.extend(names.into_iter().map(|(_, found)| found));
    stack.extend(failed.map(|error| Found::Failed(dir, error)));
}

/// The name by which an entry is sorted, and what it is; nothing if it is neither a file nor a directory.
fn examine(entry: fs::DirEntry) -> Option<(OsString, Found)> {
    let (mut name, path) = (entry.file_name(), entry.path());
    match entry.file_type() {
        Ok(kind) if kind.is_file() => Some((name, Found::File(path))),
        Ok(kind) if kind.is_dir() => {
            name.push("/");
            Some((name, Found::Dir(path)))
        }
        Ok(_) => None,
        Err(error) => Some((name, Found::Failed(path, error))),
    }
}

/// Hashes files until there are no more, or until `stop`.
fn hash(files: Receiver<Job>, stop: Cond, totals: Arc<Totals>) {
    let mut chunk = vec![0; CHUNK];
    for Job { path, reply } in files {
        let digest = digest(&path, &mut chunk, &stop, &totals);
        totals.files.fetch_add(1, Relaxed);
        if reply.send(Line { path, digest }).is_err() && stop.is_signalled() {
            return;
        }
    }
}

fn digest(path: &Path, chunk: &mut [u8], stop: &Cond, totals: &Totals) -> io::Result<[u8; 32]> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    while !stop.is_signalled() {
        match file.read(chunk) {
            Ok(0) => return Ok(hasher.finalize().into()),
            Ok(n) => {
                hasher.update(&chunk[..n]);
                totals.bytes.fetch_add(n as u64, Relaxed);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("stopped"))
}

/// Prints the lines in their order, each as soon as its file has been hashed. Returns whether every file could be read.
fn print(lines: Receiver<Receiver<Line>>, stop: &Cond, output: &mut Output, fail_fast: bool) -> io::Result<bool> {
    defer!(stop.signal()); // whichever way this ends
    let ticker = Ticker::new(TICK);
    let mut next: Option<Receiver<Line>> = None;
    let mut all_read = true;
    loop {
        select! {
            Ok(line) = <-lines if next.is_none() else { break } => next = Some(line),
            Ok(line) = <-next else { break } => {
                next = None;
                all_read &= line.digest.is_ok();
                output.line(&line)?;
                if fail_fast && !all_read {
                    break;
                }
            }
            <-ticker => output.tick()?,
        }
    }
    output.finish()?;
    Ok(all_read)
}

/// How much has been hashed so far.
#[derive(Default)]
struct Totals {
    files: AtomicU64,
    bytes: AtomicU64,
}

/// Standard output, and a progress line on standard error if that is a terminal. A slow reader blocks the worker of the fiber
/// that prints; nothing else runs there.
struct Output {
    out: BufWriter<io::Stdout>,
    totals: Arc<Totals>,
    started: Instant,
    has_progress: bool,
    is_drawn: bool,
}

impl Output {
    fn new(totals: Arc<Totals>) -> Self {
        Output {
            out: BufWriter::new(io::stdout()),
            totals,
            started: Instant::now(),
            has_progress: io::stderr().is_terminal(),
            is_drawn: false,
        }
    }

    fn line(&mut self, line: &Line) -> io::Result<()> {
        self.erase();
        let name = escape(&line.path);
        match &line.digest {
            Ok(digest) => {
                let mark = if name == line.path.as_os_str().as_bytes() { "" } else { "\\" };
                let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
                write!(self.out, "{mark}{hex}  ")?;
                self.out.write_all(&name)?;
                self.out.write_all(b"\n")
            }
            Err(error) => {
                self.out.flush()?; // on a terminal, the lines before it come before it
                tell(&[b"digest_tree: ", &name[..], format!(": {error}\n").as_bytes()].concat());
                Ok(())
            }
        }
    }

    fn tick(&mut self) -> io::Result<()> {
        self.erase();
        self.out.flush()?;
        if self.has_progress {
            let (files, bytes) = (self.totals.files.load(Relaxed), self.totals.bytes.load(Relaxed));
            let rate = bytes as f64 / self.started.elapsed().as_secs_f64();
            tell(format!("{files} files, {}, {}/s", size(bytes as f64), size(rate)).as_bytes());
            self.is_drawn = true;
        }
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.erase();
        self.out.flush()
    }

    fn erase(&mut self) {
        if std::mem::take(&mut self.is_drawn) {
            tell(b"\r\x1b[K");
        }
    }
}

/// Writes to standard error at once. If that fails, there is nobody to tell.
fn tell(text: &[u8]) {
    let _ = io::stderr().write_all(text);
}

/// The name as sha256sum writes it: newline, carriage return and backslash as two characters.
fn escape(path: &Path) -> Vec<u8> {
    let mut name = Vec::with_capacity(path.as_os_str().len());
    for &byte in path.as_os_str().as_bytes() {
        match byte {
            b'\n' => name.extend(b"\\n"),
            b'\r' => name.extend(b"\\r"),
            b'\\' => name.extend(b"\\\\"),
            byte => name.push(byte),
        }
    }
    name
}

/// A number of bytes, in words of about four digits.
fn size(bytes: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let power = (bytes.max(1.0).log2() / 10.0) as usize;
    let power = power.min(units.len() - 1);
    let digits = if power == 0 { 0 } else { 1 };
    format!("{:.digits$} {}", bytes / 1024f64.powi(power as i32), units[power])
}

/// What the command line asks for.
struct Options {
    root: Option<Found>,
    jobs: usize,
    fail_fast: bool,
}

impl Options {
    /// `None`: help is asked for. An error is a text for the user.
    fn parse(mut args: impl Iterator<Item = OsString>) -> Result<Option<Options>, String> {
        let (mut dir, mut jobs, mut fail_fast, mut only_paths) = (None, None, false, false);
        while let Some(arg) = args.next() {
            match arg.to_str() {
                Some("-h" | "--help") if !only_paths => return Ok(None),
                Some("--fail-fast") if !only_paths => fail_fast = true,
                Some("--") if !only_paths => only_paths = true,
                Some("--jobs" | "-j") if !only_paths => {
                    jobs = Some(number(&args.next().ok_or("--jobs needs a number")?.to_string_lossy())?);
                }
                Some(text) if !only_paths && text.starts_with("--jobs=") => jobs = Some(number(&text["--jobs=".len()..])?),
                Some(text) if !only_paths && text.starts_with('-') => return Err(format!("unknown option {text}")),
                _ if dir.is_some() => return Err("more than one DIR".into()),
                _ => dir = Some(PathBuf::from(arg)),
            }
        }
        let dir = dir.ok_or("DIR is missing")?;
        let jobs = jobs.unwrap_or_else(|| thread::available_parallelism().map_or(1, Into::into));
        Ok(Some(Options {
            root: root(dir)?,
            jobs,
            fail_fast,
        }))
    }
}

fn number(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|n| (1..=512).contains(n));
    number.ok_or_else(|| format!("--jobs needs a number from 1 to 512, not '{text}'"))
}

/// Where the walk begins. As in find, a link or a device is neither a file nor a directory: there is nothing to print then.
fn root(dir: PathBuf) -> Result<Option<Found>, String> {
    let kind = fs::symlink_metadata(&dir)
        .map_err(|error| format!("{}: {error}", dir.display()))?
        .file_type();
    Ok(match (kind.is_dir(), kind.is_file()) {
        (true, _) => Some(Found::Dir(dir)),
        (_, true) => Some(Found::File(dir)),
        _ => None,
    })
}
