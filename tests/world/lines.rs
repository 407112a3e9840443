//! Lines, fields and blocks of a stream as operations: whatever loses, no byte is lost.

use crate::tcp::pair;
use fibers::context::{Context, ContextError};
use fibers::io::{self, BufReader, Deadline, Fd, Readable, Stream, TooLong, Writable};
use fibers::net::{Shutdown, UnixStream};
use fibers::{Op, channel, op, select, time};
use fibers_tests::{Rng, everywhere, on_workers, rounds, under_stress};
use std::io::{BufRead, ErrorKind, Read, Write};
use std::time::{Duration, Instant};

/// Both ends of every kind of stream, for a test that wants one of each.
fn each_kind(test: impl Fn(Box<dyn FnOnce(&[u8]) + Send>, &mut dyn FnMut() -> std::io::Result<Option<String>>)) {
    let (near, far) = pair();
    let mut reader = BufReader::new(far);
    test(Box::new(move |bytes| (&near).write_all(bytes).unwrap()), &mut || {
        reader.line_op().perform()
    });
    let (near, far) = UnixStream::pair().unwrap();
    let (read_half, _write_half) = far.into_split();
    let mut reader = BufReader::new(read_half);
    test(Box::new(move |bytes| (&near).write_all(bytes).unwrap()), &mut || {
        reader.line_op().perform()
    });
    let (near, far) = std::io::pipe().unwrap();
    let (near, far) = (Fd::new(near).unwrap(), Fd::new(far).unwrap());
    let mut reader = BufReader::with_capacity(1, &near);
    test(Box::new(move |bytes| (&far).write_all(bytes).unwrap()), &mut || {
        reader.line_op().perform()
    });
    let (mut near, far) = io::duplex(3);
    let mut reader = BufReader::new(far);
    test(Box::new(move |bytes| near.write_all(bytes).unwrap()), &mut || {
        reader.line_op().perform()
    });
}

#[test]
fn lines_of_every_kind_of_stream() {
    everywhere(|on| {
        each_kind(|write, line| {
            let writing = on.spawn(move || write(b"one\n\ntwo\r\nand the rest"));
            for expected in ["one", "", "two", "and the rest"] {
                assert_eq!(line().unwrap().as_deref(), Some(expected));
            }
            assert_eq!(line().unwrap(), None);
            assert_eq!(line().unwrap(), None);
            writing.join();
        });
    });
}

/// A line that comes in pieces, against a channel that is as fast: both come complete and in order.
#[test]
fn a_losing_line_costs_no_byte() {
    under_stress(|on| {
        let count = rounds(200, 20_000);
        let (near, far) = pair();
        let (tx, rx) = channel::<u64>(0);
        let writing = on.spawn(move || {
            let mut rng = Rng::new(7);
            let text: String = (0..count).map(|i| format!("line {i}\n")).collect();
            let mut rest = text.as_bytes();
            while !rest.is_empty() {
                let (piece, more) = rest.split_at(rest.len().min(1 + rng.below(11) as usize));
                (&near).write_all(piece).unwrap();
                rest = more;
                on.pause();
            }
        });
        let sending = on.spawn(move || (0..count).for_each(|i| tx.send(i).unwrap()));
        let mut reader = BufReader::with_capacity(4, far);
        let (mut lines, mut values) = (0, 0);
        while lines < count || values < count {
            select! {
                line = reader.line_op() if lines < count => {
                    assert_eq!(line.unwrap().unwrap(), format!("line {lines}"));
                    lines += 1;
                }
                v = <-rx if values < count => {
                    assert_eq!(v, Ok(values));
                    values += 1;
                }
            }
        }
        assert_eq!(reader.line_op().perform().unwrap(), None);
        writing.join();
        sending.join();
    });
}

#[test]
fn what_a_lost_operation_has_read_is_there_for_another_kind_of_it() {
    everywhere(|_| {
        let (mut near, far) = io::duplex(100);
        let mut reader = BufReader::new(far);
        let mut text = String::new();
        for piece in ["ab", "c;d", "ef"] {
            near.write_all(piece.as_bytes()).unwrap();
            assert!(reader.read_line_op(&mut text).try_perform().is_none());
            let late = reader.read_line_op(&mut text).timeout(Duration::from_millis(1)).perform();
            assert!(late.is_err() && text.is_empty());
        }
        assert_eq!(reader.buffer(), b"abc;def");
        let mut field = b"> ".to_vec();
        assert_eq!(reader.read_until_op(b';', &mut field).perform().unwrap(), 4);
        assert_eq!(field, b"> abc;");
        let mut block = [0; 4];
        assert!(reader.read_exact_op(&mut block).try_perform().is_none());
        assert_eq!(block, [0; 4]);
        near.write_all(b"ghi\n").unwrap();
        reader.read_exact_op(&mut block).perform().unwrap();
        assert_eq!(&block, b"defg");
        assert_eq!(
            reader.fill_op().try_perform().map(|n| n.unwrap()),
            None,
            "all of it has been read"
        );
        near.write_all(b"j").unwrap();
        assert_eq!(reader.fill_op().perform().unwrap(), 1);
        assert_eq!(reader.read_op(&mut block).perform().unwrap(), 4);
        assert_eq!(&block, b"hi\nj");
        drop(near);
        assert_eq!(reader.fill_op().perform().unwrap(), 0);
        assert_eq!(
            reader.read_exact_op(&mut block).perform().unwrap_err().kind(),
            ErrorKind::UnexpectedEof
        );
        reader.read_exact_op(&mut []).perform().unwrap();
    });
}

