//! The standard input of the process.

use super::Readable;
use super::buffer::Buffer;
use super::sealed::TryRead;
use super::standard::Standard;
use super::stream::{Place, ReadCall};
use crate::file::{Direction, Look, io_op};
use crate::op::{self, Op};
use std::fmt;
use std::io::{self, IsTerminal, Read};
use std::iter::FusedIterator;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// What the operations are called in reports.
const WHAT: &str = "read from standard input";

/// As in the standard library.
const CAPACITY: usize = 8 * 1024;

/// A handle to the standard input of the process: reading suspends the fiber, not its worker.
///
/// All handles share one buffer, so that no byte is lost between them: lines may be read here and there, by turns. (That of
/// [`std::io::stdin`] is another one. Use one of the two.)
///
/// ```
/// # // Not run: it would wait for whoever runs the tests.
/// # fn f() -> std::io::Result<()> {
/// for line in fibers::io::stdin().lines() {
///     println!("{}", line?.to_uppercase());
/// }
/// # Ok(())
/// # }
/// ```
pub fn stdin() -> Stdin {
    Stdin(())
}

/// A handle to the standard input of the process: see [`stdin`].
///
/// Its operations take nothing if they lose: "a line from the keyboard, or a message, or Ctrl-C" is a `select!`, again and again.
/// Nobody reads while nobody waits, so what is typed after that is still there for a child process that inherits the input. (What
/// comes after a line in the same read is in the buffer here, as in every program that reads lines.)
///
#[cfg_attr(feature = "macros", doc = "```no_run")]
#[cfg_attr(not(feature = "macros"), doc = "```ignore")]
/// use fibers::{io, select, signal, time};
/// use std::time::Duration;
/// # fn main() -> std::io::Result<()> { fibers::run(|| {
/// let input = io::stdin();
/// let interrupts = signal::notify(&[signal::Signal::INT])?;
/// loop {
///     select! {
///         line = input.line_op() => match line? {
///             Some(line) => println!("you said {line}"),
///             None => return Ok(()),
///         },
///         _ = time::sleep_op(Duration::from_secs(10)) => println!("are you still there?"),
///         <-interrupts => return Ok(()),
///     }
/// }
/// # }) }
/// ```
///
/// # How it waits
/// The open file behind descriptor 0 is shared with other processes and is never made non-blocking. A pipe or a terminal is opened
/// anew, at the first use, and what is read then is that pipe or terminal, also if the program puts something else in the place of
/// descriptor 0 afterwards. If that cannot be (another user's terminal, no `/proc`), another process that reads from it at the same
/// time may make the worker wait.
///
/// Of a regular file the blocking pool fetches what is not in memory, before anything else is tried: another branch may have to wait
/// for the disk. A line of more than 128 KiB may make the worker wait for it.
///
/// No thread is behind this. A fiber that waits for input when the runtime ends is unwound like any other and has taken nothing; the
/// end of the process waits for no input.
#[derive(Clone, Copy)]
pub struct Stdin(());

/// What all handles share.
struct Input {
    standard: Standard<io::Stdin>,
    buffer: Mutex<Buffer>,
}

fn input() -> &'static Input {
    static INPUT: OnceLock<Input> = OnceLock::new();
    INPUT.get_or_init(|| Input {
        standard: Standard::new(io::stdin(), Direction::Read),
        buffer: Mutex::new(Buffer::new(CAPACITY)),
    })
}

