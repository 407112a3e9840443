//! The access log: a fiber that writes lines of all connections to standard output, so that no two of them mix.
//!
//! If standard output is not read, the connections wait once the channel is full: nothing is lost, and no memory fills up. If it is
//! closed, there is no log any more, and the server goes on.

use crate::response::{Status, date};
use crate::tell;
use fibers::{JoinHandle, Receiver, Sender, channel, go};
use std::io::Write;
use std::net::IpAddr;
use std::time::SystemTime;

/// Lines that wait to be written, and that are written at once.
const WAITING: usize = 1024;

/// Where connections report. The logger ends when nobody can any more.
pub(crate) struct Log(Sender<String>);

impl Log {
    pub(crate) fn start() -> (Log, JoinHandle<()>) {
        let (log, lines) = channel(WAITING);
        let logger = go!(name = "logger"; write(lines));
        (Log(log), logger)
    }

    /// Reports an answer in the Common Log Format.
    pub(crate) fn answered(&self, peer: IpAddr, request: &[u8], status: Status, bytes: u64) {
        let request = match escape(request) {
            line if line.is_empty() => "-".to_string(),
            line => line,
        };
        let bytes = match bytes {
            0 => "-".to_string(),
            bytes => bytes.to_string(),
        };
        let line = format!("{peer} - - [{}] \"{request}\" {} {bytes}\n", now(), status.0);
        let _ = self.0.send(line); // fails once the logger has ended
    }
}

fn write(lines: Receiver<String>) {
    let mut out = fibers::io::stdout();
    while let Ok(mut text) = lines.recv() {
        text.extend(lines.try_iter().take(WAITING));
        if let Err(error) = out.write_all(text.as_bytes()) {
            return tell(format_args!("no access log from here on: {error}"));
        }
    }
}

/// `25/Nov/2026:16:41:00 +0000`, out of `Wed, 25 Nov 2026 16:41:00 GMT`.
fn now() -> String {
    match date(SystemTime::now()) {
        Some(date) => format!("{}/{}/{}:{} +0000", &date[5..7], &date[8..11], &date[12..16], &date[17..25]),
        None => "-".to_string(),
    }
}

/// What a client says stays within its quotes and its line.
fn escape(line: &[u8]) -> String {
    let mut text = String::with_capacity(line.len());
    for &byte in line {
        match byte {
            b'"' | b'\\' => text.extend(['\\', byte.into()]),
            b' '..=b'~' => text.push(byte.into()),
            byte => text += &format!("\\x{byte:02x}"),
        }
    }
    text
}