/// As a `BufRead` it is what std's is.
#[test]
fn a_reader_is_what_std_has() {
    everywhere(|on| {
        let data: Vec<u8> = (0..50_000_u32).map(|i| ((i * i) >> 3) as u8).collect();
        for capacity in [1, 7, 4096] {
            let (mut near, far) = io::duplex(1000);
            let expected = data.clone();
            let writing = on.spawn(move || near.write_all(&expected));
            let (mut ours, mut theirs) = (BufReader::with_capacity(capacity, far), &data[..]);
            let (mut a, mut b) = (Vec::new(), Vec::new());
            for delimiter in [0, 255, 17] {
                let n = ours.read_until(delimiter, &mut a).unwrap();
                assert_eq!(n, theirs.read_until(delimiter, &mut b).unwrap());
            }
            let mut block = vec![0; 10_000];
            ours.read_exact(&mut block).unwrap();
            assert!(block[..] == theirs[..10_000] && a == b);
            theirs.consume(10_000);
            let some = ours.fill_buf().unwrap();
            assert!(theirs.starts_with(some) && !some.is_empty());
            let mut rest = Vec::new();
            ours.read_to_end(&mut rest).unwrap();
            assert!(rest == theirs);
            writing.join().unwrap();
        }
    });
}

#[test]
fn a_peer_without_an_end_of_line_gets_an_error_and_not_the_memory() {
    everywhere(|on| {
        let (near, far) = pair();
        let writing = on.spawn(move || {
            // Until it is hung up on.
            while (&near).write_all(&[b'x'; 4096]).is_ok() {}
        });
        let mut reader = BufReader::new(far);
        assert_eq!(reader.max_line(), 1 << 20);
        reader.set_max_line(50_000);
        for _ in 0..2 {
            let error = reader.line_op().perform().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidData);
            assert_eq!(error.downcast::<TooLong>().unwrap().limit(), 50_000);
            assert!((50_000..=50_001).contains(&reader.buffer().len()));
        }
        let error = reader.fill_op().perform().unwrap_err();
        assert!(error.get_ref().unwrap().is::<TooLong>());
        // Who wants to go on all the same can.
        let count = reader.buffer().len();
        reader.consume(count);
        assert!(reader.fill_op().perform().unwrap() > 0);
        let (stream, unread) = reader.into_parts();
        assert!(unread.iter().all(|byte| *byte == b'x') && !unread.is_empty());
        drop(stream);
        writing.join();
    });
}

