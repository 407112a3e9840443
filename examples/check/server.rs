//! An example that runs until it is told to stop, and somebody who talks to it.
//!
//! Nothing here waits without a limit: a test that hangs fails, and its program is killed.

use crate::program::{self, Program, Run};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

/// Far more than any answer takes, even unoptimized on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A program that is running.
pub(crate) struct Server {
    /// With what it prints to standard error. None once it has ended.
    child: Option<(Child, Receiver<Vec<u8>>)>,
    lines: Receiver<String>,
}

impl Server {
    pub(crate) fn start(mut program: Program) -> Server {
        let mut child = program.command.spawn().expect("the example starts");
        let lines = lines_of(child.stdout.take().expect("a pipe"));
        let errors = program::collect(child.stderr.take().expect("a pipe"));
        Server {
            child: Some((child, errors)),
            lines,
        }
    }

    /// The next line of its standard output.
    #[track_caller]
    pub(crate) fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("one more line of output")
    }

    /// The address that it says it listens at.
    #[track_caller]
    pub(crate) fn address(&self) -> String {
        let line = self.line();
        let address = line.strip_prefix("listening on ");
        address.unwrap_or_else(|| panic!("no address: {line}")).to_owned()
    }

    /// Sends it a signal: `INT`, `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.as_ref().expect("a program that runs").0.id();
        let kill = Command::new("sh").arg("-c").arg(format!("kill -{name} {id}")).status();
        assert!(kill.expect("a shell").success(), "no signal was sent");
    }

    /// Waits for its end. What it printed does not contain lines that were taken before.
    pub(crate) fn finish(mut self) -> Run {
        let (child, errors) = self.child.take().expect("a program that runs");
        let mut run = program::finish(child, None, Some(errors));
        run.out = self.lines.iter().flat_map(|line| (line + "\n").into_bytes()).collect();
        run
    }

    /// Ends it as a user does.
    pub(crate) fn interrupt(self) -> Run {
        self.signal("INT");
        self.finish()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some((child, _)) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn lines_of(pipe: ChildStdout) -> Receiver<String> {
    let (tx, lines) = channel();
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if tx.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// A peer that speaks in lines.
pub(crate) struct Client {
    reader: BufReader<TcpStream>,
}

impl Client {
    pub(crate) fn connect(address: &str) -> Client {
        let stream = TcpStream::connect(address).expect("somebody listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        Client {
            reader: BufReader::new(stream),
        }
    }

    pub(crate) fn say(&mut self, line: &str) {
        self.try_say(line).expect("somebody who listens");
    }

    pub(crate) fn try_say(&mut self, line: &str) -> std::io::Result<()> {
        self.reader.get_mut().write_all(format!("{line}\n").as_bytes())
    }

    /// The next line; none if the other side has ended the connection, in whatever way.
    pub(crate) fn hear(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.reader.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(line.trim_end().to_owned()),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
            Err(error) => panic!("no line: {error}"),
        }
    }

    /// Hears exactly this next.
    #[track_caller]
    pub(crate) fn expect(&mut self, line: &str) {
        assert_eq!(self.hear().as_deref(), Some(line));
    }
}
