//! What goes wrong: system calls that fail or do little, and peers that go away.

use crate::tcp::{listen, pair};
use fibers::Op;
use fibers::fault::{Call, Fault, scoped};
use fibers::io::Fd;
use fibers::net::{AcceptBackoff, TcpStream, UnixStream};
use fibers_tests::{Counter, everywhere, on_workers, rounds, subprocess};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

const ONCE: Fault = Fault {
    after: 0,
    times: 1,
    errno: libc::EINTR,
};

fn some(times: u64, errno: i32) -> Fault {
    Fault { after: 0, times, errno }
}

#[test]
fn f31_interrupted_calls_are_repeated() {
    on_workers(&[1], |_| {
        let faults = [
            Call::RecvMsg,
            Call::SendMsg,
            Call::Accept,
            Call::Connect,
            Call::Poll,
            Call::Read,
            Call::Write,
        ]
        .map(|call| scoped(call, some(3, libc::EINTR)));
        let (near, far) = pair();
        (&near).write_all(b"hello").unwrap();
        let mut buffer = [0; 5];
        (&far).read_exact(&mut buffer).unwrap();
        far.readable_op().timeout(Duration::from_millis(1)).perform().unwrap_err();
        let (reader, writer) = io::pipe().unwrap();
        let (reader, writer) = (Fd::new(reader).unwrap(), Fd::new(writer).unwrap());
        (&writer).write_all(b"x").unwrap();
        assert_eq!((&reader).read(&mut [0]).unwrap(), 1);
        drop(faults);
        let calls = std::cell::Cell::new(0);
        let _fault = scoped(Call::Fcntl, ONCE);
        let result = reader.read_with(|_| {
            calls.set(calls.get() + 1);
            match calls.get() {
                1 | 2 => Err(io::Error::from(ErrorKind::Interrupted)),
                _ => Ok(calls.get()),
            }
        });
        assert_eq!(result.unwrap(), 3, "calls of the user as well");
    });
}

/// The calls do less than they were asked for, and what looks like the end of the data is none.
#[test]
fn f32_calls_that_do_little_add_up() {
    on_workers(&[1], |_| {
        for bytes in [1, 7] {
            let _send = scoped(Call::SendMsg, Fault::short(bytes));
            let _recv = scoped(Call::RecvMsg, Fault::short(bytes));
            let (near, far) = pair();
            near.set_send_buffer_size(2048).unwrap();
            let data: Vec<u8> = (0..5_000_u32).map(|i| (i * i) as u8).collect();
            let expected = data.clone();
            let writing = fibers::spawn(move || (&near).write_all(&data));
            let mut all = Vec::new();
            (&far).read_to_end(&mut all).unwrap();
            writing.join().unwrap().unwrap();
            assert!(all == expected);
        }
    });
}

