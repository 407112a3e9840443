//! Connections that go through memory: as those of the system, without the system.

use super::sealed::{TryRead, TryWrite};
use super::{Deadline, Place, Readable, Stream, Until, Writable};
use crate::Op;
use crate::file::{Direction, File, Look};
use crate::prim::Arc;
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Two ends of a connection within the process. What is written into one is read from the other; in each direction at most
/// `capacity` bytes are on their way, at least one.
///
/// For tests of protocols, and between fibers that speak one. Everything that waits for bytes suspends its fiber.
///
/// ```
/// use std::io::{Read, Write};
/// fibers::run(|| {
///     let (mut near, mut far) = fibers::io::duplex(4);
///     let answering = fibers::spawn(move || {
///         let mut text = String::new();
///         far.read_to_string(&mut text).unwrap();
///         text
///     });
///     near.write_all(b"more than four bytes").unwrap();
///     drop(near);
///     assert_eq!(answering.join().unwrap(), "more than four bytes");
/// });
/// ```
pub fn duplex(capacity: usize) -> (Duplex, Duplex) {
    let (there, back) = (OneWay::new(capacity), OneWay::new(capacity));
    let near = Duplex {
        incoming: back.clone(),
        outgoing: there.clone(),
    };
    let far = Duplex {
        incoming: there,
        outgoing: back,
    };
    (near, far)
}

/// One end of a [`duplex`] connection. When it is dropped the other end reads what is left, then the end, and cannot write.
pub struct Duplex {
    incoming: Arc<OneWay>,
    outgoing: Arc<OneWay>,
}

/// Bytes on their way in one direction.
struct OneWay {
    bytes: Mutex<Bytes>,
    /// Readers wait for something to read, writers for room.
    waiters: Arc<File>,
}

struct Bytes {
    queue: VecDeque<u8>,
    capacity: usize,
    /// Nothing will come any more.
    ended: bool,
    /// Nobody will read any more.
    unread: bool,
}

impl OneWay {
    fn new(capacity: usize) -> Arc<OneWay> {
        Arc::new(OneWay {
            bytes: Mutex::new(Bytes {
                queue: VecDeque::new(),
                capacity: capacity.max(1),
                ended: false,
                unread: false,
            }),
            waiters: File::new(),
        })
    }

    /// Held for a copy of bytes; nobody is woken meanwhile.
    fn lock(&self) -> MutexGuard<'_, Bytes> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut bytes = self.lock();
        let count = match bytes.queue.is_empty() {
            true if bytes.ended || buffer.is_empty() => return Ok(0),
            true => return Err(io::ErrorKind::WouldBlock.into()),
            false => bytes.queue.read(buffer)?,
        };
        drop(bytes);
        self.waiters.changed(Direction::Write);
        Ok(count)
    }

    fn write(&self, buffer: &[u8]) -> io::Result<usize> {
        let mut bytes = self.lock();
        if bytes.unread || bytes.ended {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let count = buffer.len().min(bytes.capacity - bytes.queue.len());
        if count == 0 && !buffer.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        bytes.queue.extend(&buffer[..count]);
        drop(bytes);
        self.waiters.changed(Direction::Read);
        Ok(count)
    }

    /// Nothing will come any more.
    fn end(&self) {
        self.lock().ended = true;
        self.waiters.changed(Direction::Read);
        self.waiters.changed(Direction::Write);
    }

    /// Nobody will read any more.
    fn abandon(&self) {
        let mut bytes = self.lock();
        bytes.unread = true;
        let unread = std::mem::take(&mut bytes.queue);
        drop(bytes);
        drop(unread);
        self.waiters.changed(Direction::Write);
    }
}

impl Duplex {
    /// The operation that reads what there is into `buffer`: 0 bytes at the end, or if there is no room. If it loses, no byte was
    /// taken.
    pub fn read_op<'a>(&'a self, buffer: &'a mut [u8]) -> impl Op<Output = io::Result<usize>> {
        Readable::read_op(self, buffer)
    }

    /// The operation that writes what there is room for, from the beginning of `buffer`. If it loses, no byte was written.
    pub fn write_op<'a>(&'a self, buffer: &'a [u8]) -> impl Op<Output = io::Result<usize>> {
        Writable::write_op(self, buffer)
    }

    /// This end, with one end for all reads and writes that are made through the result: a moment, or a reference to a
    /// [context](crate::Context).
    pub fn with_deadline<U: Until>(&self, until: U) -> Deadline<'_, Duplex, U> {
        Deadline::new(self, until)
    }

    /// Ends the outgoing direction: the other end reads what is left, then the end.
    pub fn shutdown(&self) {
        self.outgoing.end();
    }
}

impl TryRead for Duplex {
    fn read_place(&self) -> Place<'_> {
        Place {
            file: &self.incoming.waiters,
            fd: None,
            what: "read from duplex",
        }
    }

    fn try_read(&self, _: &mut Look<'_>, buffer: &mut [u8]) -> io::Result<usize> {
        self.incoming.read(buffer)
    }
}

impl TryWrite for Duplex {
    fn write_place(&self) -> Place<'_> {
        Place {
            file: &self.outgoing.waiters,
            fd: None,
            what: "write to duplex",
        }
    }

    fn try_write(&self, _: &mut Look<'_>, buffer: &[u8]) -> io::Result<usize> {
        self.outgoing.write(buffer)
    }
}

impl Readable for Duplex {}
impl Writable for Duplex {}

impl Stream for Duplex {
    /// After the reading direction was ended, the other end cannot write, and here nothing is left to be read.
    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        if how != Shutdown::Read {
            self.outgoing.end();
        }
        if how != Shutdown::Write {
            self.incoming.abandon();
            self.incoming.end();
        }
        Ok(())
    }
}

impl Drop for Duplex {
    fn drop(&mut self) {
        self.outgoing.end();
        self.incoming.abandon();
    }
}

impl fmt::Debug for Duplex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Duplex").finish_non_exhaustive()
    }
}

impl Read for &Duplex {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_op(buffer).perform()
    }
}

impl Write for &Duplex {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.write_op(buffer).perform()
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Duplex {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buffer)
    }
}

impl Write for Duplex {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        (&*self).write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
