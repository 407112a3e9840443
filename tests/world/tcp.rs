//! TCP connections: among fibers and threads, in choices, halves, deadlines, and how they end.

use fibers::io::Closed;
use fibers::net::{KeepAlive, Shutdown, TcpListener, TcpStream};
use fibers::{Op, channel, op, select, time};
use fibers_tests::{Counter, HANG, On, everywhere, on_workers, rounds, runtime, under_stress, watchdog};
use std::io::{ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub(crate) fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

pub(crate) fn pair() -> (TcpStream, TcpStream) {
    let (listener, address) = listen();
    let near = TcpStream::connect(address).unwrap();
    let (far, from) = listener.accept().unwrap();
    assert_eq!(from, near.local_addr().unwrap());
    (near, far)
}

/// Answers everything with itself until the end comes.
pub(crate) fn echo(stream: &TcpStream) {
    let mut buffer = [0; 512];
    loop {
        match (&*stream).read(&mut buffer).unwrap() {
            0 => return,
            n => (&*stream).write_all(&buffer[..n]).unwrap(),
        }
    }
}

/// Asks and checks the answers, some in one piece, some in many.
pub(crate) fn talk(stream: impl Read + Write, times: u64, seed: u8) {
    let mut stream = stream;
    let mut answer = [0; 300];
    for i in 0..times {
        let len = 1 + (i as usize * 37 + usize::from(seed)) % answer.len();
        let question: Vec<u8> = (0..len).map(|k| (k as u8) ^ seed ^ i as u8).collect();
        stream.write_all(&question).unwrap();
        stream.read_exact(&mut answer[..len]).unwrap();
        assert!(answer[..len] == question[..]);
    }
}

/// One test at a time that needs hundreds of descriptors: a process may often have 1024 of them, and no more.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Fibers and OS threads as clients of a server of fibers.
#[test]
fn many_connections_echo() {
    let _alone = alone();
    on_workers(&[1, 2, 4], |on| {
        let (listener, address) = listen();
        let server = fibers::spawn(move || {
            let handlers: Vec<_> = listener
                .incoming()
                .take(208)
                .map(|stream| {
                    let stream = stream.unwrap();
                    fibers::fiber::Builder::new().spread().spawn(move || echo(&stream)).unwrap()
                })
                .collect();
            handlers.into_iter().for_each(|handler| handler.join().unwrap());
        });
        let threads: Vec<_> = (0..8)
            .map(|i| std::thread::spawn(move || talk(std::net::TcpStream::connect(address).unwrap(), 20, i)))
            .collect();
        let clients: Vec<_> = (0..200_u8)
            .map(|i| on.spawn(move || talk(TcpStream::connect(address).unwrap(), rounds(5, 200), i)))
            .collect();
        clients.into_iter().for_each(|client| client.join());
        // To join a thread would block the worker, which serves it.
        on.eventually(|| threads.iter().all(|thread| thread.is_finished()));
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        server.join().unwrap();
    });
}

#[test]
fn streams_work_on_plain_threads() {
    On::Threads.run(|on| {
        let (near, far) = pair();
        let server = on.spawn(move || echo(&far));
        talk(&near, 50, 7);
        drop(near);
        server.join();
    });
}

#[test]
fn a_losing_accept_takes_no_connection() {
    everywhere(|on| {
        let (listener, address) = listen();
        let (tx, rx) = channel::<u64>(0);
        let count = rounds(60, 5_000);
        let connecting = on.spawn(move || {
            for i in 0..count {
                let mut stream = TcpStream::connect(address).unwrap();
                stream.write_all(&i.to_le_bytes()).unwrap();
            }
        });
        let sending = on.spawn(move || (0..count).for_each(|i| tx.send(i).unwrap()));
        let (mut accepted, mut received) = (0, 0);
        while accepted < count || received < count {
            select! {
                stream = listener.accept_op() if accepted < count => {
                    let mut number = [0; 8];
                    stream.unwrap().0.read_exact(&mut number).unwrap();
                    assert_eq!(u64::from_le_bytes(number), accepted);
                    accepted += 1;
                }
                i = <-rx if received < count => {
                    assert_eq!(i, Ok(received));
                    received += 1;
                }
            }
        }
        connecting.join();
        sending.join();
    });
}

/// Every byte arrives once, whichever of many fibers and threads read it, and however often they give up.
#[test]
fn many_readers_of_one_stream_share_its_bytes() {
    under_stress(|on| {
        let (near, far) = pair();
        let far = Arc::new(far);
        let total = rounds(20_000, 2_000_000);
        let readers: Vec<_> = (0..6)
            .map(|i| {
                let far = far.clone();
                let on = if i == 0 { On::Threads } else { on };
                on.spawn(move || {
                    let mut sums = [0_u64; 256];
                    let mut buffer = [0; 64];
                    loop {
                        let read = match i % 2 {
                            0 => (&*far).read(&mut buffer),
                            _ => {
                                let read = far.read_op(&mut buffer).timeout(Duration::from_micros(50)).perform();
                                match read {
                                    Ok(read) => read,
                                    Err(_) => continue,
                                }
                            }
                        };
                        match read.unwrap() {
                            0 => return sums,
                            n => buffer[..n].iter().for_each(|byte| sums[usize::from(*byte)] += 1),
                        }
                    }
                })
            })
            .collect();
        let mut sent = 0;
        while sent < total {
            let len = (total - sent).min(1 + sent % 700);
            let bytes: Vec<u8> = (sent..sent + len).map(|i| i as u8).collect();
            (&near).write_all(&bytes).unwrap();
            sent += len;
            on.pause();
        }
        near.shutdown(Shutdown::Write).unwrap();
        let mut sums = [0; 256];
        for reader in readers {
            // To join a thread would block the worker, which serves the events that this thread waits for.
            on.eventually(|| reader.is_finished());
            reader.join().iter().zip(&mut sums).for_each(|(n, sum)| *sum += n);
        }
        for (byte, sum) in sums.iter().enumerate() {
            let expected = total / 256 + u64::from((byte as u64) < total % 256);
            assert_eq!(*sum, expected, "byte {byte}");
        }
    });
}

/// What comes with the end of a stream in one packet does not hide the end.
#[test]
fn the_end_is_seen_after_a_short_read() {
    everywhere(|on| {
        for round in 0..rounds(100, 20_000) {
            let (near, far) = pair();
            let reading = on.spawn(move || {
                let mut buffer = [0; 64];
                let mut all = Vec::<u8>::new();
                loop {
                    match (&far).read(&mut buffer).unwrap() {
                        0 => return all,
                        n => all.extend(&buffer[..n]),
                    }
                }
            });
            (&near).write_all(b"first").unwrap();
            if round % 2 == 0 {
                on.pause();
            }
            (&near).write_all(b" last").unwrap();
            drop(near);
            assert_eq!(reading.join(), b"first last");
        }
    });
}

#[test]
fn half_of_a_connection_can_end() {
    everywhere(|on| {
        let (near, far) = pair();
        let answering = on.spawn(move || {
            let mut question = String::new();
            (&far).read_to_string(&mut question).unwrap();
            (&far).write_all(question.to_uppercase().as_bytes()).unwrap();
        });
        let (mut reader, mut writer) = near.into_split();
        writer.write_all(b"question").unwrap();
        drop(writer);
        let mut answer = String::new();
        reader.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "QUESTION");
        answering.join();
    });
}

