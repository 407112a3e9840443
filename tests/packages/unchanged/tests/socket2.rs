//! A socket that socket2 has made becomes one of fibers.

use fibers::net::{TcpListener, TcpStream};
use fibers_test_unchanged::{count, each};
use fibers_tests::on_workers;
use socket2::{Domain, Socket, Type};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

#[test]
fn sockets_of_socket2() {
    on_workers(&[1, 2], |on| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(8 << 10).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        socket.listen(1024).unwrap();
        let listener = TcpListener::from(OwnedFd::from(socket));
        let address = listener.local_addr().unwrap();
        let server = fibers::spawn(move || {
            let connections: Vec<_> = (0..count()).map(|_| listener.accept().unwrap().0).collect();
            for mut stream in connections {
                let mut word = [0; 4];
                stream.read_exact(&mut word).unwrap();
                stream.write_all(&word).unwrap();
            }
        });
        each(on, move |i| {
            let mut stream = TcpStream::connect(address).unwrap();
            let word = (i as u32).to_le_bytes();
            stream.write_all(&word).unwrap();
            let mut answer = [0; 4];
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(answer, word);
        });
        server.join().unwrap();
    });
}