#[test]
fn f33_a_connection_that_was_reset_is_an_error() {
    on_workers(&[1, 2], |on| {
        let (near, far) = pair();
        let reading = on.spawn(move || {
            let error = (&near).read(&mut [0; 8]).unwrap_err();
            (near, error)
        });
        on.pause();
        far.set_linger(Some(Duration::ZERO)).unwrap();
        drop(far);
        let (near, error) = reading.join();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert_eq!((&near).write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
    });
}

/// An empty read or write is over at once, whether or not there is anything to be read or room to be written to.
#[test]
fn f32_empty_calls_return_at_once() {
    everywhere(|_| {
        let (near, far) = pair();
        let (reader, writer) = fibers::io::pipe().unwrap();
        while near.write_op(&[0; 65536]).try_perform().is_some() {}
        assert_eq!((&near).write(&[]).unwrap(), 0, "no room");
        assert_eq!((&near).read(&mut []).unwrap(), 0, "nothing there");
        assert_eq!((&near).read_vectored(&mut []).unwrap(), 0);
        assert_eq!((&reader).read(&mut []).unwrap(), 0);
        assert_eq!((&writer).write(&[]).unwrap(), 0);
        assert_eq!((&far).read(&mut []).unwrap(), 0, "much there");
    });
}

/// With the signal at its default action, as in a program that is not written in Rust.
#[test]
fn f33_no_write_to_a_socket_raises_a_signal() {
    let output = subprocess("faults::f33_no_write_to_a_socket_raises_a_signal", || {
        // SAFETY: the default action is a valid one.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
        fibers::run(|| {
            let (near, far) = UnixStream::pair().unwrap();
            drop(far);
            assert_eq!((&near).write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
            let pieces = [io::IoSlice::new(b"x"), io::IoSlice::new(b"y")];
            assert_eq!((&near).write_vectored(&pieces).unwrap_err().kind(), ErrorKind::BrokenPipe);
            assert_eq!(near.send_fds(b"x", &[]).unwrap_err().kind(), ErrorKind::BrokenPipe);
        });
    });
    assert!(output.status.success(), "{output:?}");
}

/// Without descriptors a server that backs off neither fails nor spins.
#[test]
fn f34_a_server_without_descriptors_goes_on() {
    on_workers(&[1], |_| {
        let (listener, address) = listen();
        let faults = scoped(Call::Accept, some(3, libc::EMFILE));
        let client = std::thread::spawn(move || {
            let mut text = String::new();
            std::net::TcpStream::connect(address)
                .unwrap()
                .read_to_string(&mut text)
                .unwrap();
            text
        });
        let mut backoff = AcceptBackoff::new();
        let (mut failures, began) = (0, Instant::now());
        let mut stream = loop {
            match listener.accept() {
                Ok((stream, _)) => break stream,
                Err(error) => {
                    failures += 1;
                    backoff.wait(error).unwrap();
                }
            }
        };
        assert_eq!(failures, 3);
        assert!(began.elapsed() >= Duration::from_millis(5 + 10 + 20));
        stream.write_all(b"late").unwrap();
        drop(stream);
        assert_eq!(client.join().unwrap(), "late");
        drop(faults);
    });
}

/// The limit of descriptors is really reached, and the server fails once for each pause, while nothing is freed.
#[test]
fn f34_a_server_at_the_limit_of_descriptors_does_not_spin() {
    const FAILURES: u32 = 6;
    let output = subprocess("faults::f34_a_server_at_the_limit_of_descriptors_does_not_spin", || {
        on_workers(&[1, 2], |_| {
            let (listener, address) = listen();
            let clients: Vec<_> = (0..40).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
            let limit = limit_descriptors(&clients, 10);
            let mut held = Vec::new();
            let (mut backoff, mut failures, mut began) = (AcceptBackoff::new(), 0, Instant::now());
            for _ in 0..clients.len() {
                let stream = loop {
                    match listener.accept() {
                        Ok((stream, _)) => break stream,
                        Err(error) => {
                            assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
                            if failures == 0 {
                                began = Instant::now();
                            }
                            failures += 1;
                            assert!(failures <= FAILURES, "it has been given descriptors");
                            backoff.wait(error).unwrap();
                            if failures == FAILURES {
                                held.clear();
                            }
                        }
                    }
                };
                backoff.reset();
                if failures < FAILURES {
                    held.push(stream);
                }
            }
            assert_eq!((failures, held.len()), (FAILURES, 0));
            let pauses = 5 * ((1 << FAILURES) - 1);
            assert!(began.elapsed() >= Duration::from_millis(pauses), "one look for each pause");
            set_limit(&limit);
        });
    });
    assert!(output.status.success(), "{output:?}");
}

/// Leaves room for `room` descriptors more than there are, of which the newest are given. Returns what the limit was.
fn limit_descriptors(newest: &[std::net::TcpStream], room: u64) -> libc::rlimit {
    let limit = limit();
    let last = newest.iter().map(|stream| stream.as_raw_fd() as u64).max().unwrap();
    set_limit(&libc::rlimit {
        rlim_cur: last + 1 + room,
        ..limit
    });
    limit
}

fn limit() -> libc::rlimit {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is a valid place.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) }, 0);
    limit
}