#[test]
fn halves_are_one_again_if_they_were() {
    let (near, far) = pair();
    let (near_reader, near_writer) = near.into_split();
    let (far_reader, far_writer) = far.into_split();
    let error = near_reader.reunite(far_writer).unwrap_err();
    let near = error.0.reunite(near_writer).unwrap();
    let far = far_reader.reunite(error.1).unwrap();
    (&near).write_all(b"x").unwrap();
    assert_eq!((&far).read(&mut [0; 4]).unwrap(), 1, "neither direction was shut down");
}

#[test]
fn both_directions_at_once() {
    everywhere(|on| {
        let (near, far) = pair();
        let server = on.spawn(move || echo(&far));
        let near = Arc::new(near);
        let data: Vec<u8> = (0..300_000_u32).map(|i| (i ^ (i >> 8)) as u8).collect();
        let (writing, expected) = (near.clone(), data.clone());
        let writer = on.spawn(move || {
            (&*writing).write_all(&data).unwrap();
            writing.shutdown(Shutdown::Write).unwrap();
        });
        let mut all = Vec::new();
        (&*near).read_to_end(&mut all).unwrap();
        assert!(all == expected);
        writer.join();
        server.join();
    });
}

#[test]
fn timeouts_and_deadlines() {
    everywhere(|on| {
        let (near, far) = pair();
        near.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        assert_eq!(near.read_timeout(), Some(Duration::from_millis(1)));
        assert_eq!((&near).read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(near.peek(&mut [0; 8]).unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(
            near.set_read_timeout(Some(Duration::ZERO)).unwrap_err().kind(),
            ErrorKind::InvalidInput
        );
        near.set_read_timeout(None).unwrap();
        near.set_write_timeout(Some(Duration::from_millis(1))).unwrap();
        let full = loop {
            if let Err(error) = (&near).write(&[0; 65536]) {
                break error;
            }
        };
        assert_eq!(full.kind(), ErrorKind::TimedOut);
        // A peer that trickles meets every read timeout, and no deadline.
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let stopped = stop.clone();
        let trickling = on.spawn(move || {
            while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
                (&far).write_all(b".").unwrap();
                time::sleep(Duration::from_millis(1));
            }
        });
        let mut request = near.with_deadline(Instant::now() + Duration::from_millis(20));
        let mut buffer = [0; 1];
        let error = loop {
            if let Err(error) = request.read_exact(&mut buffer) {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(Instant::now() >= request.deadline());
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        trickling.join();
    });
}

#[test]
fn f37_closing_ends_all_calls() {
    everywhere(|on| {
        let (near, far) = pair();
        let near = Arc::new(near);
        let started = Counter::default();
        let waiting: Vec<_> = (0..4)
            .map(|_| {
                let (near, started) = (near.clone(), started.clone());
                on.spawn(move || {
                    started.add();
                    (&*near).read(&mut [0; 8])
                })
            })
            .collect();
        on.eventually(|| started.get() == 4);
        near.close();
        for task in waiting {
            let error = task.join().unwrap_err();
            assert!(error.get_ref().is_some_and(|e| e.is::<Closed>()), "{error:?}");
        }
        assert_eq!((&far).read(&mut [0; 8]).unwrap(), 0, "the peer reads the end");
        assert!(near.is_closed());
        let (listener, address) = listen();
        let listener = Arc::new(listener);
        let theirs = listener.clone();
        let accepting = on.spawn(move || theirs.accept().map(drop));
        on.pause();
        listener.close();
        assert!(accepting.join().unwrap_err().get_ref().is_some_and(|e| e.is::<Closed>()));
        assert!(TcpStream::connect(address).is_err(), "nobody listens any more");
    });
}

#[test]
fn peeks_and_vectors() {
    everywhere(|_| {
        let (near, far) = pair();
        let written = (&near).write_vectored(&[IoSlice::new(b"ab"), IoSlice::new(b""), IoSlice::new(b"cde")]);
        assert_eq!(written.unwrap(), 5);
        let mut seen = [0; 2];
        assert_eq!(far.peek(&mut seen).unwrap(), 2);
        let (mut a, mut b) = ([0; 3], [0; 8]);
        let read = (&far)
            .read_vectored(&mut [IoSliceMut::new(&mut a), IoSliceMut::new(&mut b)])
            .unwrap();
        assert_eq!((&seen, &a[..], &b[..read - 3]), (b"ab", &b"abc"[..], &b"de"[..]));
        assert_eq!((&far).read(&mut []).unwrap(), 0, "no room, no wait");
        assert_eq!((&far).read_vectored(&mut []).unwrap(), 0);
        assert_eq!(far.peek(&mut []).unwrap(), 0);
        assert_eq!((&near).write(&[]).unwrap(), 0);
        let mut buffer = [0];
        assert!(far.peek_op(&mut buffer).try_perform().is_none());
        assert!(far.readable_op().try_perform().is_none());
        assert!(far.writable_op().try_perform().is_some());
    });
}

/// Also if a read before has taken all there was, whether anybody watches the socket by now or not.
#[test]
fn bytes_that_are_there_are_never_reported_as_not_there() {
    everywhere(|on| {
        for watched in [false, true] {
            let (near, far) = pair();
            let mut buffer = [0; 8];
            if watched {
                let late = far.read_op(&mut buffer).timeout(Duration::from_millis(1)).perform();
                assert!(late.is_err());
            }
            for i in 0..20 {
                (&near).write_all(&[i]).unwrap();
                on.eventually(|| far.readable_op().try_perform().is_some());
                let read = match i % 3 {
                    0 => far.read_op(&mut buffer).try_perform(),
                    1 => op::biased((far.read_op(&mut buffer).wrap(Some), op::always(None))).perform(),
                    _ => far.read_op(&mut buffer).or(op::never()).try_perform(),
                };
                assert_eq!(read.expect("it is there").unwrap(), 1);
                assert_eq!(buffer[0], i);
            }
        }
    });
}

/// A clone shares the open socket, and so whether that blocks.
#[test]
fn a_clone_that_blocks_again_holds_up_no_worker() {
    on_workers(&[1], |_| {
        let (near, far) = pair();
        let clone = near.try_clone().unwrap();
        let blocking = near.into_std().unwrap();
        let mut buffer = [0; 8];
        let late = clone.read_op(&mut buffer).timeout(Duration::from_millis(1)).perform();
        assert!(late.is_err());
        clone.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        assert_eq!(clone.peek(&mut buffer).unwrap_err().kind(), ErrorKind::TimedOut);
        let late = (&clone).read_vectored(&mut [IoSliceMut::new(&mut buffer)]);
        assert_eq!(late.unwrap_err().kind(), ErrorKind::TimedOut);
        clone.set_write_timeout(Some(Duration::from_millis(1))).unwrap();
        let full = loop {
            if let Err(error) = (&clone).write(&[0; 65536]) {
                break error;
            }
        };
        assert_eq!(full.kind(), ErrorKind::TimedOut);
        let late = (&clone).write_vectored(&[IoSlice::new(&[0; 65536])]);
        assert_eq!(late.unwrap_err().kind(), ErrorKind::TimedOut);
        drop((blocking, far));
    });
}

#[test]
fn options() {
    let (near, _far) = pair();
    assert!(!near.nodelay().unwrap());
    near.set_nodelay(true).unwrap();
    assert!(near.nodelay().unwrap());
    assert_eq!(near.linger().unwrap(), None);
    near.set_linger(Some(Duration::from_secs(3))).unwrap();
    assert_eq!(near.linger().unwrap(), Some(Duration::from_secs(3)));
    near.set_linger(None).unwrap();
    let alive = KeepAlive {
        idle: Duration::from_secs(30),
        interval: Duration::from_secs(5),
        count: 4,
    };
    assert_eq!(near.keepalive().unwrap(), None);
    near.set_keepalive(Some(alive)).unwrap();
    assert_eq!(near.keepalive().unwrap(), Some(alive));
    near.set_keepalive(None).unwrap();
    assert_eq!(near.keepalive().unwrap(), None);
    near.set_ttl(17).unwrap();
    assert_eq!(near.ttl().unwrap(), 17);
    assert!(near.take_error().unwrap().is_none());
    near.set_send_buffer_size(1 << 16).unwrap();
    near.set_recv_buffer_size(1 << 16).unwrap();
}

/// To the standard library and back, and through a bare descriptor.
#[test]
fn conversions() {
    everywhere(|on| {
        let (near, far) = pair();
        let std: std::net::TcpStream = near.into_std().unwrap();
        let blocking = std::thread::spawn(move || {
            // It blocks, and does not say `WouldBlock`.
            let mut byte = [0];
            (&std).read_exact(&mut byte).unwrap();
            std
        });
        (&far).write_all(b"x").unwrap();
        let near = TcpStream::try_from(blocking.join().unwrap()).unwrap();
        let near = TcpStream::from(std::os::fd::OwnedFd::from(near));
        let clone = near.try_clone().unwrap();
        let reading = on.spawn(move || {
            let mut byte = [0];
            (&clone).read_exact(&mut byte).unwrap();
            byte
        });
        on.pause();
        (&far).write_all(b"y").unwrap();
        assert_eq!(reading.join(), *b"y");
    });
}

#[test]
fn connecting_by_name_and_with_a_limit() {
    everywhere(|_| {
        let (listener, address) = listen();
        let stream = TcpStream::connect(("localhost", address.port())).unwrap();
        assert_eq!(stream.peer_addr().unwrap().port(), address.port());
        let text = format!("127.0.0.1:{}", address.port());
        TcpStream::connect_timeout(text.as_str(), Duration::from_secs(3600)).unwrap();
        listener.accept().unwrap();
        drop(listener);
        let refused = TcpStream::connect(address).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        let error = TcpStream::connect("no port").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    });
}

/// The first address refuses, so the next is tried at once; then one does not answer, and the next is tried after a while.
#[test]
fn the_first_address_that_answers_is_taken() {
    everywhere(|_| {
        let (listener, good) = listen();
        let (gone, refusing) = listen();
        drop(gone);
        let stream = TcpStream::connect(&[refusing, good][..]).unwrap();
        assert_eq!(stream.peer_addr().unwrap(), good);
        listener.accept().unwrap();
        let silent = Silent::new();
        let before = Instant::now();
        let stream = TcpStream::connect([silent.address, good]).unwrap();
        assert_eq!(stream.peer_addr().unwrap(), good);
        assert!(before.elapsed() >= Duration::from_millis(250), "the silent one has its time");
    });
}

/// Somebody who listens, and has no room for one more connection.
pub(crate) struct Silent {
    pub(crate) address: SocketAddr,
    _keep: (std::net::TcpListener, Vec<std::net::TcpStream>),
}

impl Silent {
    pub(crate) fn new() -> Silent {
        use std::os::fd::AsRawFd;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        // SAFETY: no memory is involved.
        assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
        let address = listener.local_addr().unwrap();
        let mut waiting = Vec::new();
        while let Ok(stream) = std::net::TcpStream::connect_timeout(&address, Duration::from_millis(100)) {
            waiting.push(stream);
        }
        Silent {
            address,
            _keep: (listener, waiting),
        }
    }
}

#[test]
fn f43_a_peer_that_does_not_answer_is_given_up() {
    everywhere(|_| {
        let silent = Silent::new();
        let open = descriptors();
        let error = TcpStream::connect_timeout(silent.address, Duration::from_millis(5)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        // Other tests open descriptors meanwhile, so only a large number means something.
        assert!(descriptors() < open + 1_000);
    });
}

/// Attempts to connect win, lose and fail; those that lose leave no socket behind.
#[test]
fn connecting_is_an_operation() {
    let _alone = alone();
    everywhere(|on| {
        let (listener, address) = listen();
        let silent = Silent::new();
        let open = descriptors();
        let rounds = rounds(300, 20_000);
        for _ in 0..rounds {
            let to_nobody = TcpStream::connect_op(silent.address);
            assert!(to_nobody.clone().try_perform().is_none());
            let other = to_nobody.wrap(|_| None).or(op::always(Some(1))).perform();
            assert_eq!(other, Some(1));
        }
        // Other tests open descriptors meanwhile, so only a large number means something.
        assert!((descriptors() as u64) < open as u64 + rounds);
        let late = TcpStream::connect_op(silent.address)
            .timeout(Duration::from_millis(2))
            .perform();
        assert!(late.is_err());
        let op = TcpStream::connect_op(address);
        let answering = on.spawn(move || {
            for _ in 0..2 {
                let (mut stream, _) = listener.accept().unwrap();
                stream.write_all(b"hello").unwrap();
            }
        });
        for op in [op.clone(), op.clone()] {
            let waits = TcpStream::connect_op(silent.address);
            let mut stream = op::choice((waits, op)).perform().unwrap();
            assert_eq!(stream.peer_addr().unwrap(), address);
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            assert_eq!(text, "hello");
        }
        answering.join();
        assert_eq!(op.perform().unwrap_err().kind(), ErrorKind::ConnectionRefused);
    });
}

pub(crate) fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn shards_share_an_address() {
    on_workers(&[2], |on| {
        let shards = TcpListener::bind_shards("127.0.0.1:0", 2).unwrap();
        let address = shards[0].local_addr().unwrap();
        assert_eq!(shards[1].local_addr().unwrap(), address);
        let taken = Counter::default();
        let servers: Vec<_> = shards
            .into_iter()
            .enumerate()
            .map(|(i, listener)| {
                let taken = taken.clone();
                let server = fibers::fiber::Builder::new().worker(i);
                server
                    .spawn(move || {
                        loop {
                            drop(listener.accept().unwrap());
                            taken.add();
                        }
                    })
                    .unwrap()
            })
            .collect();
        for _ in 0..50 {
            let mut stream = TcpStream::connect(address).unwrap();
            assert_eq!(stream.read(&mut [0]).unwrap(), 0);
        }
        // A client reads the end a moment before that is counted.
        on.eventually(|| taken.get() == 50);
        drop(servers);
        assert!(TcpListener::bind_shards("127.0.0.1:0", 0).is_err());
    });
}

#[test]
fn f44_a_run_ends_while_its_connections_wait() {
    watchdog(HANG, || {
        for workers in [1, 2] {
            let (near, far) = pair();
            runtime(workers).run(move || {
                let (listener, address) = listen();
                for _ in 0..20 {
                    fibers::spawn(move || {
                        let stream = TcpStream::connect(address).unwrap();
                        let _ = (&stream).read(&mut [0; 8]);
                        unreachable!("nobody writes");
                    });
                }
                fibers::spawn(move || {
                    let _ = (&far).read(&mut [0; 8]);
                    unreachable!("nobody writes");
                });
                for _ in 0..20 {
                    std::mem::forget(listener.accept().unwrap());
                }
            });
            assert_eq!((&near).read(&mut [0; 8]).unwrap(), 0, "the other end was dropped");
        }
    });
}

/// A burst of connections starts exactly evenly on workers that are named, before any of them has said a word. (Those that are
/// spread are handed out in turns as well, but an idle worker may take some of a busy one.)
#[test]
fn a_burst_of_connections_is_dealt_out_evenly() {
    let _alone = alone();
    on_workers(&[2, 4], |on| {
        let On::Fibers(workers) = on else { unreachable!() };
        const EACH: usize = 50;
        let (listener, address) = listen();
        let clients: Vec<_> = (0..EACH * workers)
            .map(|_| std::net::TcpStream::connect(address).unwrap())
            .collect();
        let (tx, rx) = channel(0);
        for i in 0..EACH * workers {
            let (stream, _) = listener.accept().unwrap();
            let tx = tx.clone();
            let handler = fibers::fiber::Builder::new().worker(i % workers);
            drop(handler.spawn(move || {
                tx.send(std::thread::current().id()).unwrap();
                echo(&stream);
            }));
        }
        let mut counts = std::collections::HashMap::new();
        for _ in 0..EACH * workers {
            *counts.entry(rx.recv().unwrap()).or_insert(0) += 1;
        }
        drop(clients);
        assert!(
            counts.len() == workers && counts.values().all(|count| *count == EACH),
            "{counts:?}"
        );
    });
}

/// Two writers and a reader in one choice, and both ends in choices.
#[test]
fn both_ends_in_choices() {
    under_stress(|on| {
        let (near, far) = pair();
        let total = rounds(3_000, 300_000) as usize;
        let side = |stream: TcpStream| {
            move || {
                let (mut sent, mut got) = (0, 0);
                let out: Vec<u8> = (0..total).map(|i| i as u8).collect();
                let mut buffer = [0; 97];
                while sent < total || got < total {
                    let reading = (got < total).then(|| stream.read_op(&mut buffer).wrap(|n| (true, n)));
                    let writing = (sent < total).then(|| {
                        let end = total.min(sent + 61);
                        stream.write_op(&out[sent..end]).wrap(|n| (false, n))
                    });
                    match op::choice((reading, writing)).perform() {
                        (false, n) => sent += n.unwrap(),
                        (true, n) => {
                            let n = n.unwrap();
                            assert_ne!(n, 0, "too early an end");
                            for byte in &buffer[..n] {
                                assert_eq!(*byte, got as u8);
                                got += 1;
                            }
                        }
                    }
                }
            }
        };
        let other = on.spawn(side(far));
        side(near)();
        other.join();
    });
}

/// So many connections at a time, all of them echoing, none lost: 500, and 10,000 under stress.
#[test]
fn a_crowd_of_connections() {
    let _alone = alone();
    let wanted = rounds(500, 10_000).min(10_000) as usize;
    let connections = wanted.min(raise_limit(2 * wanted + 200).saturating_sub(200) / 2);
    on_workers(&[1, 2], |on| {
        let (listener, address) = listen();
        let server = fibers::spawn(move || {
            for _ in 0..connections {
                let (stream, _) = listener.accept().unwrap();
                let handler = fibers::fiber::Builder::new().spread();
                drop(handler.spawn(move || echo(&stream)).unwrap());
            }
        });
        let connected = fibers::WaitGroup::new();
        connected.add(connections as isize);
        let go = fibers::Cond::new();
        let clients: Vec<_> = (0..connections)
            .map(|i| {
                let (connected, go) = (connected.clone(), go.clone());
                on.spawn(move || {
                    let stream = TcpStream::connect(address).unwrap();
                    connected.done();
                    go.wait();
                    talk(&stream, 3, i as u8);
                })
            })
            .collect();
        connected.wait();
        go.signal();
        clients.into_iter().for_each(|client| client.join());
        server.join().unwrap();
    });
}

/// Raises the limit of open descriptors, if need be; returns it.
pub(crate) fn raise_limit(wanted: usize) -> usize {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is a valid place, and holds a valid limit when it is set.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit), 0);
        if limit.rlim_cur < wanted as u64 {
            limit.rlim_cur = limit.rlim_max.min(wanted as u64);
            assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0);
        }
    }
    limit.rlim_cur as usize
}
