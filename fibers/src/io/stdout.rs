//! The standard output and the standard error output of the process.
//!
//! What is not a whole line yet waits in the buffer of standard output, and nothing else ever does: a line is written before its write
//! has succeeded. So there is nobody who would have to write on later, and a write that loses has written nothing.

use super::Writable;
use super::sealed::TryWrite;
use super::standard::Standard;
use super::stream::Place;
use crate::file::{Direction, Look, io_op};
use crate::op::Op;
use crate::sync;
use crate::sys;
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// How much of an unfinished line waits.
const CAPACITY: usize = 8 * 1024;

/// How much of a long write is looked at, and written, at a time: a reader that takes little does not have all of it looked at again
/// and again.
const PIECE: usize = 16 * 1024;

/// What all handles to one output share.
struct Output<T> {
    standard: Standard<T>,
    /// The unfinished line. Empty for an output without a buffer.
    pending: Mutex<Vec<u8>>,
    capacity: usize,
    /// Held by one call while it writes, so that lines of several fibers do not get mixed up.
    turn: sync::Mutex<()>,
    /// For reports.
    what: &'static str,
}

impl<T: AsFd> Output<T> {
    fn new(inner: T, capacity: usize, what: &'static str) -> Output<T> {
        Output {
            standard: Standard::new(inner, Direction::Write),
            pending: Mutex::default(),
            capacity,
            turn: sync::Mutex::new(()),
            what,
        }
    }

    /// Held for system calls that do not wait; nobody is woken meanwhile.
    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes whole lines, and keeps what is none; perhaps only some of it.
    fn try_write(&self, buffer: &[u8]) -> io::Result<usize> {
        let buffer = &buffer[..buffer.len().min(PIECE)];
        let mut pending = self.lock();
        let is_small = pending.len() + buffer.len() <= self.capacity;
        let lines = match buffer.iter().rposition(|byte| *byte == b'\n') {
            _ if self.capacity == 0 => buffer.len(),
            Some(at) => at + 1,
            None if is_small => 0,
            None => buffer.len(),
        };
        if lines == 0 {
            pending.extend_from_slice(buffer);
            return Ok(buffer.len());
        }
        self.drain(&mut pending)?;
        self.standard.write(&buffer[..lines])
    }

    /// Writes what is pending.
    fn drain(&self, pending: &mut Vec<u8>) -> io::Result<()> {
        while !pending.is_empty() {
            match self.standard.write(pending)? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                count => drop(pending.drain(..count)),
            }
        }
        Ok(())
    }

    fn try_flush(&self) -> io::Result<()> {
        self.drain(&mut self.lock())
    }

    fn op<R>(&self, mut attempt: impl FnMut() -> io::Result<R>) -> impl Op<Output = io::Result<R>> {
        let Place { file, fd, what } = self.standard.place(self.what);
        io_op(file, fd, Direction::Write, what, move |_: &mut Look<'_>| attempt())
    }

    fn flush_op(&self) -> impl Op<Output = io::Result<()>> {
        self.op(|| self.try_flush())
    }

    fn write(&self, buffer: &[u8]) -> io::Result<usize> {
        let _turn = self.turn.lock();
        self.op(|| self.try_write(buffer)).perform()
    }

    fn write_all(&self, mut buffer: &[u8]) -> io::Result<()> {
        let _turn = self.turn.lock();
        while !buffer.is_empty() {
            match self.op(|| self.try_write(buffer)).perform()? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                count => buffer = &buffer[count..],
            }
        }
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        let _turn = self.turn.lock();
        self.flush_op().perform()
    }

    /// Writes what is pending, and blocks the thread while there is no room for it.
    fn flush_at_exit(&self) {
        let mut pending = self.lock();
        while let Err(error) = self.drain(&mut pending) {
            let is_full = error.kind() == io::ErrorKind::WouldBlock;
            if !is_full || sys::wait_ready(self.standard.fd(), Direction::Write).is_err() {
                return;
            }
        }
    }
}

static OUTPUT: OnceLock<Output<io::Stdout>> = OnceLock::new();

fn output() -> &'static Output<io::Stdout> {
    OUTPUT.get_or_init(|| {
        // If the system has no room for it, whoever does not flush loses an unfinished line.
        let _ = sys::at_exit(flush_output_at_exit);
        Output::new(io::stdout(), CAPACITY, "write to standard output")
    })
}

extern "C" fn flush_output_at_exit() {
    if let Some(output) = OUTPUT.get() {
        output.flush_at_exit();
    }
}

