//! The proxy between clients that speak TLS and upstreams that do not, both on plain threads.

use crate::program::{Program, path};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// Far more than anything here takes.
const HANG: Duration = Duration::from_secs(100);

/// A proxy that runs, and who may speak to it.
struct Proxy {
    child: Child,
    says: BufReader<ChildStderr>,
    address: SocketAddr,
    trust: Arc<ClientConfig>,
    directory: PathBuf,
}

impl Proxy {
    /// With a certificate from files.
    fn start(test: &str, upstream: SocketAddr, args: &[&str]) -> Proxy {
        let directory = std::env::temp_dir().join(format!("fibers-proxy-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory");
        let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        std::fs::write(directory.join("cert.pem"), signed.cert.pem()).expect("a file");
        std::fs::write(directory.join("key.pem"), signed.signing_key.serialize_pem()).expect("a file");
        let mut command = Command::new(path("proxy"));
        command.args(["--listen", "127.0.0.1:0", "--upstream", &upstream.to_string()]);
        command
            .args(["--cert", "cert.pem", "--key", "key.pem"])
            .args(args)
            .current_dir(&directory);
        let mut child = command.stderr(Stdio::piped()).spawn().expect("the example starts");
        let mut says = BufReader::new(child.stderr.take().expect("a pipe"));
        Proxy {
            address: listens_at(&mut says),
            child,
            says,
            trust: trust(signed.cert.der().clone()),
            directory,
        }
    }

    fn connect(&self) -> StreamOwned<ClientConnection, TcpStream> {
        connect(self.address, self.trust.clone())
    }

    fn interrupt(&self) {
        let kill = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status();
        assert!(kill.expect("kill runs").success());
    }

    /// The next line that it says.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.says.read_line(&mut line).expect("a pipe can be read");
        line
    }

    /// Waits for its end. What it has said meanwhile.
    fn end(mut self) -> String {
        let mut said = String::new();
        self.says.read_to_string(&mut said).expect("a pipe can be read");
        assert_eq!(self.child.wait().expect("it ends").code(), Some(0), "{said}");
        said
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn listens_at(says: &mut impl BufRead) -> SocketAddr {
    let mut line = String::new();
    says.read_line(&mut line).expect("a pipe can be read");
    let address = line.trim_end().strip_prefix("listening on ");
    address
        .unwrap_or_else(|| panic!("it says {line:?}"))
        .parse()
        .expect("an address")
}

fn trust(certificate: CertificateDer<'static>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate).expect("a certificate");
    Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
}

/// A client before its handshake.
fn connect(address: SocketAddr, trust: Arc<ClientConfig>) -> StreamOwned<ClientConnection, TcpStream> {
    let stream = TcpStream::connect(address).expect("the proxy listens");
    stream.set_read_timeout(Some(HANG)).expect("a timeout");
    stream.set_write_timeout(Some(HANG)).expect("a timeout");
    let name = ServerName::try_from("localhost").expect("a name");
    StreamOwned::new(ClientConnection::new(trust, name).expect("a client"), stream)
}

/// Runs `serve` on a thread for each connection.
fn upstream(serve: impl Fn(TcpStream) + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, serve) = (stream.expect("a connection"), serve.clone());
            thread::spawn(move || serve(stream));
        }
    });
    address
}

/// Nobody listens there.
fn nowhere() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound")
}

/// Answers only after the end of the question, and then with as much.
fn shouts_back(mut stream: TcpStream) {
    let mut question = String::new();
    stream.read_to_string(&mut question).expect("a question");
    stream
        .write_all(question.to_uppercase().as_bytes())
        .expect("somebody who listens");
}

/// Answers each byte at once.
fn echoes(mut stream: TcpStream) {
    let mut copy = stream.try_clone().expect("a second handle");
    std::io::copy(&mut copy, &mut stream).expect("an echo");
}

fn say_end(client: &mut StreamOwned<ClientConnection, TcpStream>) {
    client.conn.send_close_notify();
    client.flush().expect("the proxy reads");
}

fn ask(mut client: StreamOwned<ClientConnection, TcpStream>, question: &str) -> String {
    client.write_all(question.as_bytes()).expect("the proxy reads");
    say_end(&mut client);
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("an answer with an end");
    answer
}

/// The end of each direction is passed on by itself: the question has one before there is an answer.
#[test]
fn forwards_both_directions_and_their_ends() {
    let proxy = Proxy::start("ends", upstream(shouts_back), &[]);
    let clients: Vec<_> = (1..=32)
        .map(|i| {
            let client = proxy.connect();
            thread::spawn(move || {
                let question = format!("question {i} ").repeat(i * 500);
                assert!(ask(client, &question) == question.to_uppercase());
            })
        })
        .collect();
    for client in clients {
        client.join().expect("a client");
    }
    proxy.interrupt();
    assert!(proxy.end().starts_with("ending; "));
}