impl Input {
    /// Held for a system call that does not wait and a copy of bytes; nobody is woken meanwhile.
    fn lock(&self) -> MutexGuard<'_, Buffer> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes something of the buffer, which it fills as far as it has to.
    fn attempt<R>(&self, take: impl FnOnce(&mut Buffer, &mut ReadCall<'_>) -> io::Result<R>) -> io::Result<R> {
        let mut buffer = self.lock();
        let mut filled = false;
        let result = take(&mut buffer, &mut |room| {
            let count = self.standard.read(room)?;
            filled = true;
            Ok(count)
        });
        let announce = filled && !buffer.unread().is_empty();
        drop(buffer);
        if announce {
            // Others may wait for what is in the buffer now, and the kernel has nothing to tell them of.
            self.standard.changed();
        }
        result
    }

    /// Has the pool fetch what comes next, if it will be needed and may be on a disk.
    fn fetch(&'static self) {
        if self.standard.is_file() && self.lock().unread().is_empty() {
            self.standard.fetch();
        }
    }

    fn op<R>(
        &'static self,
        mut take: impl FnMut(&mut Buffer, &mut ReadCall<'_>) -> io::Result<R>,
    ) -> impl Op<Output = io::Result<R>> {
        let Place { file, fd, what } = self.standard.place(WHAT);
        let call = io_op(file, fd, Direction::Read, what, move |_: &mut Look<'_>| {
            self.attempt(&mut take)
        });
        self.fetched(call)
    }

    /// The read `call`, with what it needs in memory as far as that is known.
    fn fetched<O: Op>(&'static self, call: O) -> impl Op<Output = O::Output> {
        op::guard(move || {
            self.fetch();
            call
        })
    }
}

/// What there is, from the buffer if there is something in it.
fn some(buffer: &mut Buffer, target: &mut [u8], read: &mut ReadCall<'_>) -> io::Result<usize> {
    if buffer.unread().is_empty() {
        if target.len() >= buffer.capacity() {
            return read(target);
        }
        if !target.is_empty() {
            buffer.fill(0, read)?;
        }
    }
    Ok(buffer.take(target))
}

impl Stdin {
    /// The operation that reads what there is into `buffer`: 0 bytes at the end, or if there is no room. If it loses, no byte was
    /// taken.
    pub fn read_op<'a>(&self, buffer: &'a mut [u8]) -> impl Op<Output = io::Result<usize>> + use<'a> {
        input().op(move |own, read| some(own, buffer, read))
    }

    /// The operation that yields the next line, without its `\n` or `\r\n`; `None` at the end. If it loses, no byte was taken.
    ///
    /// A line may be as long as there is memory. Where that is to be feared, read through a [`BufReader`](super::BufReader).
    ///
    /// # Errors
    /// As a read; `InvalidData` for a line that is no UTF-8, which is taken, and inside the error as a
    /// [`FromUtf8Error`](std::string::FromUtf8Error).
    pub fn line_op(&self) -> impl Op<Output = io::Result<Option<String>>> + use<> {
        input().op(|own, read| own.line(usize::MAX, read))
    }

    /// The operation that appends the next line to `line`, with its `\n`, which the last one may lack. Yields how many bytes that are;
    /// 0 at the end. If it loses, no byte was taken.
    ///
    /// # Errors
    /// As [`line_op`](Stdin::line_op).
    pub fn read_line_op<'a>(&self, line: &'a mut String) -> impl Op<Output = io::Result<usize>> + use<'a> {
        input().op(move |own, read| own.read_line(usize::MAX, line, read))
    }

    /// The operation that appends to `bytes` what comes up to the next `delimiter`, with it, or up to the end. Yields how many bytes
    /// that are; 0 at the end. If it loses, no byte was taken.
    ///
    /// # Errors
    /// As a read.
    pub fn read_until_op<'a>(&self, delimiter: u8, bytes: &'a mut Vec<u8>) -> impl Op<Output = io::Result<usize>> + use<'a> {
        input().op(move |own, read| own.read_until(delimiter, usize::MAX, bytes, read))
    }

    /// Appends the next line to `line`, with its `\n`. Yields how many bytes that are; 0 at the end.
    ///
    /// # Errors
    /// As [`line_op`](Stdin::line_op).
    ///
    /// # Blocking
    /// Suspends the fiber, or blocks the thread.
    pub fn read_line(&self, line: &mut String) -> io::Result<usize> {
        self.read_line_op(line).perform()
    }

    /// The lines, without their ends. The iterator waits for each of them.
    pub fn lines(self) -> StdinLines {
        StdinLines { ended: false }
    }

    /// Whether somebody types it.
    pub fn is_terminal(&self) -> bool {
        io::stdin().is_terminal()
    }
}

impl Default for Stdin {
    fn default() -> Stdin {
        stdin()
    }
}

impl TryRead for Stdin {
    fn read_place(&self) -> Place<'_> {
        input().standard.place(WHAT)
    }

    fn try_read(&self, _: &mut Look<'_>, buffer: &mut [u8]) -> io::Result<usize> {
        input().attempt(|own, read| some(own, buffer, read))
    }

    fn read_in_time<T>(&self, call: impl Op<Output = io::Result<T>>) -> impl Op<Output = io::Result<T>> {
        input().fetched(call)
    }
}

impl Readable for Stdin {}

impl Read for &Stdin {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_op(buffer).perform()
    }
}

impl Read for Stdin {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_op(buffer).perform()
    }
}

/// Descriptor 0. What was read from it directly is missing here, and the other way round.
impl AsFd for Stdin {
    fn as_fd(&self) -> BorrowedFd<'_> {
        input().standard.inner().as_fd()
    }
}

impl AsRawFd for Stdin {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl fmt::Debug for Stdin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stdin")
    }
}

/// The lines of the standard input: see [`Stdin::lines`]. It ends with the input, or after an error of the system.
#[derive(Clone, Debug)]
pub struct StdinLines {
    ended: bool,
}

impl Iterator for StdinLines {
    type Item = io::Result<String>;

    fn next(&mut self) -> Option<io::Result<String>> {
        if self.ended {
            return None;
        }
        let line = stdin().line_op().perform().transpose();
        self.ended = match &line {
            None => true,
            Some(Ok(_)) => false,
            // A line that is no text is none of the system, and has been taken.
            Some(Err(error)) => error.kind() != io::ErrorKind::InvalidData,
        };
        line
    }
}

impl FusedIterator for StdinLines {}
