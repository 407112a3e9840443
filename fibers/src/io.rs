//! Input and output on any descriptor, on the standard ones, and through memory.
//!
//! | | |
//! |---|---|
//! | [`Fd`] | any descriptor, made waitable |
//! | [`pipe`] | a pipe of the system |
//! | [`duplex`] | a connection within the process |
//! | [`stdin`], [`stdout`], [`stderr`] | those of the process |
//! | [`BufReader`] | lines, fields and blocks of any of these and of sockets, as operations |
//! | [`Deadline`] | one deadline, or a context, for many calls |
//! | [`Readable`], [`Writable`], [`Stream`] | what all of these have in common |
//!
//! Everything here is `Read` and `Write`, so the functions of `std::io` do the rest: `copy`, `BufWriter`. For a proxy there is
//! [`net::copy_bidirectional`](crate::net::copy_bidirectional).

mod buffer;
mod deadline;
mod duplex;
mod fd;
mod reader;
mod standard;
mod stdin;
mod stdout;
mod stream;

pub use crate::file::Closed;
pub use deadline::{Deadline, Until};
pub use duplex::{Duplex, duplex};
pub use fd::Fd;
pub use reader::{BufReader, TooLong};
pub use stdin::{Stdin, StdinLines, stdin};
pub use stdout::{Stderr, Stdout, stderr, stdout};
pub use stream::{Readable, Stream, Writable};

use reader::too_long;
pub(crate) use stream::{Place, reading, sealed, timed_out, within, writing};

use std::io;

/// A pipe of the system: what is written into the second is read from the first. To be shared with child processes, give them one
/// end with [`Fd::into_inner`], which makes it block again.
///
/// ```
/// use std::io::{Read, Write};
/// let (mut reader, mut writer) = fibers::io::pipe().unwrap();
/// writer.write_all(b"hello").unwrap();
/// drop(writer);
/// let mut text = String::new();
/// reader.read_to_string(&mut text).unwrap();
/// assert_eq!(text, "hello");
/// ```
///
/// # Errors
/// If there are no descriptors for it.
pub fn pipe() -> io::Result<(Fd<io::PipeReader>, Fd<io::PipeWriter>)> {
    let (reader, writer) = io::pipe()?;
    Ok((Fd::new(reader)?, Fd::new(writer)?))
}
