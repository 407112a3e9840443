//! Prints the last lines of files, and then whatever is added to them, as `tail -F` does.
//!
//! `cargo run --release --example tail_f -- -n 20 /var/log/syslog /var/log/auth.log`
//!
//! ```text
//!   inotify ─> changes ┬─> a follower for each file ─┐ chunks
//!                      └─> ..                        ├────────> printer ─> standard output
//!   a tick now and then ─> each follower ────────────┘
//! ```
//!
//! - A file may be cut off, or be replaced by another one of its name (then the rest of the old one comes first), or come into
//!   being later.
//! - What inotify tells is taken as a hint: each follower then looks at its file. So many changes make one look, and what is not told
//!   (network file systems, directories that are not there yet) is seen at the next tick.
//! - Ends when it is interrupted, and when nobody reads its output any more, whether it has something to say or not.

use fibers::fs::{self, File, OpenOptions};
use fibers::io::Fd;
use fibers::sync::{Watch, Watcher};
use fibers::time::Ticker;
use fibers::{Receiver, Sender, channel, go, select, spawn_blocking};
use fibers_examples::{Args, complain, stop_on_signal};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use std::fmt::Display;
use std::fs::Metadata;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

const USAGE: &str = "\
usage: tail_f [-n LINES] [--] FILE..

Prints the last LINES lines (default: 10) of each FILE, and then what is added to it.
A FILE that is replaced, cut off, or not there yet is followed by its name. If there
are several, a line says which one the text below it is from.

  -n LINES    how many lines to begin with
  -h, --help  print this text";

/// How much is read at once, in bytes.
const PART: usize = 64 << 10;

/// How often a file is looked at without a reason.
const TICK: Duration = Duration::from_secs(1);

#[fibers::main]
fn main() -> ExitCode {
    let options = fibers_examples::options(USAGE, parse);
    match tail(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS, // the reader has had enough
        Err(error) => {
            tell(error);
            ExitCode::FAILURE
        }
    }
}

/// Says something on standard error. If that fails, there is nobody to tell.
fn tell(text: impl Display) {
    complain(format_args!("tail_f: {text}"));
}

/// Follows all files until the end. What still runs then is unwound when the main fiber returns.
fn tail(options: Options) -> io::Result<()> {
    let stop = stop_on_signal()?;
    let (chunks, to_print) = channel(16);
    let out = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let printer = go!(print(to_print, out, options.paths.clone()));
    go!(follow_all(options, chunks));
    let unread = spawn_blocking(wait_for_hang_up);
    select! {
        <-stop => Ok(()),
        <-unread => Ok(()),
        printed = <-printer => printed.expect("printing does not panic"),
    }
}

/// Returns once nobody reads our standard output. (It is polled on a thread of the pool, and not made waitable as a descriptor of a
/// fiber: that would make it non-blocking for all who share it.)
fn wait_for_hang_up() {
    let out = io::stdout();
    let nothing_but_errors = PollFlags::empty();
    while let Err(rustix::io::Errno::INTR) = poll(&mut [PollFd::new(&out, nothing_but_errors)], None) {}
}

/// Text of one of the files, numbered in the order of the command line.
struct Chunk {
    from: usize,
    bytes: Vec<u8>,
}

/// Writes what comes, with a header where it is from another file than what came before. (Through the blocking pool: standard output
/// may be anything, and wait.)
fn print(chunks: Receiver<Chunk>, mut out: File, names: Vec<PathBuf>) -> io::Result<()> {
    let mut last = None;
    for Chunk { from, bytes } in chunks {
        let mut text = Vec::new();
        if names.len() > 1 && last != Some(from) {
            let gap = if last.is_some() { "\n" } else { "" };
            text = [gap.as_bytes(), b"==> ", names[from].as_os_str().as_bytes(), b" <==\n"].concat();
        }
        text.extend(bytes);
        out.write_all(&text)?;
        last = Some(from);
    }
    Ok(())
}