#[test]
fn forwards_each_byte_at_once() {
    let proxy = Proxy::start("echo", upstream(echoes), &[]);
    let mut client = proxy.connect();
    for round in 0..100_u8 {
        client.write_all(&[round]).expect("the proxy reads");
        let mut answer = [0];
        client.read_exact(&mut answer).expect("an echo");
        assert_eq!(answer, [round]);
    }
    say_end(&mut client);
    assert_eq!(client.read(&mut [0]).expect("an end"), 0);
}

/// In both directions, one after the other, to somebody who at first does not read.
#[test]
fn a_slow_reader_costs_no_memory() {
    const ALL: usize = 48 << 20;
    let moved = Arc::new(AtomicUsize::new(0));
    let seen = moved.clone();
    let slow = upstream(move |mut stream| {
        until_stuck(&seen);
        let count = std::io::copy(&mut stream, &mut std::io::sink()).expect("a question");
        assert_eq!(count, ALL as u64);
        write_counted(&mut stream, ALL, &seen);
    });
    let proxy = Proxy::start("memory", slow, &[]);
    let mut client = proxy.connect();
    write_counted(&mut client, ALL, &moved);
    say_end(&mut client);
    until_stuck(&moved);
    let count = std::io::copy(&mut client, &mut std::io::sink()).expect("an answer");
    assert_eq!(count, ALL as u64);
    let status = std::fs::read_to_string(format!("/proc/{}/status", proxy.child.id())).expect("it runs");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    let peak: usize = peak.trim().trim_end_matches(" kB").parse().expect("a number");
    assert!(peak < 24 << 10, "{peak} KiB");
}

fn write_counted(to: &mut impl Write, all: usize, moved: &AtomicUsize) {
    let some = vec![7; 64 << 10];
    for _ in 0..all / some.len() {
        to.write_all(&some).expect("a reader");
        moved.fetch_add(some.len(), Ordering::Relaxed);
    }
}

/// Until something has been written, and then nothing for a while. If that was too short, the test proves less, and fails no more.
fn until_stuck(moved: &AtomicUsize) {
    let mut before = 0;
    loop {
        thread::sleep(Duration::from_millis(200));
        let now = moved.load(Ordering::Relaxed);
        if now > 0 && now == before {
            return;
        }
        before = now;
    }
}

/// Whoever cuts the connection must not be able to make the upstream believe that the question has ended there.
#[test]
fn an_end_without_close_notify_resets_the_upstream() {
    let (ends, seen) = std::sync::mpsc::channel();
    let listening = upstream(move |mut stream| {
        let mut question = [0; 4];
        stream.read_exact(&mut question).expect("a question");
        ends.send(stream.read(&mut question).map_err(|error| error.kind()))
            .expect("the test waits");
    });
    let mut proxy = Proxy::start("cut", listening, &[]);
    let mut client = proxy.connect();
    client.write_all(b"half").expect("the proxy reads");
    client.sock.shutdown(Shutdown::Both).expect("it is connected");
    assert_eq!(seen.recv().expect("an end"), Err(ErrorKind::ConnectionReset));
    let line = proxy.line();
    assert!(line.contains(": client: "), "{line}");
}

/// Of an upstream that has heard enough.
#[test]
fn an_answer_before_the_end_of_the_question_arrives() {
    let impatient = upstream(|mut stream| {
        stream.read_exact(&mut [0; 4]).expect("a question");
        stream.write_all(b"too large").expect("somebody who listens");
    });
    let proxy = Proxy::start("early", impatient, &[]);
    let mut client = proxy.connect();
    let some = vec![7; 64 << 10];
    let mut answer = [0; 9];
    // Until the proxy takes no more, or everything.
    let _ = (0..64).try_for_each(|_| client.write_all(&some));
    // Not through the stream, which would write first.
    while client.conn.reader().read(&mut answer).is_err() {
        client.conn.read_tls(&mut client.sock).expect("the answer");
        client.conn.process_new_packets().expect("what the proxy says is TLS");
    }
    assert_eq!(&answer, b"too large");
}

#[test]
fn without_an_upstream_there_is_an_end_and_a_reason() {
    let nowhere = nowhere();
    let mut proxy = Proxy::start("nowhere", nowhere, &[]);
    let mut client = proxy.connect();
    assert_eq!(client.read(&mut [0]).expect("an end"), 0);
    let line = proxy.line();
    assert!(line.contains(&format!(": {nowhere}: ")), "{line}");
}

#[test]
fn silence_is_not_borne_for_ever() {
    let mut proxy = Proxy::start("handshake", upstream(echoes), &["--handshake", "0.05"]);
    let mut silent = TcpStream::connect(proxy.address).expect("the proxy listens");
    assert_eq!(silent.read(&mut [0]).expect("an end"), 0);
    let line = proxy.line();
    assert!(line.contains(": handshake: "), "{line}");

    let mut proxy = Proxy::start("idle", upstream(echoes), &["--idle", "0.05"]);
    let mut client = proxy.connect();
    assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::UnexpectedEof);
    let line = proxy.line();
    assert!(line.contains("no byte for too long"), "{line}");
}