fn error_output() -> &'static Output<io::Stderr> {
    static OUTPUT: OnceLock<Output<io::Stderr>> = OnceLock::new();
    OUTPUT.get_or_init(|| Output::new(io::stderr(), 0, "write to standard error output"))
}

/// A handle to the standard output of the process: a write that waits for a slow reader suspends the fiber, not its worker.
///
/// ```
/// use std::io::Write;
/// fibers::run(|| {
///     let mut out = fibers::io::stdout();
///     writeln!(out, "{} and {}", 1, 2).unwrap();
/// });
/// ```
pub fn stdout() -> Stdout {
    Stdout(())
}

/// A handle to the standard error output of the process: a write that waits for a slow reader suspends the fiber, not its worker.
pub fn stderr() -> Stderr {
    Stderr(())
}

/// A handle to the standard output of the process: see [`stdout`].
///
/// Lines are written at once; an unfinished one waits in a buffer that all handles share, until it is finished, is longer than 8 KiB,
/// or is flushed. What is in it when the process exits (`main` returns, or `std::process::exit`) is written then, and the exit waits
/// for whoever reads it. The buffer of [`std::io::stdout`], and so of `println!`, is another one. Nothing of this is captured in tests.
///
/// What is written by one `write_all`, `write!` or `writeln!` is not mixed with what others write by these. A reader that is gone is
/// an error (`BrokenPipe`).
///
/// # How it waits
/// As [`Stdin`](super::Stdin) does: the open file that is shared with other processes stays as it is.
#[derive(Clone, Copy)]
pub struct Stdout(());

/// A handle to the standard error output of the process: see [`stderr`].
///
/// Nothing is buffered. What is written by one `write_all`, `write!` or `writeln!` is not mixed with what others write by these.
#[derive(Clone, Copy)]
pub struct Stderr(());

macro_rules! output {
    ($Name:ident, $output:ident, $std:path, $make:ident) => {
        impl $Name {
            /// The operation that writes from the beginning of `buffer`. If it loses, nothing of it was written.
            ///
            /// It does not wait for its turn: it may come between the pieces of a longer write that waits for room.
            pub fn write_op<'a>(&self, buffer: &'a [u8]) -> impl Op<Output = io::Result<usize>> + use<'a> {
                $output().op(move || $output().try_write(buffer))
            }

            /// The operation that writes what has not been written yet.
            pub fn flush_op(&self) -> impl Op<Output = io::Result<()>> + use<> {
                $output().flush_op()
            }

            /// Whether somebody looks at it.
            pub fn is_terminal(&self) -> bool {
                $std().is_terminal()
            }
        }

        impl Default for $Name {
            fn default() -> $Name {
                $make()
            }
        }

        impl TryWrite for $Name {
            fn write_place(&self) -> Place<'_> {
                $output().standard.place($output().what)
            }

            fn try_write(&self, _: &mut Look<'_>, buffer: &[u8]) -> io::Result<usize> {
                $output().try_write(buffer)
            }

            fn try_flush(&self) -> io::Result<()> {
                $output().try_flush()
            }
        }

        impl Writable for $Name {}

        impl Write for &$Name {
            fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
                $output().write(buffer)
            }

            fn write_all(&mut self, buffer: &[u8]) -> io::Result<()> {
                $output().write_all(buffer)
            }

            /// The text is put together before anything is written: formatting may take its time.
            fn write_fmt(&mut self, arguments: fmt::Arguments<'_>) -> io::Result<()> {
                let mut text = String::new();
                match fmt::write(&mut text, arguments) {
                    Ok(()) => self.write_all(text.as_bytes()),
                    Err(fmt::Error) => Err(io::Error::other("a value could not be formatted")),
                }
            }

            fn flush(&mut self) -> io::Result<()> {
                $output().flush()
            }
        }

        impl Write for $Name {
            fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
                (&*self).write(buffer)
            }

            fn write_all(&mut self, buffer: &[u8]) -> io::Result<()> {
                (&*self).write_all(buffer)
            }

            fn write_fmt(&mut self, arguments: fmt::Arguments<'_>) -> io::Result<()> {
                (&*self).write_fmt(arguments)
            }

            fn flush(&mut self) -> io::Result<()> {
                (&*self).flush()
            }
        }

        impl AsFd for $Name {
            fn as_fd(&self) -> BorrowedFd<'_> {
                $output().standard.inner().as_fd()
            }
        }

        impl AsRawFd for $Name {
            fn as_raw_fd(&self) -> RawFd {
                self.as_fd().as_raw_fd()
            }
        }

        impl fmt::Debug for $Name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(stringify!($Name))
            }
        }
    };
}

output!(Stdout, output, io::stdout, stdout);
output!(Stderr, error_output, io::stderr, stderr);