/// Sends the last lines of each file in turn, and starts to follow it.
fn follow_all(options: Options, chunks: Sender<Chunk>) {
    let changes = Arc::new(Changes::start());
    for (from, path) in options.paths.into_iter().enumerate() {
        let mut followed = Followed {
            path,
            open: None,
            trouble: None,
            from,
            chunks: chunks.clone(),
            changes: changes.clone(),
        };
        let seen = changes.seen.subscribe();
        if followed.begin(options.lines).is_none() {
            return;
        }
        go!(follow(followed, seen));
    }
}

/// Looks at the file whenever something may have happened to it, until nobody wants to know.
fn follow(mut file: Followed, changes: Watcher<()>) {
    let ticker = Ticker::new(TICK);
    while file.look().is_some() {
        select! {
            _ = changes.changed_op() => {}
            <-ticker => {}
        }
    }
}

/// What inotify tells of all files, which is only that something has happened.
struct Changes {
    /// None: there is none to be had, and the ticks have to do.
    inotify: Option<Arc<Fd<OwnedFd>>>,
    seen: Watch<()>,
}

impl Changes {
    fn start() -> Changes {
        let seen = Watch::new(());
        let made = inotify::init(CreateFlags::CLOEXEC).map_err(io::Error::from);
        let inotify = match made.and_then(Fd::new) {
            Ok(inotify) => Arc::new(inotify),
            Err(error) => {
                tell(format_args!("looking once in {TICK:?}, since inotify fails: {error}"));
                return Changes { inotify: None, seen };
            }
        };
        go!(clone(inotify, seen); {
            let mut events = [0; 4096];
            while (&*inotify).read(&mut events).is_ok() {
                seen.set(());
            }
        });
        Changes {
            inotify: Some(inotify),
            seen,
        }
    }

    /// From now on, tells what happens to the file, and to its name. What cannot be watched is seen at the next tick.
    ///
    /// A watch ends with the file, not with its name, so there is one for each old file that is kept and was followed.
    fn watch(&self, path: &Path) {
        let names = WatchFlags::CREATE | WatchFlags::DELETE | WatchFlags::MOVED_FROM | WatchFlags::MOVED_TO;
        let parent = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        if let Some(inotify) = &self.inotify {
            let _ = inotify::add_watch(inotify, parent, names | WatchFlags::ONLYDIR);
            let _ = inotify::add_watch(inotify, path, WatchFlags::MODIFY | WatchFlags::ATTRIB | WatchFlags::MOVE_SELF);
        }
    }
}

/// A file that is followed by its name.
struct Followed {
    path: PathBuf,
    open: Option<Open>,
    /// What was said last about a name that has no file to follow.
    trouble: Option<String>,
    from: usize,
    chunks: Sender<Chunk>,
    changes: Arc<Changes>,
}

/// The file that had the name when it was last looked at, or the last one that had it.
struct Open {
    file: File,
    /// Device and inode. No other file can get the same ones while this one is open.
    id: (u64, u64),
    /// Up to where it has been sent, in bytes.
    position: u64,
}

/// All methods yield `None` if nobody wants to know any more.
impl Followed {
    fn begin(&mut self, lines: u64) -> Option<()> {
        self.changes.watch(&self.path);
        match open(&self.path).and_then(|open| Ok((last_lines(&open.file, lines)?, open))) {
            Ok((position, open)) => self.open = Some(Open { position, ..open }),
            Err(error) => return self.cannot(&error),
        }
        self.send(Vec::new())?; // the header, also of a file that is empty
        self.send_rest()
    }

    /// Sends what is new.
    fn look(&mut self) -> Option<()> {
        self.send_rest()?;
        let found = fs::metadata(&self.path);
        let known = self.open.as_ref().map(|open| open.id);
        match found {
            Ok(metadata) if Some(id(&metadata)) == known => {
                if self.trouble.take().is_some() {
                    self.say("is back");
                }
                Some(())
            }
            Ok(_) => self.exchange(),
            Err(error) => self.cannot(&error),
        }
    }

