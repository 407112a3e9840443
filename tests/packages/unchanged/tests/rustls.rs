//! rustls, client and server, as it is.

use fibers::net::TcpStream;
use fibers_test_unchanged::{Tls, meet};
use fibers_tests::on_workers;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, ServerConnection, StreamOwned};
use std::io::{Read, Write};
use std::net::SocketAddr;

#[test]
fn rustls_streams() {
    let tls = Tls::new();
    on_workers(&[1, 2], |on| {
        let Tls { server, client, .. } = tls.clone();
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
        meet(on, serve, visit);
    });
}
