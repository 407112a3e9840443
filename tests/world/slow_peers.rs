//! Peers that are slow, by misfortune or on purpose: deadlines cut them off, and they cost no more than what a server gives to each.

use crate::tcp::{listen, pair};
use fibers::fiber::Builder;
use fibers::net::{AcceptBackoff, TcpListener, TcpStream};
use fibers::{WaitGroup, time};
use fibers_tests::{Counter, HANG, everywhere, memory, rounds, runtime, subprocess, watchdog};
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Each byte comes in time for a limit per read or write, and the whole does not come in time.
#[test]
fn f39_a_deadline_comes_although_bytes_trickle() {
    everywhere(|on| {
        for reads in [true, false] {
            let (near, far) = pair();
            near.set_read_timeout(Some(Duration::from_secs(3600))).unwrap();
            near.set_write_timeout(Some(Duration::from_secs(3600))).unwrap();
            near.set_send_buffer_size(2048).unwrap();
            far.set_recv_buffer_size(2048).unwrap();
            let over = Arc::new(AtomicBool::new(false));
            let ended = over.clone();
            let trickling = on.spawn(move || {
                let mut bytes = 0;
                while !ended.load(Ordering::Acquire) {
                    match reads {
                        true => (&far).write_all(b".").unwrap(),
                        false => (&far).read_exact(&mut [0]).unwrap(),
                    }
                    bytes += 1;
                    time::sleep(Duration::from_millis(1));
                }
                bytes
            });
            let mut whole = near.with_deadline(Instant::now() + Duration::from_millis(30));
            let error = match reads {
                true => whole.read_exact(&mut vec![0; 1 << 20]).unwrap_err(),
                false => whole.write_all(&vec![0; 64 << 20]).unwrap_err(),
            };
            assert_eq!(error.kind(), ErrorKind::TimedOut);
            assert!(Instant::now() >= whole.deadline());
            over.store(true, Ordering::Release);
            assert!(trickling.join() > 0, "something has come");
        }
    });
}

/// What a request may take in all, and the room for its header.
const LIMIT: Duration = Duration::from_millis(500);
const HEADER: usize = 256;
/// An answer, which does not fit into what the kernel keeps for a peer that does not read.
const ANSWER: usize = 256 << 10;
/// It is written and read in such pieces.
const PIECE: [u8; 4096] = [b'a'; 4096];
/// Attackers, in all.
const PEERS: u64 = 300;

/// The server of the usual shape: a fiber for each connection, a deadline for each request, buffers of one size.
struct Server {
    answered: Counter,
    cut_off: Counter,
    too_long: Counter,
}

impl Server {
    fn run(self: &Arc<Self>, listener: &TcpListener) -> io::Result<()> {
        let mut backoff = AcceptBackoff::new();
        loop {
            match listener.accept() {
                Ok((stream, _)) => {
                    let server = self.clone();
                    drop(Builder::new().spread().spawn(move || server.serve(&stream))?);
                }
                Err(error) => backoff.wait(error)?,
            }
        }
    }

    fn serve(&self, stream: &TcpStream) {
        stream.set_send_buffer_size(4096).unwrap();
        let mut rest = Vec::with_capacity(HEADER);
        loop {
            match self.answer(stream, &mut rest) {
                Ok(true) => self.answered.add(),
                Ok(false) => return,
                Err(error) if error.kind() == ErrorKind::TimedOut => return self.cut_off.add(),
                Err(error) if error.kind() == ErrorKind::InvalidData => return self.too_long.add(),
                Err(_) => return,
            }
        }
    }

    /// One request: what comes up to an empty line. `rest` is what has come of the next one. False if there is none.
    fn answer(&self, stream: &TcpStream, rest: &mut Vec<u8>) -> io::Result<bool> {
        let mut stream = stream.with_deadline(Instant::now() + LIMIT);
        let end = loop {
            if let Some(at) = rest.windows(2).position(|pair| pair == b"\n\n") {
                break at + 2;
            }
            let mut room = [0; HEADER];
            let room = &mut room[rest.len()..];
            if room.is_empty() {
                return Err(ErrorKind::InvalidData.into());
            }
            match stream.read(room)? {
                0 => return Ok(false),
                count => rest.extend(&room[..count]),
            }
        };
        rest.drain(..end);
        (0..ANSWER / PIECE.len()).try_for_each(|_| stream.write_all(&PIECE))?;
        Ok(true)
    }
}

