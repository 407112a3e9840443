//! The example `echo`, and clients of every kind.

use crate::client::Client;
use crate::program::{self, Program, TIMEOUT};
use crate::running::Running;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

fn echo(args: &[&str]) -> Running {
    Running::start(Program::new("echo").args(["127.0.0.1:0"]).args(args))
}

fn temporary(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("echo-{name}-{}", std::process::id()))
}

#[test]
fn clients_of_its_own() {
    let heard = "hello from 1\nhello from 2\nhello from 3\n";
    let run = Program::new("echo").args(["127.0.0.1:0", "--demo", "3"]).run();
    run.check(0, heard, "");

    let path = temporary("demo");
    let run = Program::new("echo").args(["--demo", "3", "--unix"]).args([&path]).run();
    run.check(0, heard, "");
    assert!(!path.exists(), "the socket is left behind");
}

#[test]
fn many_clients_with_much_to_say() {
    const CLIENTS: usize = 16;
    const BYTES: usize = 300_000;
    let mut server = echo(&[]);
    let address = server.address();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|i| {
            let stream = TcpStream::connect(&address).expect("a connection");
            stream.set_read_timeout(Some(TIMEOUT)).expect("a timeout");
            let said: Vec<_> = (0..BYTES).map(|n| (n % (200 + i)) as u8).collect();
            thread::spawn(move || {
                let mut heard = Vec::new();
                thread::scope(|s| {
                    s.spawn(|| {
                        (&stream).write_all(&said).expect("an open connection");
                        stream.shutdown(Shutdown::Write).expect("an open connection");
                    });
                    (&stream).read_to_end(&mut heard).expect("an answer");
                });
                assert!(heard == said, "client {i} hears {} bytes", heard.len());
            })
        })
        .collect();
    for client in clients {
        client.join().expect("an answer as it should be");
    }
    let said = format!("served {CLIENTS} connections, {} bytes\n", CLIENTS * BYTES);
    server.interrupt().check(0, &said, "");
}

#[test]
fn over_a_unix_socket() {
    let path = temporary("unix");
    let mut server = Running::start(Program::new("echo").args(["--unix"]).args([&path]));
    assert_eq!(server.address(), path.display().to_string());
    let mut client = UnixStream::connect(&path).expect("a connection");
    client.set_read_timeout(Some(TIMEOUT)).expect("a timeout");
    client.write_all(b"hello").expect("an open connection");
    let mut heard = [0; 5];
    client.read_exact(&mut heard).expect("an answer");
    assert_eq!(&heard, b"hello");

    server.signal("TERM");
    assert_eq!(client.read(&mut heard).expect("the end"), 0);
    server.end().check(0, "served 1 connections, 5 bytes\n", "");
    assert!(!path.exists(), "the socket is left behind");
}

#[test]
fn a_client_that_is_told_of_the_end_has_heard_everything() {
    let mut server = echo(&[]);
    let mut client = Client::connect(&server.address());
    client.say("first");
    client.expect("first");
    server.signal("INT");
    assert_eq!(client.hear(), None);
    server.end().check(0, "served 1 connections, 6 bytes\n", "");
}

/// Who goes away with an answer unread resets the connection.
#[test]
fn clients_that_vanish() {
    let mut server = echo(&[]);
    let address = server.address();
    for _ in 0..20 {
        let mut client = TcpStream::connect(&address).expect("a connection");
        client.write_all(&[b'x'; 100_000]).expect("an open connection");
        client.peek(&mut [0]).expect("an answer");
    }
    let mut client = Client::connect(&address);
    client.say("still there?");
    client.expect("still there?");
    drop(client);
    let run = server.interrupt();
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(run.stdout().starts_with("served 21 connections, "), "{run:?}");
    let failed = |line: &str| line.starts_with("echo: a connection has failed: ");
    assert!(run.stderr().lines().all(failed), "{run:?}");
}

/// It holds up neither the others nor, for long, the end.
#[test]
fn a_client_that_never_reads() {
    let mut server = echo(&[]);
    let address = server.address();
    let mut client = Client::connect(&address);
    let mut deaf = TcpStream::connect(&address).expect("a connection");
    deaf.set_write_timeout(Some(Duration::from_millis(100))).expect("a timeout");
    let mut refused = 0;
    while refused < 5 {
        match deaf.write(&[b'x'; 1 << 16]) {
            Ok(_) => refused = 0,
            Err(error) if error.kind() == ErrorKind::WouldBlock => refused += 1,
            Err(error) => panic!("{error}"),
        }
        client.say("and me?");
        client.expect("and me?");
    }
    drop(client);
    let run = server.interrupt();
    assert_eq!((run.code, run.stderr()), (Some(0), "echo: cut off 1 clients\n"), "{run:?}");
}

#[test]
fn a_client_that_says_nothing() {
    let mut server = echo(&["--idle", "0.02"]);
    assert_eq!(Client::connect(&server.address()).hear(), None);
    let failed = "echo: a connection has failed: timed out\n";
    server.interrupt().check(0, "served 1 connections, 0 bytes\n", failed);
}

/// Who cannot be let in waits until somebody has gone.
#[test]
fn more_clients_than_descriptors() {
    let script = format!("ulimit -n 16; exec {} 127.0.0.1:0", program::path("echo").display());
    let mut program = Program::at("sh".into()).args(["-c", &script]);
    program.command.env("FIBERS_WORKERS", "2"); // each takes some descriptors
    let mut server = Running::start(program);
    let address = server.address();
    let mut clients: Vec<_> = (0..40).map(|_| Client::connect(&address)).collect();
    for (i, client) in clients.iter_mut().enumerate() {
        client.say(&format!("I am {i}"));
    }
    for (i, mut client) in clients.into_iter().enumerate() {
        client.expect(&format!("I am {i}"));
    }
    let run = server.interrupt();
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(run.stdout().starts_with("served 40 connections, "), "{run:?}");
}

#[test]
fn wrong_arguments() {
    let help = Program::new("echo").args(["--help"]).run();
    assert!(help.stdout().starts_with("usage: echo [ADDRESS | --unix PATH] "), "{help:?}");
    help.check(0, help.stdout(), "");
    let wrong: [(&[&str], &str); _] = [
        (&["--quick"], "unknown option --quick"),
        (&["--idle"], "--idle needs a number of seconds"),
        (&["--idle", "0"], "--idle needs a number of seconds, not '0'"),
        (&["--demo", "x"], "--demo needs a number of clients, not 'x'"),
        (&["localhost:1", "--unix", "x"], "one place to listen at is enough"),
    ];
    for (args, message) in wrong {
        let run = Program::new("echo").args(args).run();
        run.check(2, "", &format!("{message}\n{}", help.stdout()));
    }
    let run = Program::new("echo").args(["nowhere"]).run();
    run.check(2, "", "echo: \"nowhere\" is no address: write host:port\n");

    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("an address").to_string();
    let run = Program::new("echo").args([address]).run();
    run.check(1, "", "echo: Address already in use (os error 98)\n");
}