fn set_limit(limit: &libc::rlimit) {
    // SAFETY: `limit` is a valid one.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, limit) }, 0);
}

#[test]
fn f35_a_connection_that_was_given_up_does_not_end_the_listener() {
    on_workers(&[1], |_| {
        let (listener, address) = listen();
        let _client = std::net::TcpStream::connect(address).unwrap();
        let _fault = scoped(Call::Accept, some(1, libc::ECONNABORTED));
        let error = listener.accept().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionAborted);
        assert!(AcceptBackoff::new().pause(error).unwrap().is_zero());
        listener.accept().unwrap();
    });
}

/// What cannot be registered is an error for the one who waits, and for nobody later.
#[test]
fn f38_a_descriptor_that_cannot_be_watched_is_an_error() {
    on_workers(&[1], |_| {
        let (near, far) = UnixStream::pair().unwrap();
        for errno in [libc::ENOSPC, libc::ENOMEM] {
            let _fault = scoped(Call::EpollCtl, some(2, errno));
            let error = (&near).read(&mut [0]).unwrap_err();
            assert_eq!(error.kind(), io::Error::from_raw_os_error(errno).kind());
            // In a choice, where another branch is published already.
            let mut buffer = [0];
            let chosen = fibers::op::never().or(near.read_op(&mut buffer)).perform();
            assert!(chosen.is_err());
        }
        assert!((&near).read(&mut []).is_ok());
        (&far).write_all(b"x").unwrap();
        assert_eq!((&near).read(&mut [0]).unwrap(), 1);
    });
}

/// A failed registration leaves nothing in the runtime that would come to mind later: the same socket is registered in the end, and
/// served once.
#[test]
fn f38_registrations_that_fail_leave_nothing_behind() {
    on_workers(&[1, 2], |on| {
        let (near, far) = pair();
        for _ in 0..rounds(1_000, 100_000) {
            let _fault = scoped(Call::EpollCtl, some(1, libc::ENOSPC));
            let error = (&near).read(&mut [0]).unwrap_err();
            assert!(error.to_string().contains("max_user_watches"), "{error}");
        }
        let served = Counter::default();
        let count = served.clone();
        let reading = on.spawn(move || {
            while (&near).read(&mut [0]).unwrap() != 0 {
                count.add();
            }
        });
        for n in 1..=10 {
            (&far).write_all(b"x").unwrap();
            on.eventually(|| served.get() == n);
        }
        drop(far);
        reading.join();
    });
}

/// What epoll refuses is read on the pool.
#[test]
fn f38_regular_files_go_to_the_pool() {
    on_workers(&[1], |_| {
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        assert_eq!(Fd::new(file).unwrap_err().kind(), ErrorKind::InvalidInput);
        // The system has nothing of it in memory, or so it says.
        let _fault = scoped(Call::ReadCached, Fault::always(libc::EAGAIN));
        let mut start = [0; 4];
        fibers::fs::File::open("/proc/self/exe")
            .unwrap()
            .read_exact(&mut start)
            .unwrap();
        assert_eq!(&start, b"\x7fELF");
        assert!(fibers::Handle::current().blocking_pool().threads > 0);
    });
}