    /// Another file has the name now.
    fn exchange(&mut self) -> Option<()> {
        let new = match open(&self.path) {
            Ok(new) => new,
            Err(error) => return self.cannot(&error),
        };
        self.send_rest()?; // up to the moment of the exchange
        self.say(if self.open.is_some() {
            "has been replaced"
        } else {
            "has appeared"
        });
        self.changes.watch(&self.path);
        (self.open, self.trouble) = (Some(new), None);
        self.send_rest()
    }

    fn send_rest(&mut self) -> Option<()> {
        let Some(open) = &mut self.open else { return Some(()) };
        let length = match open.file.metadata() {
            Ok(metadata) => metadata.len(),
            Err(error) => return self.cannot(&error),
        };
        if length < open.position {
            open.position = 0;
            self.say("has been cut off");
        }
        while let Some(open) = &mut self.open
            && open.position < length
        {
            let count = (length - open.position).min(PART as u64);
            let mut bytes = vec![0; count as usize];
            match open.file.read_at(&mut bytes, open.position) {
                Ok(0) => break, // cut off just now
                Ok(count) => {
                    open.position += count as u64;
                    bytes.truncate(count);
                    self.send(bytes)?;
                }
                Err(error) => return self.cannot(&error),
            }
        }
        Some(())
    }

    fn send(&self, bytes: Vec<u8>) -> Option<()> {
        let from = self.from;
        self.chunks.send(Chunk { from, bytes }).ok()
    }

    fn say(&self, what: &str) {
        tell(format_args!("{} {what}", self.path.display()));
    }

    /// Says what is wrong, once. The next look may find it mended.
    fn cannot(&mut self, error: &io::Error) -> Option<()> {
        let trouble = error.to_string();
        if self.trouble.as_ref() != Some(&trouble) {
            tell(format_args!("{}: {trouble}; waiting for it", self.path.display()));
            self.trouble = Some(trouble);
        }
        Some(())
    }
}

/// # Errors
/// If it is no regular file: what else there is has no last lines, or may be waited for in other ways.
fn open(path: &Path) -> io::Result<Open> {
    let without_waiting = rustix::fs::OFlags::NONBLOCK.bits() as i32; // for the other end of a pipe
    let file = OpenOptions::new().read(true).custom_flags(without_waiting).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let id = id(&metadata);
    Ok(Open { file, id, position: 0 })
}

fn id(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// Where the last lines begin. One without an end is a line as well.
fn last_lines(file: &File, lines: u64) -> io::Result<u64> {
    let length = file.metadata()?.len();
    let mut bytes = vec![0; PART];
    let (mut end, mut left) = (length, lines);
    while end > 0 && left > 0 {
        let begin = end.saturating_sub(PART as u64);
        let part = &mut bytes[..(end - begin) as usize];
        file.read_exact_at(part, begin)?;
        for (i, _) in part.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            let after = begin + i as u64 + 1;
            // The very last one ends a line and begins none.
            if after < length {
                left -= 1;
            }
            if left == 0 {
                return Ok(after);
            }
        }
        end = begin;
    }
    Ok(if lines == 0 { length } else { 0 })
}

/// What the command line asks for.
struct Options {
    lines: u64,
    paths: Vec<PathBuf>,
}

fn parse(args: &mut Args) -> Result<Options, String> {
    let (mut lines, mut paths) = (10, Vec::new());
    while let Some(arg) = args.next() {
        match arg.to_str() {
            Some("-n") => lines = args.value("-n", "a number", |text| text.parse().ok())?,
            Some("--") => paths.extend(args.by_ref().map(PathBuf::from)),
            Some(text) if text.starts_with('-') => return Err(format!("unknown option {text}")),
            _ => paths.push(arg.into()),
        }
    }
    match paths.is_empty() {
        true => Err("FILE is missing".into()),
        false => Ok(Options { lines, paths }),
    }
}
