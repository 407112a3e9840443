//! A server that reads its requests with httparse.

use fibers::net::TcpStream;
use fibers_test_unchanged::meet;
use fibers_tests::on_workers;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;

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
        meet(on, serve, visit);
    });
}