/// What attackers do until they are cut off.
fn attack(kind: u64, address: SocketAddr) -> io::Result<()> {
    let stream = TcpStream::connect(address)?;
    match kind % 4 {
        0 => wait_for_the_end(&stream)?,
        // A header that has no end in time, byte by byte.
        1 => {
            for _ in 0..HEADER / 2 {
                (&stream).write_all(b"h")?;
                time::sleep(LIMIT / 20);
            }
            wait_for_the_end(&stream)?;
        }
        // Requests without end, of which no answer is read.
        2 => loop {
            (&stream).write_all(b"many\n\n")?;
        },
        // An answer byte by byte, for longer than it may take.
        _ => {
            (&stream).write_all(b"slowly\n\n")?;
            for _ in 0..30 {
                (&stream).read_exact(&mut [0])?;
                time::sleep(LIMIT / 20);
            }
            wait_for_the_end(&stream)?;
        }
    }
    Ok(())
}

fn wait_for_the_end(mut stream: &TcpStream) -> io::Result<()> {
    while stream.read(&mut [0; 1024])? != 0 {}
    Ok(())
}

/// A peer as one should be. Says whether it was served; on a machine that has stood still, it may have been cut off.
fn ask(address: SocketAddr, requests: u64) -> io::Result<bool> {
    let mut stream = TcpStream::connect(address)?;
    for _ in 0..requests {
        stream.write_all(b"get\n\n")?;
        for _ in 0..ANSWER / PIECE.len() {
            let mut piece = [0; PIECE.len()];
            match stream.read_exact(&mut piece) {
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(false),
                result => result?,
            }
            assert!(piece == PIECE);
        }
    }
    Ok(true)
}

/// In a process of its own, whose memory is looked at.
#[test]
fn f39_an_attack_of_slow_peers_is_cut_off() {
    let output = subprocess("slow_peers::f39_an_attack_of_slow_peers_is_cut_off", || {
        watchdog(HANG, || runtime(2).run(defend));
    });
    assert!(output.status.success(), "{output:?}");
    print!("{}", String::from_utf8_lossy(&output.stdout));
}

fn defend() {
    let (listener, address) = listen();
    let [answered, cut_off, too_long] = std::array::from_fn(|_| Counter::default());
    let server = Arc::new(Server {
        answered,
        cut_off,
        too_long,
    });
    let serving = server.clone();
    let acceptor = fibers::spawn(move || serving.run(&listener));
    assert!(ask(address, 10).unwrap());
    let before = memory::peak();
    let attackers = WaitGroup::new();
    for i in 0..PEERS {
        attackers.add(1);
        let attackers = attackers.clone();
        let attacker = Builder::new().spread().spawn(move || {
            let _ = attack(i, address);
            attackers.done();
        });
        drop(attacker.unwrap());
    }
    // Whoever behaves is served meanwhile.
    let clients: Vec<_> = (0..10)
        .map(|_| fibers::spawn(move || while !ask(address, rounds(10, 100)).is_ok_and(|served| served) {}))
        .collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
    assert!(server.answered.get() >= 10 * rounds(10, 100));
    attackers.wait();
    assert_eq!(server.too_long.get(), 0);
    assert!(server.cut_off.get() >= PEERS, "all of them, {}", server.cut_off.get());
    // A stack of a few pages on either side of each connection, and nothing that grows with the bytes.
    let grown = memory::peak() - before;
    println!("{} KiB for {PEERS} connections", grown >> 10);
    assert!(grown < PEERS as usize * (64 << 10) + (8 << 20));
    assert!(!acceptor.is_finished());
}