/// The other errors of calls reach the caller as they are.
#[test]
fn errors_come_through() {
    on_workers(&[1], |_| {
        let (near, _far) = pair();
        let _recv = scoped(Call::RecvMsg, some(1, libc::EIO));
        let _send = scoped(Call::SendMsg, some(1, libc::ENOBUFS));
        assert_eq!((&near).read(&mut [0]).unwrap_err().raw_os_error(), Some(libc::EIO));
        assert_eq!((&near).write(&[0]).unwrap_err().raw_os_error(), Some(libc::ENOBUFS));
        for call in [Call::Socket, Call::Bind, Call::Listen, Call::SocketOption] {
            let _fault = scoped(call, some(1, libc::ENOMEM));
            assert!(fibers::net::TcpListener::bind("127.0.0.1:0").is_err(), "{call:?}");
        }
        let _fault = scoped(Call::Connect, some(1, libc::ENETUNREACH));
        assert_eq!(
            TcpStream::connect("127.0.0.1:1").unwrap_err().raw_os_error(),
            Some(libc::ENETUNREACH)
        );
        let (reader, _writer) = io::pipe().unwrap();
        let _fault = scoped(Call::Fcntl, some(1, libc::EBADF));
        assert!(Fd::new(reader).is_err());
    });
}

/// Each try to start the thread that watches for plain threads fails, and costs nothing.
#[test]
fn a_driver_that_does_not_start_leaves_nothing_behind() {
    let output = subprocess("faults::a_driver_that_does_not_start_leaves_nothing_behind", || {
        let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        let (reader, mut writer) = fibers::io::pipe().unwrap();
        let fault = scoped(Call::Thread, Fault::always(libc::EAGAIN));
        let before = descriptors();
        for _ in 0..20 {
            assert_eq!((&reader).read(&mut [0]).unwrap_err().raw_os_error(), Some(libc::EAGAIN));
        }
        assert_eq!(descriptors(), before);
        drop(fault);
        writer.write_all(b"x").unwrap();
        assert_eq!((&reader).read(&mut [0]).unwrap(), 1);
    });
    assert!(output.status.success(), "{output:?}");
}

/// Nobody can look up a name: that is an error, and no panic.
#[test]
fn f43_a_look_up_without_a_thread_is_an_error() {
    on_workers(&[1], |_| {
        let fault = scoped(Call::Thread, Fault::always(libc::EAGAIN));
        for limit in [None, Some(Duration::from_secs(3600))] {
            let error = match limit {
                None => TcpStream::connect(("localhost", 1)).unwrap_err(),
                Some(limit) => TcpStream::connect_timeout(("localhost", 1), limit).unwrap_err(),
            };
            assert_eq!(error.raw_os_error(), Some(libc::EAGAIN));
        }
        drop(fault);
    });
}

/// The kernel closes what there is no room for, and does not fail: whoever has asked for descriptors is told.
#[test]
fn descriptors_that_are_lost_on_their_way_are_an_error() {
    let output = subprocess("faults::descriptors_that_are_lost_on_their_way_are_an_error", || {
        let (near, far) = UnixStream::pair().unwrap();
        let (reader, _writer) = io::pipe().unwrap();
        near.send_fds(b"one", &[reader.as_fd()]).unwrap();
        near.send_fds(b"two", &[reader.as_fd()]).unwrap();
        let mut buffer = [0; 3];
        let limit = limit();
        set_limit(&libc::rlimit { rlim_cur: 3, ..limit });
        assert_eq!(far.recv_fds(&mut buffer).unwrap_err().kind(), ErrorKind::Other);
        set_limit(&limit);
        let (count, fds) = far.recv_fds(&mut buffer).unwrap();
        assert_eq!((&buffer[..count], fds.len()), (&b"two"[..], 1));
    });
    assert!(output.status.success(), "{output:?}");
}

/// "Try again" of a connect is no promise that anything will happen on the socket.
#[test]
fn a_connect_that_the_system_puts_off_is_an_error() {
    everywhere(|_| {
        let (_listener, address) = listen();
        let _fault = scoped(Call::Connect, Fault::always(libc::EAGAIN));
        let error = TcpStream::connect_op(address).perform().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ResourceBusy, "{error}");
        let error = TcpStream::connect(address).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ResourceBusy, "{error}");
    });
}
