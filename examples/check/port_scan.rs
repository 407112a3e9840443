//! The example `port_scan`, on ports of this machine that the tests hold themselves.

use crate::program::{self, Program};
use crate::running::Running;
use socket2::{Domain, Socket, Type};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::thread;
use std::time::Duration;

/// Somebody listens, and lets connections wait: they are open all the same.
fn listeners(count: usize) -> (Vec<TcpListener>, Vec<u16>) {
    let listen = |_| TcpListener::bind("127.0.0.1:0").expect("a free port");
    let mut listeners: Vec<_> = (0..count).map(listen).collect();
    listeners.sort_by_key(port);
    let ports = listeners.iter().map(port).collect();
    (listeners, ports)
}

fn port(listener: &TcpListener) -> u16 {
    listener.local_addr().expect("an address").port()
}

/// A port that is kept from others, and where nobody listens.
fn closed() -> (Socket, u16) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket
        .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
        .expect("a free port");
    let address = socket
        .local_addr()
        .expect("an address")
        .as_socket()
        .expect("an address of IPv4");
    (socket, address.port())
}

/// A port that does not answer, since there is no room for one more connection. It stays so while these are kept.
fn silent() -> (Socket, Vec<TcpStream>, u16) {
    let (socket, port) = closed();
    socket.listen(0).expect("a listener");
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(300)).ok();
    (socket, std::iter::from_fn(connect).collect(), port)
}

fn scan(ports: &str, args: &[&str]) -> Program {
    Program::new("port_scan").args(["127.0.0.1", ports]).args(args)
}

fn list(ports: &[u16]) -> String {
    ports.iter().map(u16::to_string).collect::<Vec<_>>().join(",")
}

fn open(ports: &[u16]) -> String {
    ports.iter().map(|port| format!("{port}/tcp open\n")).collect()
}

#[test]
fn open_closed_and_silent_ports() {
    let (_listeners, ports) = listeners(3);
    let ((_socket, closed), (_full, _waiting, silent)) = (closed(), silent());
    let mut reversed = [&ports[..], &[closed, silent]].concat();
    reversed.sort_by(|a, b| b.cmp(a));
    let run = scan(&list(&reversed), &["--timeout", "2"]).run();
    run.check(0, &open(&ports), "3 open, 1 closed, 1 silent\n");
    reversed.retain(|port| *port != silent);
    let run = scan(&list(&reversed), &["--at-once", "1"]).run();
    run.check(0, &open(&ports), "3 open, 1 closed, 0 silent\n");
    let run = scan(&closed.to_string(), &[]).run();
    run.check(1, "", "0 open, 1 closed, 0 silent\n");
}

/// Three ports in a row that nobody else has.
fn neighbours() -> Vec<TcpListener> {
    for _ in 0..1000 {
        let first = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let number = port(&first);
        let next = |i| TcpListener::bind(("127.0.0.1", number.wrapping_add(i)));
        if let (Ok(second), Ok(third)) = (next(1), next(2)) {
            return vec![first, second, third];
        }
    }
    panic!("no three ports in a row are free");
}

#[test]
fn a_range_by_name() {
    let listeners = neighbours();
    let ports: Vec<_> = listeners.iter().map(port).collect();
    let range = format!("{}-{},{1}", ports[0], ports[2]);
    let run = Program::new("port_scan").args(["localhost", &range]).run();
    run.check(0, &open(&ports), "3 open, 0 closed, 0 silent\n");
}

#[test]
fn banners() {
    let (listeners, ports) = listeners(4);
    let said: [&'static [u8]; 4] = [b"SSH-2.0-Some\x1b[31mthing\r\nmore", b"", b"\xff\xfe no line", b"\n"];
    for (listener, said) in listeners.into_iter().zip(said) {
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            stream.write_all(said).expect("an open connection");
            let _ = stream.read(&mut [0]); // until the other side has had enough
        });
    }
    let run = scan(&list(&ports), &["--banner", "--timeout", "2"]).run();
    let said = ["SSH-2.0-Some[31mthing", "", "\u{fffd}\u{fffd} no line", ""];
    let lines = ports.iter().zip(said).map(|(port, said)| format!("{port}/tcp open {said}"));
    let lines: String = lines.map(|line| line.trim_end().to_owned() + "\n").collect();
    run.check(0, &lines, "4 open, 0 closed, 0 silent\n");
}

