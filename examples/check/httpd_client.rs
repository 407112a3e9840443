//! A server that the checks of `httpd` visit, and a client that may say anything.

use crate::program::{Program, Run, TIMEOUT};
use crate::running::Running;
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;

/// A server of a directory of its own, which is removed at the end.
pub(crate) struct Server {
    pub(crate) running: Running,
    pub(crate) address: String,
    temp: Temp,
}

/// The directory is `site` in here.
pub(crate) struct Temp(PathBuf);

impl Temp {
    pub(crate) fn new(test: &str) -> Temp {
        let path = std::env::temp_dir().join(format!("httpd-{test}-{}", std::process::id()));
        fs::create_dir_all(path.join("site")).expect("a temporary directory");
        fs::write(path.join("secret.txt"), "secret").expect("a file");
        Temp(path)
    }

    pub(crate) fn site(&self) -> PathBuf {
        self.0.join("site")
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.site().join(name);
        fs::create_dir_all(path.parent().expect("a file in a directory")).expect("a directory");
        fs::write(path, content).expect("a file");
    }

    pub(crate) fn serve(self, args: &[&str]) -> Server {
        let mut program = Program::new("httpd");
        program = program.args([self.site()]).args(["--addr", "127.0.0.1:0"]);
        // On a busy machine everything may take long. What a test wants otherwise comes later, and counts.
        program = program
            .args(["--idle", "600", "--patience", "600", "--grace", "600"])
            .args(args);
        program.command.env("FIBERS_WORKERS", "2");
        let mut running = Running::start(program);
        let line = running.err.line();
        let (_, url) = line
            .split_once(" is at http://")
            .unwrap_or_else(|| panic!("no address in {line:?}"));
        Server {
            address: url.trim_end().trim_end_matches('/').to_owned(),
            running,
            temp: self,
        }
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Server {
    pub(crate) fn connect(&self) -> Client {
        let stream = TcpStream::connect(&self.address).expect("the server listens");
        stream.set_read_timeout(Some(TIMEOUT)).expect("a timeout");
        stream.set_write_timeout(Some(TIMEOUT)).expect("a timeout");
        Client(BufReader::new(stream))
    }

    /// The answer to one request on a connection of its own.
    pub(crate) fn get(&self, target: &str) -> Answer {
        self.connect().get(target, "")
    }

    pub(crate) fn site(&self) -> PathBuf {
        self.temp.site()
    }

    pub(crate) fn stop(self) -> Run {
        self.running.signal("TERM");
        self.end()
    }

    /// Waits for its end.
    pub(crate) fn end(self) -> Run {
        let Server {
            running, temp: _temp, ..
        } = self;
        running.end()
    }
}

/// A connection to the server.
pub(crate) struct Client(BufReader<TcpStream>);

impl Client {
    pub(crate) fn send(&mut self, text: impl AsRef<[u8]>) {
        self.0.get_mut().write_all(text.as_ref()).expect("the server reads");
    }

    /// Whether it could be sent at all.
    pub(crate) fn try_send(&mut self, text: impl AsRef<[u8]>) -> bool {
        self.0.get_mut().write_all(text.as_ref()).is_ok()
    }

    /// `fields` are whole lines.
    pub(crate) fn get(&mut self, target: &str, fields: &str) -> Answer {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: here\r\n{fields}\r\n"));
        self.answer(true)
    }

    /// Reads an answer, of which the body is sent or not.
    #[track_caller]
    pub(crate) fn answer(&mut self, has_body: bool) -> Answer {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let count = self.0.read_line(&mut head).expect("an answer");
            assert!(count > 0, "the connection has ended after {head:?}");
        }
        let code = head
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3))
            .expect("a status");
        let mut answer = Answer {
            code: code.parse().expect("a status"),
            body: Vec::new(),
            head,
        };
        if let Some(length) = answer.field("Content-Length").filter(|_| has_body) {
            let length = length.parse().expect("a length");
            answer.body.resize(length, 0);
            self.0.read_exact(&mut answer.body).expect("the whole body");
        }
        answer
    }

    /// Whether the beginning of an answer, or the end of the connection, is here.
    pub(crate) fn has_answer(&mut self) -> bool {
        let stream = self.0.get_ref();
        stream.set_nonblocking(true).expect("a mode");
        let peeked = stream.peek(&mut [0]);
        stream.set_nonblocking(false).expect("a mode");
        !peeked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    /// Reads up to the end of the connection.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        match self.0.read_to_end(&mut rest) {
            // A server may have ended it while we still talked.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            result => assert!(result.is_ok(), "{result:?}"),
        }
        rest
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        fields.find(|(other, _)| *other == name).map(|(_, value)| value)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The page of an error.
    pub(crate) fn page(what: &str) -> String {
        format!("<!DOCTYPE html>\n<title>{what}</title>\n<h1>{what}</h1>\n")
    }

    /// The code and the body.
    pub(crate) fn what(&self) -> (u16, String) {
        (self.code, self.text())
    }
}
