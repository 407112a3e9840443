//! Datagrams: each is received once and whole, or not at all.

use fibers::net::{UdpSocket, UnixDatagram};
use fibers::{Op, op};
use fibers_tests::{everywhere, on_workers};
use std::io::ErrorKind;
use std::time::Duration;

fn socket() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").unwrap()
}

#[test]
fn there_and_back() {
    everywhere(|on| {
        let (near, far) = (socket(), socket());
        let (here, there) = (near.local_addr().unwrap(), far.local_addr().unwrap());
        let answering = on.spawn(move || {
            let mut buffer = [0; 64];
            for _ in 0..50 {
                let (len, from) = far.recv_from(&mut buffer).unwrap();
                assert_eq!(from, here);
                far.send_to(&buffer[..len], from).unwrap();
            }
        });
        near.connect(there).unwrap();
        assert_eq!(near.peer_addr().unwrap(), there);
        for i in 0..50_u8 {
            near.send(&vec![i; usize::from(i)]).unwrap();
            let mut buffer = [0; 64];
            assert_eq!(
                near.recv(&mut buffer).unwrap(),
                usize::from(i),
                "an empty datagram is one as well"
            );
        }
        answering.join();
    });
}

#[test]
fn peeks_timeouts_and_losers_take_nothing() {
    everywhere(|_| {
        let (near, far) = (socket(), socket());
        let there = far.local_addr().unwrap();
        let mut buffer = [0; 4];
        far.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        assert_eq!(far.recv(&mut buffer).unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(far.peek_from(&mut buffer).unwrap_err().kind(), ErrorKind::TimedOut);
        far.set_read_timeout(None).unwrap();
        near.send_to(b"one", there).unwrap();
        assert_eq!(far.peek(&mut buffer).unwrap(), 3);
        assert_eq!(far.peek_from(&mut buffer).unwrap(), (3, near.local_addr().unwrap()));
        // The earlier branch wins.
        let won = op::biased((op::always(0), far.recv_op(&mut buffer).wrap(|n| n.unwrap()))).perform();
        assert_eq!(won, 0);
        assert_eq!(far.recv_op(&mut buffer).try_perform().unwrap().unwrap(), 3);
        assert!(far.recv_from_op(&mut buffer).try_perform().is_none());
        assert!(far.readable_op().try_perform().is_none());
        far.close();
        assert!(far.recv(&mut buffer).is_err());
    });
}

#[test]
fn a_refused_datagram_is_an_error() {
    on_workers(&[1], |_| {
        let (near, far) = (socket(), socket());
        near.connect(far.local_addr().unwrap()).unwrap();
        drop(far);
        near.send(b"anybody there?").unwrap();
        assert_eq!(near.recv(&mut [0; 4]).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    });
}

/// A receiver that is full: whoever sends waits for room, connected or not.
#[test]
fn local_datagrams_wait_for_room() {
    everywhere(|on| {
        let directory = crate::local::Directory::new();
        let path = directory.path("datagrams");
        let receiver = UnixDatagram::bind(&path).unwrap();
        let sender = UnixDatagram::unbound().unwrap();
        let connected = UnixDatagram::unbound().unwrap();
        connected.connect(&path).unwrap();
        const EACH: u32 = 300;
        let sending = on.spawn(move || (0..EACH).for_each(|i| assert_eq!(connected.send(&i.to_le_bytes()).unwrap(), 4)));
        let sending_to = on.spawn(move || {
            for i in 0..EACH {
                sender.send_to(&(i | 1 << 31).to_le_bytes(), &path).unwrap();
            }
        });
        let (mut next, mut next_to) = (0, 1 << 31);
        for _ in 0..2 * EACH {
            let mut number = [0; 4];
            assert_eq!(receiver.recv(&mut number).unwrap(), 4);
            let number = u32::from_le_bytes(number);
            let expected = if number >> 31 == 0 { &mut next } else { &mut next_to };
            assert_eq!(number, *expected);
            *expected += 1;
        }
        sending.join();
        sending_to.join();
    });
}

#[test]
fn a_pair_of_local_datagram_sockets() {
    everywhere(|on| {
        let (near, far) = UnixDatagram::pair().unwrap();
        let sending = on.spawn(move || {
            for i in 0..2_000_u32 {
                assert_eq!(near.send(&i.to_le_bytes()).unwrap(), 4);
            }
        });
        for i in 0..2_000_u32 {
            let mut number = [0; 4];
            far.recv_from(&mut number).unwrap();
            assert_eq!(u32::from_le_bytes(number), i);
        }
        sending.join();
    });
}
