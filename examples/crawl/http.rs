//! One page by HTTP/1.1: a connection, a request, an answer. Neither head nor body may be longer than they should, nor may all of it
//! take longer; what lies behind a redirect is for the caller to fetch.
//!
//! It is written against `Read` and `Write`; only the lines that connect know of fibers.

use super::url::Url;
use fibers::net::TcpStream;
use httparse::Status;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::time::{Duration, Instant};

/// The longest head of an answer, in bytes, and the number of its headers.
const HEAD: u64 = 64 << 10;
const HEADERS: usize = 128;

/// How much of a body is read, in bytes.
const BODY: u64 = 1 << 20;

/// What a server has answered.
pub(crate) struct Response {
    pub(crate) status: u16,
    /// Where it says that the page is now.
    pub(crate) location: Option<String>,
    pub(crate) is_html: bool,
    pub(crate) body: Vec<u8>,
    /// The body goes on.
    pub(crate) is_cut: bool,
}

/// Fetches what a URL names, within `limit`.
pub(crate) fn get(url: &Url, limit: Duration) -> io::Result<Response> {
    let deadline = Instant::now() + limit;
    let stream = TcpStream::connect_timeout((url.host.as_str(), url.port), limit)?;
    let mut stream = stream.with_deadline(deadline);
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: fibers-crawl\r\nAccept: text/html, */*;q=0.1\r\nConnection: close\r\n\r\n",
        url.target,
        url.authority()
    );
    stream.write_all(request.as_bytes())?;
    read_response(&mut BufReader::new(stream))
}

fn read_response(reader: &mut impl BufRead) -> io::Result<Response> {
    let head = loop {
        let head = read_head(reader)?;
        if head.status >= 200 {
            break head; // those before it say that it will come
        }
    };
    let mut body = Vec::new();
    let is_cut = match head.length {
        _ if matches!(head.status, 204 | 304) => false,
        Length::Chunked => read_chunks(reader, &mut body)?,
        Length::Bytes(count) => read_bytes(reader, count, &mut body)?,
        Length::ToTheEnd => reader.by_ref().take(BODY + 1).read_to_end(&mut body)? as u64 > BODY,
    };
    body.truncate(BODY as usize);
    Ok(Response {
        status: head.status,
        location: head.location,
        is_html: head.is_html,
        body,
        is_cut,
    })
}

struct Head {
    status: u16,
    location: Option<String>,
    is_html: bool,
    length: Length,
}

enum Length {
    Chunked,
    Bytes(u64),
    ToTheEnd,
}

/// Reads lines up to an empty one.
fn read_head(reader: &mut impl BufRead) -> io::Result<Head> {
    let mut bytes = Vec::new();
    let mut reader = reader.by_ref().take(HEAD);
    while !bytes.ends_with(b"\r\n\r\n") && !bytes.ends_with(b"\n\n") {
        match reader.read_until(b'\n', &mut bytes)? {
            0 if reader.limit() == 0 => return Err(malformed("its head is too long")),
            0 => return Err(ended()),
            _ => {}
        }
    }
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    match response.parse(&bytes) {
        Ok(Status::Complete(_)) => understand(&response),
        Ok(Status::Partial) => Err(malformed("its head has no end")),
        Err(error) => Err(malformed(&format!("its head is none: {error}"))),
    }
}

fn understand(response: &httparse::Response<'_, '_>) -> io::Result<Head> {
    let status = response.code.unwrap_or(0);
    let mut head = Head {
        status,
        location: None,
        is_html: false,
        length: Length::ToTheEnd,
    };
    for header in response.headers.iter() {
        let value = String::from_utf8_lossy(header.value).trim().to_owned();
        match &*header.name.to_ascii_lowercase() {
            "location" if matches!(status, 301 | 302 | 303 | 307 | 308) => head.location = Some(value),
            "content-type" => head.is_html = value.to_ascii_lowercase().starts_with("text/html"),
            "transfer-encoding" if value.to_ascii_lowercase().ends_with("chunked") => head.length = Length::Chunked,
            "content-length" if !matches!(head.length, Length::Chunked) => {
                let count = value.parse().map_err(|_| malformed("its length is no number"))?;
                head.length = Length::Bytes(count);
            }
            _ => {}
        }
    }
    Ok(head)
}

/// Appends `count` bytes, or as many as a body may have. Whether there are more.
fn read_bytes(reader: &mut impl BufRead, count: u64, body: &mut Vec<u8>) -> io::Result<bool> {
    let wanted = count.min(BODY - body.len() as u64);
    let read = reader.by_ref().take(wanted).read_to_end(body)? as u64;
    if read < wanted { Err(ended()) } else { Ok(wanted < count) }
}

fn read_chunks(reader: &mut impl BufRead, body: &mut Vec<u8>) -> io::Result<bool> {
    loop {
        match httparse::parse_chunk_size(&read_line(reader)?) {
            Ok(Status::Complete((_, 0))) => return Ok(false),
            Ok(Status::Complete((_, count))) => {
                if read_bytes(reader, count, body)? {
                    return Ok(true);
                }
            }
            _ => return Err(malformed("a chunk has no size")),
        }
        if read_line(reader)? != b"\r\n" {
            return Err(malformed("a chunk is longer than its size"));
        }
    }
}

fn read_line(reader: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    reader.by_ref().take(HEAD).read_until(b'\n', &mut line)?;
    if line.is_empty() { Err(ended()) } else { Ok(line) }
}

fn ended() -> io::Error {
    io::Error::new(ErrorKind::UnexpectedEof, "the answer ends too early")
}

fn malformed(why: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("the answer is malformed: {why}"))
}
