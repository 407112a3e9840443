//! tungstenite, client and server, as it is.

use fibers::net::TcpStream;
use fibers_test_unchanged::meet;
use fibers_tests::on_workers;
use std::net::SocketAddr;
use tungstenite::Message;

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
        meet(on, serve, visit);
    });
}