/// Each connection is kept for a while, and there are not enough descriptors for all of them: so they are waited for.
#[test]
fn more_ports_than_descriptors() {
    let (_listeners, ports) = listeners(60);
    let program = program::path("port_scan");
    let script = format!(
        "ulimit -n 24; exec {} 127.0.0.1 {} --banner --timeout 0.2 --at-once 60",
        program.display(),
        list(&ports)
    );
    let mut program = Program::at("sh".into()).args(["-c", &script]);
    program.command.env("FIBERS_WORKERS", "2"); // each takes some descriptors
    program.run().check(0, &open(&ports), "60 open, 0 closed, 0 silent\n");
}

/// What is known is told, also of ports behind one that has not answered.
#[test]
fn ctrl_c() {
    let ((_full, _waiting, silent), (listeners, mut ports)) = (silent(), listeners(8));
    let args = ["--timeout", "600", "--banner"];
    let mut running = Running::start(scan(&list(&[&ports[..], &[silent]].concat()), &args));
    // All of them have been asked, and one after the other ends.
    let streams = listeners.iter().map(|listener| listener.accept().expect("a connection").0);
    drop(streams.collect::<Vec<_>>());
    ports.retain(|port| *port < silent);
    for port in &ports {
        assert_eq!(running.out.line(), format!("{port}/tcp open\n"));
    }
    let run = running.interrupt();
    assert_eq!(run.code, Some(130), "{run:?}");
    assert!(run.stderr().ends_with(" open, 0 closed, 0 silent\n"), "{run:?}");
}

/// `script` gives the program a terminal.
#[test]
fn a_terminal_shows_progress_and_keeps_nothing_of_it() {
    let ((_full, _waiting, silent), (_listeners, ports)) = (silent(), listeners(1));
    let program = program::path("port_scan");
    let ports = [ports[0], silent];
    let command = format!("{} 127.0.0.1 {} --timeout 0.5", program.display(), list(&ports));
    let script = format!("script -qec '{command}' /dev/null </dev/null");
    let screen = match Command::new("sh").arg("-c").arg(script).output() {
        Ok(output) if output.status.success() => String::from_utf8(output.stdout).expect("UTF-8"),
        _ => return eprintln!("no script here to make a terminal"),
    };
    assert!(screen.contains(" of 2 ports, "), "{screen:?}");
    // What is left on it: of each line what comes after its last erasure.
    let left: Vec<_> = screen
        .split("\r\n")
        .filter_map(|line| line.rsplit("\r\x1b[K").next())
        .collect();
    let line = format!("{}/tcp open", ports[0]);
    assert_eq!(left, [&*line, "1 open, 0 closed, 1 silent", ""], "{screen:?}");
}

#[test]
fn a_reader_who_has_had_enough_is_no_error() {
    let (_listeners, ports) = listeners(50);
    let run = scan(&list(&ports), &["--at-once", "1"]).run_for_one_line();
    assert_eq!(run.code, Some(0), "{run:?}");
    assert_eq!(run.stdout(), open(&ports[..1]), "{run:?}");
}

#[test]
fn wrong_arguments() {
    let help = Program::new("port_scan").args(["--help"]).run();
    assert!(help.stdout().starts_with("usage: port_scan HOST [PORTS] "), "{help:?}");
    help.check(0, help.stdout(), "");
    let wrong: [(&[&str], &str); _] = [
        (&[], "HOST is missing"),
        (&["localhost", "0"], "'0' are no ports"),
        (&["localhost", "2-1"], "'2-1' are no ports"),
        (&["localhost", "1,"], "'1,' are no ports"),
        (&["localhost", "65536"], "'65536' are no ports"),
        (&["localhost", "1", "2"], "more than HOST and PORTS"),
        (&["localhost", "--all"], "unknown option --all"),
        (&["localhost", "--at-once", "0"], "--at-once needs a number of ports, not '0'"),
    ];
    for (args, message) in wrong {
        let run = Program::new("port_scan").args(args).run();
        run.check(2, "", &format!("{message}\n{}", help.stdout()));
    }
    let host = "x".repeat(300); // too long for a name
    let run = Program::new("port_scan").args([&host, "1"]).run();
    assert_eq!((run.code, run.stdout()), (Some(2), ""), "{run:?}");
    assert!(run.stderr().starts_with(&format!("port_scan: {host}: ")), "{run:?}");
}
