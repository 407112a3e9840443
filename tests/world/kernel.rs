//! Copies that stay in the kernel, and those that cannot.

use crate::tcp::pair;
use fibers::fault::{Call, Fault, scoped};
use fibers::fs::File;
use fibers::io::{self, Deadline, Fd, Readable, Writable};
use fibers::net::{Shutdown, TcpStream, UnixStream, send_file, send_file_op, splice};
use fibers::{Op, op};
use fibers_tests::{On, everywhere, on_workers, unlinked_file};
use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 251) as u8).collect()
}

/// An open file, which is gone when it is closed.
fn file(contents: &[u8]) -> File {
    unlinked_file(contents).into()
}

fn all_of(mut source: impl Read) -> Vec<u8> {
    let mut all = Vec::new();
    source.read_to_end(&mut all).unwrap();
    all
}

/// Sends all of a file, and reads it at the other end at the same time.
fn check_sent<W: Writable, R: Read + Send + 'static>(on: On, data: &[u8], (to, from): (W, R)) {
    let reading = on.spawn(move || all_of(from));
    assert_eq!(send_file(&file(data), &to, ..).unwrap(), data.len() as u64);
    drop(to);
    assert!(reading.join() == data);
}

fn pipe() -> (Fd<std::io::PipeWriter>, Fd<std::io::PipeReader>) {
    let (reader, writer) = io::pipe().unwrap();
    (writer, reader)
}

#[test]
fn a_file_goes_to_every_kind_of_stream() {
    everywhere(|on| {
        let data = pattern(400_001);
        check_sent(on, &data, pair());
        check_sent(on, &data, UnixStream::pair().unwrap());
        check_sent(on, &data, pipe());
        check_sent(on, &data, io::duplex(1000));
        let (near, far) = pair();
        check_sent(on, &data, (near.into_split().1, far));
        check_sent(on, b"", pair());
    });
}

#[test]
fn a_part_of_a_file() {
    everywhere(|_| {
        let data = pattern(1000);
        let file = file(&data);
        let (near, mut far) = pair();
        let mut check = |sent: u64, expected: &[u8]| {
            assert_eq!(sent, expected.len() as u64);
            let mut bytes = vec![0; expected.len()];
            far.read_exact(&mut bytes).unwrap();
            assert!(bytes == expected);
        };
        check(send_file(&file, &near, 10..20).unwrap(), &data[10..20]);
        check(send_file(&file, &near, ..=4).unwrap(), &data[..=4]);
        check(send_file(&file, &near, 990..).unwrap(), &data[990..]);
        check(send_file(&file, &near, 990..5000).unwrap(), &data[990..]);
        check(send_file(&file, &near, 5000..).unwrap(), &[]);
        check(send_file(&file, &near, 7..7).unwrap(), &[]);
        #[expect(clippy::reversed_empty_ranges, reason = "that is what is tried")]
        check(send_file(&file, &near, 7..3).unwrap(), &[]);
        let piece = send_file_op(&file, &near, 100, 50).perform().unwrap();
        check(piece as u64, &data[100..150]);
        assert_eq!(send_file_op(&file, &near, 100, 0).try_perform().unwrap().unwrap(), 0);
        assert!(send_file_op(&file, &near, u64::MAX, 1).perform().is_err());
        let mut start = [0; 3];
        (&file).read_exact(&mut start).unwrap();
        assert_eq!(start, data[..3], "the cursor has not moved");
    });
}

/// What comes out is right whatever the system calls do: FAULTS 31 and 32, old systems, and files that are not in memory.
#[test]
fn sending_a_file_when_calls_do_little_or_nothing() {
    on_workers(&[1, 2], |on| {
        let data = pattern(30_000);
        let once = |errno| Fault {
            after: 1,
            times: 3,
            errno,
        };
        let faults = [
            (Call::SendFile, once(libc::EINTR)),
            (Call::SendFile, Fault::short(1)),
            (Call::SendFile, Fault::short(999)),
            (Call::SendFile, Fault::always(libc::EINVAL)),
            (Call::SendFile, once(libc::EINVAL)),
            (Call::SendFile, Fault::always(libc::ENOSYS)),
            (Call::ReadCached, Fault::always(libc::EAGAIN)),
            (Call::ReadCached, Fault::always(libc::EOPNOTSUPP)),
        ];
        for (call, fault) in faults {
            let _fault = scoped(call, fault);
            check_sent(on, &data, pair());
            let (near, far) = pair();
            near.set_send_buffer_size(2048).unwrap();
            check_sent(on, &data, (near, far));
        }
        let _fault = scoped(Call::SendFile, Fault::always(libc::EIO));
        let error = send_file(&file(&data), &pair().0, ..).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EIO));
    });
}

/// Whoever loses has sent nothing, and who wins says how much.
#[test]
fn a_losing_piece_of_a_file_is_not_sent() {
    everywhere(|on| {
        let data = pattern(100_000);
        let file = file(&data);
        let (near, far) = UnixStream::pair().unwrap();
        let (mut at, mut late) = (0, 0);
        while late < 3 {
            let piece = send_file_op(&file, &near, at as u64 % 100_000, 100_000 - at % 100_000);
            match piece.timeout(Duration::from_millis(1)).perform() {
                Ok(count) => at += count.unwrap(),
                Err(_) => late += 1,
            }
        }
        assert!(
            send_file_op(&file, &near, 0, 10)
                .wrap(|_| false)
                .or(op::always(true))
                .perform()
        );
        let reading = on.spawn(move || all_of(far));
        drop(near);
        let all = reading.join();
        assert_eq!(all.len(), at);
        assert!(all.chunks(100_000).all(|part| data.starts_with(part)));
    });
}