#[test]
fn the_read_timeout_of_a_socket_is_for_the_whole_line() {
    everywhere(|on| {
        let (near, far) = pair();
        far.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        let mut reader = BufReader::new(far);
        (&near).write_all(b"half").unwrap();
        let mut line = String::new();
        assert_eq!(reader.read_line(&mut line).unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(line, "");
        let trickling = on.spawn(move || {
            while (&near).write_all(b".").is_ok() {
                time::sleep(Duration::from_millis(1));
            }
        });
        assert_eq!(reader.read_line(&mut line).unwrap_err().kind(), ErrorKind::TimedOut);
        assert!(reader.buffer().starts_with(b"half"));
        drop(reader);
        trickling.join();
    });
}

#[test]
fn an_error_leaves_what_was_read_before() {
    on_workers(&[1], |_| {
        use fibers::fault::{Call, Fault, scoped};
        let (near, far) = pair();
        (&near).write_all(b"almost a line").unwrap();
        let fault = Fault {
            after: 1,
            times: 1,
            errno: libc::ECONNRESET,
        };
        let _fault = scoped(Call::RecvMsg, fault);
        let _short = scoped(Call::RecvMsg, Fault::short(3));
        let mut reader = BufReader::new(far);
        let error = reader.line_op().perform().unwrap_err();
        assert_eq!((error.kind(), reader.buffer()), (ErrorKind::ConnectionReset, &b"alm"[..]));
        drop(near);
        assert_eq!(
            reader.line_op().perform().unwrap().unwrap(),
            "almost a line",
            "three bytes at a time"
        );
    });
}

/// Whoever closes on this side ends a wait for a line, and the bytes of it are still there.
#[test]
fn closing_ends_a_wait_for_a_line() {
    everywhere(|on| {
        let (near, far) = pair();
        let far = std::sync::Arc::new(far);
        (&near).write_all(b"half").unwrap();
        let theirs = far.clone();
        let (tx, rx) = channel::<()>(0);
        let reading = on.spawn(move || {
            let mut reader = BufReader::new(&*theirs);
            assert!(reader.line_op().timeout(Duration::from_millis(2)).perform().is_err());
            tx.send(()).unwrap();
            let error = reader.line_op().perform().unwrap_err();
            assert!(error.get_ref().unwrap().is::<io::Closed>());
            assert_eq!(reader.buffer(), b"half");
        });
        rx.recv().unwrap();
        far.close();
        reading.join();
    });
}

#[test]
fn writing_all_tells_what_is_left() {
    everywhere(|on| {
        let (near, far) = io::duplex(4);
        let mut rest = &b"0123456789"[..];
        let late = near.write_all_op(&mut rest).timeout(Duration::from_millis(1)).perform();
        assert!(late.is_err() && rest == b"456789");
        let reading = on.spawn(move || {
            let mut text = String::new();
            (&far).read_to_string(&mut text).unwrap();
            text
        });
        near.write_all_op(&mut rest).perform().unwrap();
        assert!(rest.is_empty());
        Stream::shutdown(&near, Shutdown::Write).unwrap();
        assert_eq!(reading.join(), "0123456789");
        let mut rest = &b"x"[..];
        assert_eq!(
            near.write_all_op(&mut rest).perform().unwrap_err().kind(),
            ErrorKind::BrokenPipe
        );
        assert_eq!(rest, b"x");
    });
}

#[test]
fn functions_take_any_stream() {
    fn ask<S: Stream>(stream: &S, question: &str) -> std::io::Result<Option<String>> {
        stream.write_all_op(&mut question.as_bytes()).perform()?;
        stream.shutdown(Shutdown::Write)?;
        BufReader::new(stream).line_op().perform()
    }
    fn answer(mut stream: impl Read + Write) {
        let mut question = String::new();
        stream.read_to_string(&mut question).unwrap();
        stream.write_all(question.to_uppercase().as_bytes()).unwrap();
    }
    everywhere(|on| {
        let ((near, far), (close, away)) = (pair(), io::duplex(2));
        let answering = [on.spawn(move || answer(far)), on.spawn(move || answer(away))];
        assert_eq!(ask(&near, "tcp").unwrap().unwrap(), "TCP");
        assert_eq!(ask(&close, "memory").unwrap().unwrap(), "MEMORY");
        answering.into_iter().for_each(|task| task.join());
    });
}

#[test]
fn a_context_ends_a_conversation() {
    everywhere(|on| {
        let (near, far) = pair();
        let (ctx, cancel) = Context::background().with_cancel();
        let theirs = ctx.clone();
        let (tx, rx) = channel::<()>(0);
        let waiting = on.spawn(move || {
            let limited = far.with_deadline(&theirs);
            let mut reader = BufReader::new(limited);
            assert_eq!(reader.line_op().perform().unwrap().unwrap(), "in time");
            tx.send(()).unwrap();
            let error = reader.line_op().perform().unwrap_err();
            assert_eq!(error.downcast::<ContextError>().unwrap(), ContextError::Cancelled);
            assert_eq!(reader.buffer(), b"half");
            assert!(limited.write_op(b"x").perform().is_err(), "there is room, but no time");
            far
        });
        (&near).write_all(b"in time\nhalf").unwrap();
        rx.recv().unwrap();
        cancel.cancel();
        let far = waiting.join();
        assert!(far.read_op(&mut [0; 8]).try_perform().is_none());
        let (ctx, _cancel) = Context::background().with_timeout(Duration::from_millis(1));
        let error = near.with_deadline(&ctx).read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        let (reader, _writer) = std::io::pipe().unwrap();
        let reader = Fd::new(reader).unwrap();
        let soon = Instant::now() + Duration::from_millis(1);
        let mut reader = BufReader::new(Deadline::new(&reader, soon));
        let error = reader.line_op().or(op::never()).perform().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert_eq!(reader.get_ref().deadline(), soon);
        let far = far_duplex();
        assert_eq!(
            far.with_deadline(Instant::now())
                .read_op(&mut [0])
                .perform()
                .unwrap_err()
                .kind(),
            ErrorKind::TimedOut
        );
    });
}

/// One end of a connection, on which something waits to be read.
fn far_duplex() -> io::Duplex {
    let (mut near, far) = io::duplex(1);
    near.write_all(b"x").unwrap();
    far
}

/// What is readable is so in every role.
#[test]
fn references_are_readable_too() {
    everywhere(|_| {
        let far = far_duplex();
        let by_reference = &&far;
        assert_eq!(Readable::read_op(by_reference, &mut [0; 3]).perform().unwrap(), 1);
        assert_eq!(
            Writable::write_op(by_reference, b"").perform().unwrap_err().kind(),
            ErrorKind::BrokenPipe
        );
    });
}
