//! One connection: requests are read and answered in turn, so pipelined ones are answered in their order.
//!
//! What a client can take is bounded: memory by [`MAX_HEAD`] (files are sent from that of the system), time by the limits of the
//! server. They hold for a whole request, and for each part of an answer: a byte now and then does not extend them.

use crate::request::{self, Body, Request};
use crate::response::{Client, Method, Response, Status};
use crate::server::Server;
use fibers::net::TcpStream;
use fibers::{select, time};
use std::io::{self, Read};
use std::net::{Shutdown, SocketAddr};
use std::time::{Duration, Instant};

/// The longest head of a request, in bytes.
const MAX_HEAD: usize = 16 << 10;

/// The longest body of a request that is read to get to the next one, in bytes. (A GET has no use for a body.)
const MAX_BODY: u64 = 64 << 10;

/// How long, and for how many bytes, a connection is read that will be closed.
const LINGER: (Duration, u64) = (Duration::from_secs(1), 1 << 20);

struct Connection<'a> {
    stream: &'a TcpStream,
    peer: SocketAddr,
    server: &'a Server,
    /// What has come and is not yet taken as a request.
    buffer: Vec<u8>,
    /// The first line of the latest request, for the log.
    line: Vec<u8>,
}

/// What comes from the client next.
enum Next {
    Request(Request),
    /// Nothing that could be answered in another way, and nothing more after it.
    Refused(Status),
    /// Nothing more, and nothing to say about it.
    End,
}

/// Answers requests until the client has had enough, or has asked for too much, or the server is to stop.
pub(crate) fn serve(stream: &TcpStream, peer: SocketAddr, server: &Server) {
    let _ = stream.set_nodelay(true);
    let mut connection = Connection {
        stream,
        peer,
        server,
        buffer: Vec::new(),
        line: Vec::new(),
    };
    loop {
        let goes_on = match connection.next() {
            Next::Request(request) => connection.answer(&request),
            Next::Refused(status) => connection.send(&Response::error(status), Method::Get, false),
            Next::End => return,
        };
        if !goes_on {
            return connection.linger();
        }
    }
}

impl Connection<'_> {
    /// Reads a request. Until its first byte has come, the connection is idle, and ends when the server stops.
    fn next(&mut self) -> Next {
        self.line.clear();
        let limits = &self.server.limits;
        let mut deadline = match self.buffer.is_empty() {
            true => Instant::now() + limits.idle,
            false => Instant::now() + limits.patience,
        };
        let mut part = [0; 4096];
        loop {
            // From the beginning each time: the head is short, and a client that sends it in bytes pays more for them than we do.
            match request::parse(&self.buffer) {
                Ok(Some((request, length))) => {
                    self.line = first_line(&self.buffer);
                    self.buffer.drain(..length);
                    return Next::Request(request);
                }
                Ok(None) if self.buffer.len() < MAX_HEAD => {}
                Ok(None) if self.buffer.contains(&b'\n') => return self.refuse(Status::HEAD_TOO_LARGE),
                Ok(None) => return self.refuse(Status::TARGET_TOO_LONG),
                Err(status) => return self.refuse(status),
            }
            let is_idle = self.buffer.is_empty();
            let count = select! {
                biased;
                <-time::sleep_until_op(deadline) => match is_idle {
                    true => return Next::End,
                    false => return self.refuse(Status::TIMEOUT),
                },
                read = self.stream.read_op(&mut part) => read.unwrap_or(0),
                <-self.server.stop if is_idle => return Next::End,
            };
            if count == 0 {
                return Next::End;
            }
            if is_idle {
                deadline = Instant::now() + limits.patience;
            }
            self.buffer.extend_from_slice(&part[..count]);
        }
    }

    fn refuse(&mut self, status: Status) -> Next {
        self.line = first_line(&self.buffer);
        Next::Refused(status)
    }

    /// Whether the connection can go on after it.
    fn answer(&mut self, request: &Request) -> bool {
        let response = self.server.site.respond(request);
        let goes_on = request.keep_alive && self.skip(&request.body) && !self.server.is_stopping();
        self.send(&response, request.method, goes_on)
    }

    /// Reads over the body of a request. Whether what follows is the next request.
    fn skip(&mut self, body: &Body) -> bool {
        let Body::Bytes(length @ ..=MAX_BODY) = *body else {
            return false;
        };
        let at_hand = (length as usize).min(self.buffer.len());
        self.buffer.drain(..at_hand);
        let rest = length - at_hand as u64;
        let in_time = self.stream.with_deadline(Instant::now() + self.server.limits.patience);
        io::copy(&mut in_time.take(rest), &mut io::sink()).is_ok_and(|count| count == rest)
    }

    /// Sends an answer and logs it. Whether the connection can go on after it.
    fn send(&mut self, response: &Response, method: Method, goes_on: bool) -> bool {
        let client = Client {
            stream: self.stream,
            patience: self.server.limits.patience,
        };
        let mut sent = 0;
        let result = response.send(method, goes_on, client, &mut sent);
        self.server.log.answered(self.peer.ip(), &self.line, response.status, sent);
        goes_on && result.is_ok()
    }

    /// Ends the connection so that the client can read the last answer: if bytes of the client were left unread, the system would
    /// reset the connection, and throw away what is still to be sent.
    fn linger(self) {
        let (time, bytes) = LINGER;
        if self.stream.shutdown(Shutdown::Write).is_ok() {
            let rest = self.stream.with_deadline(Instant::now() + time);
            let _ = io::copy(&mut rest.take(bytes), &mut io::sink());
        }
    }
}

/// What the client calls its request, cut off where it is too long for a log.
fn first_line(bytes: &[u8]) -> Vec<u8> {
    let lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let line = lines.into_iter().find(|line| !line.is_empty()).unwrap_or_default();
    line[..line.len().min(1024)].to_vec()
}
