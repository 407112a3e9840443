//! Answers: status, header fields and body, and how they are written.

use fibers::fs::File;
use fibers::io::Deadline;
use fibers::net::{self, TcpStream};
use std::io::{self, Write};
use std::ops::Range;
use std::time::{Duration, Instant, SystemTime};

/// How much of a body is sent at a time, in bytes.
const PART: usize = 64 << 10;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Get,
    Head,
}

/// The code and what it means.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Status(pub(crate) u16, &'static str);

impl Status {
    pub(crate) const OK: Status = Status(200, "OK");
    pub(crate) const PARTIAL: Status = Status(206, "Partial Content");
    pub(crate) const MOVED: Status = Status(301, "Moved Permanently");
    pub(crate) const NOT_MODIFIED: Status = Status(304, "Not Modified");
    pub(crate) const BAD_REQUEST: Status = Status(400, "Bad Request");
    pub(crate) const FORBIDDEN: Status = Status(403, "Forbidden");
    pub(crate) const NOT_FOUND: Status = Status(404, "Not Found");
    pub(crate) const METHOD: Status = Status(405, "Method Not Allowed");
    pub(crate) const TIMEOUT: Status = Status(408, "Request Timeout");
    pub(crate) const TARGET_TOO_LONG: Status = Status(414, "URI Too Long");
    pub(crate) const RANGE: Status = Status(416, "Range Not Satisfiable");
    pub(crate) const EXPECTATION: Status = Status(417, "Expectation Failed");
    pub(crate) const HEAD_TOO_LARGE: Status = Status(431, "Request Header Fields Too Large");
    pub(crate) const INTERNAL: Status = Status(500, "Internal Server Error");
    pub(crate) const NOT_IMPLEMENTED: Status = Status(501, "Not Implemented");
    pub(crate) const UNAVAILABLE: Status = Status(503, "Service Unavailable");
    pub(crate) const VERSION: Status = Status(505, "HTTP Version Not Supported");
}

pub(crate) enum Body {
    /// Not even an empty one.
    None,
    Bytes(Vec<u8>),
    /// So much of a file.
    File(File, Range<u64>),
}

pub(crate) struct Response {
    pub(crate) status: Status,
    fields: Vec<(&'static str, String)>,
    pub(crate) body: Body,
}

impl Response {
    pub(crate) fn new(status: Status, body: Body) -> Response {
        let fields = Vec::new();
        Response { status, fields, body }
    }

    /// One more header field. The value has no line breaks: what came from a client, or is the name of a file, is encoded.
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Response {
        self.fields.push((name, value.into()));
        self
    }

    pub(crate) fn html(status: Status, page: String) -> Response {
        Response::new(status, Body::Bytes(page.into_bytes())).with("Content-Type", "text/html; charset=utf-8")
    }

    /// A small page that says what is wrong.
    pub(crate) fn error(status: Status) -> Response {
        let Status(code, reason) = status;
        let page = format!("<!DOCTYPE html>\n<title>{code} {reason}</title>\n<h1>{code} {reason}</h1>\n");
        match status {
            Status::METHOD => Response::html(status, page).with("Allow", "GET, HEAD"),
            _ => Response::html(status, page),
        }
    }

    pub(crate) fn moved(to: &str) -> Response {
        Response::error(Status::MOVED).with("Location", to)
    }

    /// Of the body, in bytes.
    pub(crate) fn length(&self) -> u64 {
        match &self.body {
            Body::None => 0,
            Body::Bytes(bytes) => bytes.len() as u64,
            Body::File(_, part) => part.end - part.start,
        }
    }

    fn head(&self, goes_on: bool) -> Vec<u8> {
        let Status(code, reason) = self.status;
        let mut head = format!("HTTP/1.1 {code} {reason}\r\n");
        let mut field = |name: &str, value: &str| head.extend([name, ": ", value, "\r\n"]);
        if let Some(now) = date(SystemTime::now()) {
            field("Date", &now);
        }
        if !matches!(self.body, Body::None) {
            field("Content-Length", &self.length().to_string());
            field("X-Content-Type-Options", "nosniff");
        }
        for (name, value) in &self.fields {
            field(name, value);
        }
        field("Connection", if goes_on { "keep-alive" } else { "close" });
        head.push_str("\r\n");
        head.into_bytes()
    }

    /// Sends head and body in parts; only the head if `method` wants no more. `sent` is told how much of the body has gone out.
    ///
    /// # Errors
    /// Those of the connection; those of reading the file, also if it has become shorter. The client can tell then by the end of the
    /// connection that something is missing.
    pub(crate) fn send(&self, method: Method, goes_on: bool, to: Client<'_>, sent: &mut u64) -> io::Result<()> {
        let head = self.head(goes_on);
        match &self.body {
            Body::Bytes(bytes) if method == Method::Get => send_bytes(head, bytes, to, sent),
            Body::File(file, part) if method == Method::Get => {
                to.in_time().write_all(&head)?;
                send_file(file, part.clone(), to, sent)
            }
            _ => to.in_time().write_all(&head),
        }
    }
}

/// Whom an answer is sent to.
#[derive(Clone, Copy)]
pub(crate) struct Client<'a> {
    pub(crate) stream: &'a TcpStream,
    /// How long each part may take.
    pub(crate) patience: Duration,
}

impl<'a> Client<'a> {
    /// For the next part.
    fn in_time(self) -> Deadline<'a, TcpStream> {
        self.stream.with_deadline(Instant::now() + self.patience)
    }
}

/// The head goes out together with the first part.
fn send_bytes(head: Vec<u8>, body: &[u8], to: Client<'_>, sent: &mut u64) -> io::Result<()> {
    let (first, rest) = body.split_at(body.len().min(PART));
    to.in_time().write_all(&[&head, first].concat())?;
    *sent = first.len() as u64;
    for part in rest.chunks(PART) {
        to.in_time().write_all(part)?;
        *sent += part.len() as u64;
    }
    Ok(())
}

/// From the memory of the system, which the parts do not leave.
fn send_file(file: &File, mut rest: Range<u64>, to: Client<'_>, sent: &mut u64) -> io::Result<()> {
    while !rest.is_empty() {
        let part = rest.start..rest.end.min(rest.start + PART as u64);
        let count = net::send_file(file, &to.in_time(), part)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        rest.start += count;
        *sent += count;
    }
    Ok(())
}

/// As HTTP writes it; `None` before 1970 and after 9999, which it cannot write.
pub(crate) fn date(time: SystemTime) -> Option<String> {
    const YEAR_9999: Duration = Duration::from_secs(253_370_764_800);
    let since = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    (since < YEAR_9999).then(|| httpdate::fmt_http_date(time))
}
