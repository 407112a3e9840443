//! ureq through its own traits: see `FiberConnector`.

use fibers::net::{TcpListener, TcpStream};
use fibers::{JoinHandle, fiber};
use fibers_test_unchanged::{FiberConnector, FiberResolver, Tls, each};
use fibers_tests::{Counter, On, on_workers};
use rustls::{ServerConnection, StreamOwned};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::unversioned::transport::{Connector, RustlsConnector};

/// Answers each request of a connection with its path and its body, until the client goes.
fn serve(stream: impl Read + Write) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if stream.read_until(b'\n', &mut head)? == 0 {
                return Ok(());
            }
        }
        let mut headers = [httparse::EMPTY_HEADER; 16];
        let mut request = httparse::Request::new(&mut headers);
        assert!(request.parse(&head).expect("a request").is_complete());
        let path = request.path.expect("a path").to_owned();
        let length = headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case("content-length"));
        let length = length.map_or(0, |header| str::from_utf8(header.value).unwrap().parse().unwrap());
        let mut body = vec![0; length];
        stream.read_exact(&mut body)?;
        let length = path.len() + body.len();
        let stream = stream.get_mut();
        write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{path}")?;
        stream.write_all(&body)?;
        stream.flush()?;
    }
}

/// Serves whatever comes, and counts the connections, until the listener is closed.
fn server(serve: impl Fn(TcpStream) + Clone + Send + 'static) -> (SocketAddr, Arc<TcpListener>, Counter, JoinHandle<()>) {
    let listener = Arc::new(TcpListener::bind("127.0.0.1:0").unwrap());
    let (address, ours, connections) = (listener.local_addr().unwrap(), listener.clone(), Counter::default());
    let seen = connections.clone();
    let server = fibers::spawn(move || {
        while let Ok((stream, _)) = ours.accept() {
            seen.add();
            let serve = serve.clone();
            fiber::Builder::new().spread().spawn(move || serve(stream)).unwrap();
        }
    });
    (address, listener, connections, server)
}

/// One agent for all, whose pool of connections they share.
fn agent(tls: TlsConfig) -> Agent {
    let config = Agent::config_builder()
        .tls_config(tls)
        .timeout_global(Some(Duration::from_secs(60)))
        .max_idle_connections(8)
        .max_idle_connections_per_host(8)
        .build();
    let connector = FiberConnector.chain(RustlsConnector::default());
    Agent::with_parts(config, connector, FiberResolver)
}

fn visit(agent: &Agent, url: &str, i: u64) {
    let mut answer = agent.get(format!("{url}/{i}")).call().unwrap();
    assert_eq!(answer.body_mut().read_to_string().unwrap(), format!("/{i}"));
    let question = format!("question {i} ").repeat(1_000);
    let mut answer = agent.post(format!("{url}/{i}/")).send(&question).unwrap();
    let body = answer.body_mut().read_to_string().unwrap();
    assert!(body == format!("/{i}/{question}"));
}

fn request_all(on: On, serve: impl Fn(TcpStream) + Clone + Send + 'static, scheme: &'static str, tls: TlsConfig) {
    let (address, listener, connections, server) = server(serve);
    let agent = agent(tls);
    let theirs = agent.clone();
    let url = format!("{scheme}://localhost:{}", address.port());
    each(on, {
        let url = url.clone();
        move |i| visit(&theirs, &url, i)
    });
    // The agent has kept some, and uses them again.
    let before = connections.get();
    visit(&agent, &url, 0);
    assert_eq!(connections.get(), before, "no connection was kept");
    listener.close();
    server.join().unwrap();
}

#[test]
fn ureq_requests() {
    on_workers(&[1, 2], |on| {
        let serve = |stream| serve(stream).unwrap();
        request_all(on, serve, "http", TlsConfig::default());
    });
}

#[test]
fn ureq_requests_over_tls() {
    let tls = Tls::new();
    on_workers(&[1, 2], |on| {
        let config = tls.server.clone();
        let serve = move |stream| {
            let tls = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream);
            // A client that lets a connection go says nothing.
            match serve(tls) {
                Err(error) if error.kind() != ErrorKind::UnexpectedEof => panic!("{error}"),
                _ => {}
            }
        };
        let certificate = Certificate::from_der(&tls.certificate).to_owned();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let trusting = TlsConfig::builder()
            .root_certs(RootCerts::new_with_certs(&[certificate]))
            .unversioned_rustls_crypto_provider(provider)
            .build();
        request_all(on, serve, "https", trusting);
    });
}

#[test]
fn a_silent_server_is_given_up() {
    on_workers(&[1, 2], |_| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let request = agent(TlsConfig::default()).get(url);
        let error = request
            .config()
            .timeout_global(Some(Duration::from_millis(20)))
            .build()
            .call();
        assert!(matches!(error, Err(ureq::Error::Timeout(_))), "{error:?}");
    });
}
