//! Crates that are written for blocking sockets, as they are, over those of fibers.

use crate::tcp::listen;
use fibers::net::TcpStream;
use fibers_tests::{On, on_workers, rounds};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use tungstenite::Message;

/// Clients at a time: hundreds under stress.
fn clients() -> u64 {
    rounds(20, 300)
}

/// A server that starts a fiber for each of so many connections, and clients of both kinds.
fn serve_and_visit(
    on: On,
    serve: impl Fn(TcpStream) + Clone + Send + 'static,
    visit: impl Fn(SocketAddr, u64) + Clone + Send + 'static,
) {
    let (listener, address) = listen();
    let count = clients();
    let server = fibers::spawn(move || {
        let handlers: Vec<_> = (0..count)
            .map(|_| {
                let (stream, _) = listener.accept().unwrap();
                let serve = serve.clone();
                fibers::fiber::Builder::new().spread().spawn(move || serve(stream)).unwrap()
            })
            .collect();
        handlers.into_iter().for_each(|handler| handler.join().unwrap());
    });
    let visitors: Vec<_> = (0..count)
        .map(|i| {
            let visit = visit.clone();
            let on = if i % 5 == 0 { On::Threads } else { on };
            on.spawn(move || visit(address, i))
        })
        .collect();
    for visitor in visitors {
        // To join a thread would block the worker.
        on.eventually(|| visitor.is_finished());
        visitor.join();
    }
    server.join().unwrap();
}

#[test]
fn rustls_streams() {
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = signed.cert.der().clone();
    let key = PrivateKeyDer::try_from(signed.signing_key.serialize_der()).unwrap();
    let server = ServerConfig::builder().with_no_client_auth();
    let server = Arc::new(server.with_single_cert(vec![certificate.clone()], key).unwrap());
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let client = Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth());
    on_workers(&[1, 2], |on| {
        let (server, client) = (server.clone(), client.clone());
        let serve = move |stream: TcpStream| {
            let mut tls = StreamOwned::new(ServerConnection::new(server.clone()).unwrap(), stream);
            let mut all = String::new();
            tls.read_to_string(&mut all).unwrap();
            tls.write_all(all.to_uppercase().as_bytes()).unwrap();
            tls.conn.send_close_notify();
            tls.flush().unwrap();
        };
        let visit = move |address: SocketAddr, i: u64| {
            let name = ServerName::try_from("localhost").unwrap();
            let stream = TcpStream::connect(address).unwrap();
            let mut tls = StreamOwned::new(ClientConnection::new(client.clone(), name).unwrap(), stream);
            let question = format!("question {i} ").repeat(1_000);
            tls.write_all(question.as_bytes()).unwrap();
            tls.conn.send_close_notify();
            tls.flush().unwrap();
            let mut answer = String::new();
            tls.read_to_string(&mut answer).unwrap();
            assert!(answer == question.to_uppercase());
        };
        serve_and_visit(on, serve, visit);
    });
}

#[test]
fn tungstenite_echoes() {
    on_workers(&[1, 2], |on| {
        let serve = |stream: TcpStream| {
            let mut socket = tungstenite::accept(stream).unwrap();
            while let Ok(message) = socket.read() {
                if message.is_text() || message.is_binary() {
                    socket.send(message).unwrap();
                }
            }
        };
        let visit = |address: SocketAddr, i: u64| {
            let stream = TcpStream::connect(address).unwrap();
            let (mut socket, _) = tungstenite::client(format!("ws://{address}/"), stream).unwrap();
            for k in 0..10 {
                let text = Message::text(format!("{i} {k}"));
                socket.send(text.clone()).unwrap();
                assert_eq!(socket.read().unwrap(), text);
            }
            socket.close(None).unwrap();
            while socket.read().is_ok() {}
        };
        serve_and_visit(on, serve, visit);
    });
}

#[test]
fn httparse_requests() {
    on_workers(&[1, 2], |on| {
        let serve = |mut stream: TcpStream| {
            let mut head = Vec::new();
            let mut reader = BufReader::new(&stream);
            while !head.ends_with(b"\r\n\r\n") {
                assert_ne!(reader.read_until(b'\n', &mut head).unwrap(), 0);
            }
            let mut headers = [httparse::EMPTY_HEADER; 8];
            let mut request = httparse::Request::new(&mut headers);
            assert!(request.parse(&head).unwrap().is_complete());
            let body = request.path.unwrap();
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
        };
        let visit = |address: SocketAddr, i: u64| {
            let mut stream = TcpStream::connect(address).unwrap();
            write!(stream, "GET /{i} HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert!(answer.ends_with(&format!("\r\n\r\n/{i}")), "{answer}");
        };
        serve_and_visit(on, serve, visit);
    });
}
