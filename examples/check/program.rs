//! An example as a child process that cannot hang.

use std::ffi::OsStr;
use std::fmt;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// Far more than any example takes, even unoptimized on a busy machine.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(120);

/// An example, not yet started.
pub(crate) struct Program {
    pub(crate) command: Command,
}

/// What became of it.
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) out: Vec<u8>,
    pub(crate) err: Vec<u8>,
}

/// Where cargo has put an example, seen from this test.
pub(crate) fn path(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    let profile = test
        .ancestors()
        .nth(2)
        .expect("tests lie two levels below the target directory");
    let path = profile.join("examples").join(name);
    assert!(
        path.exists(),
        "{} is not there: `cargo test -p fibers-examples` builds it",
        path.display()
    );
    path
}

impl Program {
    pub(crate) fn new(name: &str) -> Self {
        Program::at(path(name))
    }

    pub(crate) fn at(path: PathBuf) -> Self {
        let mut command = Command::new(path);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Program { command }
    }

    pub(crate) fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.command.args(args);
        self
    }

    /// What it reads from its standard input: no more than a pipe holds.
    pub(crate) fn input(mut self, text: &str) -> Self {
        let (reader, mut writer) = std::io::pipe().expect("a pipe");
        writer.write_all(text.as_bytes()).expect("room in a pipe");
        self.command.stdin(reader);
        self
    }

    /// Runs it to its end.
    pub(crate) fn run(mut self) -> Run {
        let mut child = self.command.spawn().expect("the example starts");
        let out = child.stdout.take().map(collect);
        let err = child.stderr.take().map(collect);
        finish(child, out, err)
    }

    /// Reads one line of its output and closes the pipe.
    pub(crate) fn run_for_one_line(mut self) -> Run {
        let mut child = self.command.spawn().expect("the example starts");
        let mut pipe = child.stdout.take().expect("a pipe");
        let (tx, out) = mpsc::channel();
        thread::spawn(move || {
            let mut line = Vec::new();
            let mut byte = [0];
            while line.last() != Some(&b'\n') && pipe.read(&mut byte).is_ok_and(|n| n == 1) {
                line.extend(byte);
            }
            let _ = tx.send(line);
        });
        let err = child.stderr.take().map(collect);
        finish(child, Some(out), err)
    }
}

/// Reads to the end, on a thread of its own, so that no pipe fills up.
fn collect(mut pipe: impl Read + Send + 'static) -> mpsc::Receiver<Vec<u8>> {
    let (tx, rx) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).expect("a pipe can be read");
        let _ = tx.send(bytes);
    });
    rx
}

/// Waits for its end, and for what it has printed.
fn finish(mut child: Child, out: Option<mpsc::Receiver<Vec<u8>>>, err: Option<mpsc::Receiver<Vec<u8>>>) -> Run {
    let bytes = |pipe: Option<mpsc::Receiver<Vec<u8>>>| pipe.and_then(|rx| rx.recv().ok()).unwrap_or_default();
    wait(&mut child, || (bytes(out), bytes(err)))
}

/// Waits for its end, and then for `outputs`, the standard one and that of errors. One that hangs is killed.
#[track_caller]
pub(crate) fn wait(child: &mut Child, outputs: impl FnOnce() -> (Vec<u8>, Vec<u8>)) -> Run {
    let started = Instant::now();
    let mut hung = false;
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            break status;
        }
        if started.elapsed() > TIMEOUT {
            hung = true;
            let _ = child.kill();
        }
        thread::sleep(Duration::from_millis(2));
    };
    let (out, err) = outputs();
    let code = status.code();
    let run = Run { code, out, err };
    assert!(!hung, "killed after {TIMEOUT:?}: {run:?}");
    run
}

impl Run {
    #[track_caller]
    pub(crate) fn check(&self, code: i32, stdout: &str, stderr: &str) {
        let found = (self.code, self.stdout(), self.stderr());
        assert!(
            found == (Some(code), stdout, stderr),
            "expected {:?}\nfound {self:?}",
            (code, stdout, stderr)
        );
    }

    #[track_caller]
    pub(crate) fn stdout(&self) -> &str {
        str::from_utf8(&self.out).expect("UTF-8 on standard output")
    }

    #[track_caller]
    pub(crate) fn stderr(&self) -> &str {
        str::from_utf8(&self.err).expect("UTF-8 on standard error")
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (out, err) = (String::from_utf8_lossy(&self.out), String::from_utf8_lossy(&self.err));
        write!(
            f,
            "exit code {:?}\nstandard output:\n{out}\nstandard error:\n{err}",
            self.code
        )
    }
}