#[test]
fn who_does_not_speak_tls_is_refused() {
    let mut proxy = Proxy::start("plain", upstream(echoes), &[]);
    let mut plain = TcpStream::connect(proxy.address).expect("the proxy listens");
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("the proxy reads");
    let mut alert = Vec::new();
    plain.read_to_end(&mut alert).expect("an end");
    assert_eq!(alert.first(), Some(&21), "no alert of TLS");
    assert!(proxy.line().contains(": handshake: "));
}

#[test]
fn a_connection_above_the_limit_waits() {
    let proxy = Proxy::start("limit", upstream(echoes), &["--connections", "1"]);
    let mut first = proxy.connect();
    first.write_all(b"x").expect("the proxy reads");
    first.read_exact(&mut [0]).expect("an echo");
    let mut second = proxy.connect();
    second
        .sock
        .set_read_timeout(Some(Duration::from_millis(100)))
        .expect("a timeout");
    let refused = second.write_all(b"x").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::WouldBlock);
    second.sock.set_read_timeout(Some(HANG)).expect("a timeout");
    say_end(&mut first);
    assert_eq!(first.read(&mut [0]).expect("an end"), 0);
    drop(first);
    second.write_all(b"x").expect("the proxy reads");
    second.read_exact(&mut [0]).expect("an echo");
}

#[test]
fn ctrl_c_lets_connections_end() {
    let mut proxy = Proxy::start("interrupt", upstream(echoes), &["--grace", "100"]);
    let mut client = proxy.connect();
    client.write_all(b"x").expect("the proxy reads");
    client.read_exact(&mut [0]).expect("an echo");
    proxy.interrupt();
    assert_eq!(proxy.line(), "ending; 1 connections are open\n");
    let refused = TcpStream::connect(proxy.address).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    assert_eq!(ask(client, "still there"), "still there");
    assert_eq!(proxy.end(), "");
}

#[test]
fn ctrl_c_does_not_wait_for_ever() {
    let mut proxy = Proxy::start("torn", upstream(echoes), &["--grace", "0.05"]);
    let mut client = proxy.connect();
    client.write_all(b"x").expect("the proxy reads");
    client.read_exact(&mut [0]).expect("an echo");
    proxy.interrupt();
    assert_eq!(proxy.line(), "ending; 1 connections are open\n");
    assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::UnexpectedEof);
    assert_eq!(proxy.end(), "some are torn down\n");
}

#[test]
fn a_certificate_of_its_own_is_printed() {
    let upstream = upstream(shouts_back).to_string();
    let args = ["--listen", "127.0.0.1:0", "--upstream", &upstream, "--self-signed"];
    let mut command = Command::new(path("proxy"));
    command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the example starts");
    let address = listens_at(&mut BufReader::new(child.stderr.take().expect("a pipe")));
    // It was printed before that, and is all that is printed.
    let mut pem = [0; 4096];
    let count = child.stdout.take().expect("a pipe").read(&mut pem).expect("a certificate");
    let certificate = CertificateDer::from_pem_slice(&pem[..count]).expect("PEM");
    assert_eq!(ask(connect(address, trust(certificate)), "hello"), "HELLO");
    child.kill().expect("it runs");
    child.wait().expect("it ends");
}

#[test]
fn help_wrong_arguments_and_missing_files() {
    let help = Program::new("proxy").args(["--help"]).run();
    assert!(help.stdout().starts_with("usage: proxy --listen "), "{help:?}");
    let there = ["--listen", "127.0.0.1:0", "--upstream", "127.0.0.1:1"];
    let wrong: [&[&str]; 7] = [
        &[],
        &["--cert", "a"],
        &["--cert", "a", "--key", "b", "--self-signed"],
        &["--self-signed", "--connections", "0"],
        &["--self-signed", "--idle", "-1"],
        &["--self-signed", "--idle"],
        &["--self-signed", "more"],
    ];
    for args in wrong {
        let run = Program::new("proxy").args(there).args(args).run();
        run.check(2, "", help.stdout());
    }
    Program::new("proxy")
        .args(["--self-signed"])
        .run()
        .check(2, "", help.stdout());
    let run = Program::new("proxy")
        .args(there)
        .args(["--cert", "/nowhere", "--key", "/nowhere"])
        .run();
    assert_eq!((run.code, run.stdout()), (Some(1), ""), "{run:?}");
    assert!(run.stderr().starts_with("proxy: /nowhere: "), "{run:?}");
    let taken = upstream(echoes).to_string();
    let args = ["--listen", &taken, "--upstream", &taken, "--self-signed"];
    let run = Program::new("proxy").args(args).run();
    assert_eq!((run.code, run.stdout()), (Some(1), ""), "{run:?}");
    assert!(run.stderr().starts_with(&format!("proxy: {taken}: ")), "{run:?}");
}
