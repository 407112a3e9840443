//! What a proxy does.

use super::{Shutdown, Stream};
use crate::op::{self, Op};
use std::io;

/// Bytes on their way in one direction at a time: few enough that a thousand connections cost 32 MB.
const ROOM: usize = 16 * 1024;

/// Copies in both directions between two connections, until both have ended. The end of one direction is passed on at once, while
/// the other one goes on. Returns how many bytes went from the first to the second, and back.
///
/// One fiber does it all, with a buffer of 16 KiB for each direction.
///
/// ```
/// use fibers::net::{Shutdown, UnixStream, copy_bidirectional};
/// use std::io::{Read, Write};
/// fibers::run(|| {
///     let ((client, near), (far, server)) = (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
///     let proxy = fibers::spawn(move || copy_bidirectional(&near, &far).unwrap());
///     (&client).write_all(b"question").unwrap();
///     client.shutdown(Shutdown::Write).unwrap();
///     let mut text = String::new();
///     (&server).read_to_string(&mut text).unwrap();
///     (&server).write_all(b"answer").unwrap();
///     drop(server);
///     assert_eq!((text.as_str(), proxy.join().unwrap()), ("question", (8, 6)));
/// });
/// ```
///
/// # Errors
/// The first error of a read or a write. Nothing is copied any more then; what becomes of the connections is up to the caller.
///
/// # Blocking
/// Suspends the fiber, or blocks the thread, until both directions have ended.
pub fn copy_bidirectional<A: Stream, B: Stream>(first: &A, second: &B) -> io::Result<(u64, u64)> {
    let (mut there, mut back) = (OneWay::new(), OneWay::new());
    while !there.ended || !back.ended {
        op::choice((
            (!there.ended).then(|| there.step_op(first, second)),
            (!back.ended).then(|| back.step_op(second, first)),
        ))
        .perform()?;
    }
    Ok((there.total, back.total))
}

/// One direction.
struct OneWay {
    buffer: Box<[u8]>,
    /// What has been read and is to be written.
    from: usize,
    to: usize,
    total: u64,
    ended: bool,
}

impl OneWay {
    fn new() -> OneWay {
        OneWay {
            buffer: vec![0; ROOM].into(),
            from: 0,
            to: 0,
            total: 0,
            ended: false,
        }
    }

    /// Reads if everything has been written, and writes otherwise.
    fn step_op<'a>(&'a mut self, source: &'a impl Stream, target: &'a impl Stream) -> impl Op<Output = io::Result<()>> + 'a {
        let OneWay {
            buffer,
            from,
            to,
            total,
            ended,
        } = self;
        let is_empty = from == to;
        // Each of the two operations borrows the buffer, so one of them is not made.
        let (reading, writing) = match is_empty {
            true => (Some(source.read_op(buffer)), None),
            false => (None, Some(target.write_op(&buffer[*from..*to]))),
        };
        let step = op::choice((reading, writing));
        step.wrap(move |count| {
            let count = count?;
            match is_empty {
                true if count == 0 => {
                    *ended = true;
                    // Fails if the connection is over, and then there is nobody to be told.
                    let _ = target.shutdown(Shutdown::Write);
                }
                true => (*from, *to) = (0, count),
                false => {
                    *from += count;
                    *total += count as u64;
                }
            }
            Ok(())
        })
    }
}
