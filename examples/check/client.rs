//! A peer that speaks in lines.

use crate::program::TIMEOUT;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::TcpStream;

pub(crate) struct Client {
    reader: BufReader<TcpStream>,
}

impl Client {
    pub(crate) fn connect(address: &str) -> Client {
        let stream = TcpStream::connect(address).expect("somebody listens");
        stream.set_read_timeout(Some(TIMEOUT)).expect("a timeout");
        stream.set_write_timeout(Some(TIMEOUT)).expect("a timeout");
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