#[test]
fn a_file_is_sent_in_time_or_not_at_all() {
    on_workers(&[1, 2], |_| {
        let file = file(&pattern(8_000_000));
        let (near, _far) = pair();
        near.set_write_timeout(Some(Duration::from_millis(2))).unwrap();
        assert_eq!(send_file(&file, &near, ..).unwrap_err().kind(), ErrorKind::TimedOut);
        let (near, far) = pair();
        let late = near.with_deadline(Instant::now() + Duration::from_millis(2));
        assert_eq!(send_file(&file, &late, ..).unwrap_err().kind(), ErrorKind::TimedOut);
        far.set_linger(Some(Duration::ZERO)).unwrap();
        drop(far);
        let error = send_file(&file, &near, ..).unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe),
            "{error}"
        );
    });
}

/// What is written into one end comes out of the other, through two streams with a copy between them.
fn check_spliced<W, A, B, R>(on: On, data: &[u8], (mut begin, from): (W, A), (to, end): (B, R))
where
    W: Write + Send + 'static,
    A: Readable + Send + 'static,
    B: Writable + Send + 'static,
    R: Read + Send + 'static,
{
    let bytes = data.to_vec();
    let writing = on.spawn(move || begin.write_all(&bytes).unwrap());
    let reading = on.spawn(move || all_of(end));
    assert_eq!(splice(&from, &to).unwrap(), data.len() as u64);
    drop(to);
    assert!(reading.join() == data);
    writing.join();
}

#[test]
fn streams_are_spliced() {
    everywhere(|on| {
        let data = pattern(700_001);
        check_spliced(on, &data, pair(), pair());
        check_spliced(on, &data, UnixStream::pair().unwrap(), pair());
        check_spliced(on, &data, pair(), UnixStream::pair().unwrap());
        check_spliced(on, &data, pipe(), pair());
        check_spliced(on, &data, pair(), pipe());
        check_spliced(on, &data, io::duplex(100), pair());
        check_spliced(on, &data, pair(), io::duplex(100));
        check_spliced(on, b"", pair(), pair());
    });
}

#[test]
fn splicing_when_calls_do_little_or_nothing() {
    on_workers(&[1, 2], |on| {
        let data = pattern(50_000);
        for after in [0, 1, 2, 3] {
            let times = |times, errno| Fault { after, times, errno };
            let faults = [
                times(3, libc::EINTR),
                times(u64::MAX, -1000),
                // The system moves bytes between neither, or into the pipe and not out of it.
                times(u64::MAX, libc::EINVAL),
                times(1, libc::EINVAL),
            ];
            for fault in faults {
                let _fault = scoped(Call::Splice, fault);
                check_spliced(on, &data, pair(), pair());
            }
        }
        let _fault = scoped(Call::Splice, Fault::always(libc::EIO));
        let ((mut client, near), (far, _server)) = (pair(), pair());
        client.write_all(b"x").unwrap();
        assert_eq!(splice(&near, &far).unwrap_err().raw_os_error(), Some(libc::EIO));
    });
}

#[test]
fn a_splice_that_takes_too_long_or_has_no_reader() {
    on_workers(&[1, 2], |on| {
        let ((mut client, near), (far, server)) = (pair(), pair());
        near.set_read_timeout(Some(Duration::from_millis(2))).unwrap();
        assert_eq!(splice(&near, &far).unwrap_err().kind(), ErrorKind::TimedOut);
        near.set_read_timeout(None).unwrap();
        let soon = Instant::now() + Duration::from_millis(2);
        let error = splice(&Deadline::new(&near, soon), &far).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        server.set_linger(Some(Duration::ZERO)).unwrap();
        drop(server);
        let writing = on.spawn(move || while client.write_all(&[0; 1000]).is_ok() {});
        let error = splice(&near, &far).unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe),
            "{error}"
        );
        drop(near);
        writing.join();
    });
}

/// Both directions of a proxy, by two fibers.
#[test]
fn a_proxy_of_two_splices() {
    everywhere(|on| {
        fn pass(from: &TcpStream, to: &TcpStream) {
            splice(from, to).unwrap();
            to.shutdown(Shutdown::Write).unwrap();
        }
        let ((mut client, near), (far, mut server)) = (pair(), pair());
        let ends = [std::sync::Arc::new(near), std::sync::Arc::new(far)];
        let (there, back) = (ends.clone(), ends);
        let tasks = [
            on.spawn(move || pass(&there[0], &there[1])),
            on.spawn(move || pass(&back[1], &back[0])),
        ];
        client.write_all(b"question").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(all_of(&server), b"question");
        server.write_all(b"answer").unwrap();
        drop(server);
        assert_eq!(all_of(&client), b"answer");
        tasks.into_iter().for_each(|task| task.join());
    });
}
