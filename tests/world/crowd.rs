//! Ten thousand connections at a time.
//!
//! The server is a process of fibers, the clients are another one, of the standard library alone: so each needs ten thousand
//! descriptors, and what is measured of the server is the server's.

use crate::tcp::{echo, listen, raise_limit};
use fibers::fiber::Builder;
use fibers::process::Command;
use fibers_tests::{Counter, HANG, memory, rounds, runtime, skipped, subprocess, watchdog};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

const TEST: &str = "crowd::ten_thousand_connections_echo_and_none_is_lost";
const CONNECTIONS: u64 = 10_000;
/// What a process needs beside its connections.
const OTHERS: usize = 200;
/// Where the clients find the server.
const SERVER: &str = "FIBERS_TEST_SERVER";

#[test]
fn ten_thousand_connections_echo_and_none_is_lost() {
    let wanted = CONNECTIONS as usize + OTHERS;
    let limit = raise_limit(wanted);
    if limit < wanted {
        return skipped(&format!(
            "it takes {wanted} descriptors, and a process may have {limit} (see ulimit -Hn)"
        ));
    }
    let output = subprocess(TEST, || match std::env::var(SERVER) {
        Ok(address) => watchdog(HANG, || ask(address.parse().unwrap())),
        Err(_) => watchdog(HANG, || runtime(2).run(serve)),
    });
    assert!(output.status.success(), "{output:?}");
    print!("{}", String::from_utf8_lossy(&output.stdout));
}

fn serve() {
    let (listener, address) = listen();
    let before = memory::peak();
    let clients = fibers::spawn(move || {
        let mut clients = Command::new(std::env::current_exe().unwrap());
        clients
            .args([TEST, "--exact", "--nocapture"])
            .env(SERVER, address.to_string());
        clients.output().unwrap()
    });
    // Whoever has been accepted by then is still there, as all clients wait for the last one.
    let ended = Counter::default();
    let mut handlers = Vec::new();
    for _ in 0..CONNECTIONS {
        let (stream, _) = listener.accept().unwrap();
        let ended = ended.clone();
        let handler = Builder::new().spread().spawn(move || {
            echo(&stream);
            ended.add();
        });
        handlers.push(handler.unwrap());
    }
    assert_eq!(ended.get(), 0, "all are open at the same time");
    handlers.into_iter().for_each(|handler| handler.join().unwrap());
    let output = clients.join().unwrap();
    assert!(output.status.success(), "{output:?}");
    let each = (memory::peak() - before) / CONNECTIONS as usize;
    println!("{each} bytes for each of {CONNECTIONS} connections");
    // A stack in use has two or three pages.
    assert!(each < 32 << 10, "{each} bytes each");
}

/// The clients: all connect, then all ask, and then all look at their answers.
fn ask(server: SocketAddr) {
    let connect = |_| {
        let stream = TcpStream::connect(server).unwrap();
        stream.set_read_timeout(Some(HANG)).unwrap();
        stream
    };
    let streams: Vec<_> = (0..CONNECTIONS).map(connect).collect();
    for round in 0..rounds(2, 50) {
        let question = |i: u64| [i.to_le_bytes(), round.to_le_bytes()].concat();
        for (i, mut stream) in (0..).zip(&streams) {
            stream.write_all(&question(i)).unwrap();
        }
        for (i, mut stream) in (0..).zip(&streams) {
            let mut answer = [0; 16];
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(answer[..], question(i), "connection {i}");
        }
    }
}
