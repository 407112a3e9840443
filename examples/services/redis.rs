//! The crate `redis` over a socket of fibers.
//!
//! The crate opens its connections itself, by std, which would block the worker. But its commands go to anything that is
//! `ConnectionLike`, and its parser reads from anything that is `Read`.

use fibers::net::{TcpStream, ToSocketAddrs};
use redis::{ConnectionLike, Parser, RedisResult, Value};
use std::fmt;
use std::io::{self, Write};
use std::time::Duration;

/// A connection to a Redis server, whose waiting suspends its fiber alone.
pub struct RedisConnection {
    stream: TcpStream,
    /// Keeps what has been received and is no answer yet.
    parser: Parser,
    broken: bool,
}

impl RedisConnection {
    /// Connects.
    ///
    /// # Errors
    /// As [`TcpStream::connect_timeout`].
    pub fn open(address: impl ToSocketAddrs, limit: Duration) -> io::Result<RedisConnection> {
        let stream = TcpStream::connect_timeout(address, limit)?;
        stream.set_nodelay(true)?;
        Ok(RedisConnection {
            stream,
            parser: Parser::new(),
            broken: false,
        })
    }

    /// How long the server may be silent while it owes an answer. Without one: for ever.
    ///
    /// # Errors
    /// For a limit of zero.
    pub fn set_timeout(&self, limit: Option<Duration>) -> io::Result<()> {
        self.stream.set_read_timeout(limit)?;
        self.stream.set_write_timeout(limit)
    }

    /// Unless all answers have come, the next one would be taken for that to another question.
    fn ask(&mut self, questions: &[u8], answers: usize) -> RedisResult<Vec<Value>> {
        self.broken = true;
        (&self.stream).write_all(questions)?;
        let answers = (0..answers).map(|_| self.parser.parse_value(&self.stream));
        let answers = answers.collect::<RedisResult<_>>()?;
        self.broken = false;
        Ok(answers)
    }
}

impl ConnectionLike for RedisConnection {
    fn req_packed_command(&mut self, command: &[u8]) -> RedisResult<Value> {
        Ok(self.ask(command, 1)?.remove(0))
    }

    fn req_packed_commands(&mut self, commands: &[u8], skip: usize, count: usize) -> RedisResult<Vec<Value>> {
        Ok(self.ask(commands, skip + count)?.split_off(skip))
    }

    fn get_db(&self) -> i64 {
        0
    }

    fn check_connection(&mut self) -> bool {
        redis::cmd("PING").query::<String>(self).is_ok()
    }

    fn is_open(&self) -> bool {
        !self.broken
    }
}

impl fmt::Debug for RedisConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConnection")
            .field("stream", &self.stream)
            .field("broken", &self.broken)
            .finish_non_exhaustive()
    }
}
