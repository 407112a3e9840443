//! Connections through memory, pipes, and copying between connections.

use crate::tcp::pair;
use fibers::net::{Shutdown, UnixStream, copy_bidirectional};
use fibers::{Op, channel, io, op, select};
use fibers_tests::{everywhere, rounds, under_stress};
use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

#[test]
fn bytes_go_both_ways_through_little_room() {
    under_stress(|on| {
        for capacity in [0, 1, 7, 1000] {
            let (mut near, mut far) = io::duplex(capacity);
            let total = rounds(3_000, 200_000);
            let echoing = on.spawn(move || {
                let mut buffer = [0; 33];
                loop {
                    match far.read(&mut buffer).unwrap() {
                        0 => return,
                        n => far.write_all(&buffer[..n]).unwrap(),
                    }
                }
            });
            let (mut sent, mut got) = (0, 0);
            let mut buffer = [0; 50];
            while got < total {
                let out = [sent as u8];
                select! {
                    n = near.write_op(&out) if sent < total => sent += n.unwrap() as u64,
                    n = near.read_op(&mut buffer) => {
                        for byte in &buffer[..n.unwrap()] {
                            assert_eq!(*byte, got as u8);
                            got += 1;
                        }
                    }
                }
            }
            near.shutdown();
            assert_eq!(near.read(&mut buffer).unwrap(), 0);
            echoing.join();
        }
    });
}

#[test]
fn ends_of_a_duplex() {
    everywhere(|on| {
        let (mut near, mut far) = io::duplex(4);
        near.write_all(b"rest").unwrap();
        assert!(near.write_op(b"x").try_perform().is_none(), "full");
        let late = near.write_op(b"x").timeout(Duration::from_millis(1)).perform();
        assert!(late.is_err());
        drop(near);
        let mut text = String::new();
        far.read_to_string(&mut text).unwrap();
        assert_eq!(text, "rest");
        assert_eq!(far.write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
        let (mut near, far) = io::duplex(1);
        near.write_all(b"x").unwrap();
        let writing = on.spawn(move || near.write_all(b"y"));
        on.pause();
        drop(far);
        assert_eq!(writing.join().unwrap_err().kind(), ErrorKind::BrokenPipe);
        let (mut near, _far) = io::duplex(1);
        assert_eq!((near.read(&mut []).unwrap(), near.write(&[]).unwrap()), (0, 0));
    });
}

#[test]
fn a_losing_branch_of_a_duplex_takes_nothing() {
    everywhere(|on| {
        let (near, mut far) = io::duplex(16);
        let (tx, rx) = channel::<()>(0);
        let count = rounds(300, 100_000);
        let writing = on.spawn(move || (0..count).for_each(|i| far.write_all(&[i as u8]).unwrap()));
        let sending = on.spawn(move || (0..count).for_each(|_| tx.send(()).unwrap()));
        let (mut read, mut received) = (0, 0);
        let mut byte = [0];
        while read < count || received < count {
            select! {
                n = near.read_op(&mut byte) if read < count => {
                    assert_eq!((n.unwrap(), byte[0]), (1, read as u8));
                    read += 1;
                }
                _ = <-rx if received < count => received += 1,
            }
        }
        writing.join();
        sending.join();
    });
}

#[test]
fn pipes() {
    everywhere(|on| {
        let (mut reader, mut writer) = io::pipe().unwrap();
        let writing = on.spawn(move || writer.write_all(&[7; 100_000]));
        let mut all = Vec::new();
        reader.read_to_end(&mut all).unwrap();
        assert_eq!(all, [7; 100_000]);
        writing.join().unwrap();
    });
}

/// Between kinds of connections, with each direction ending by itself.
#[test]
fn a_proxy_passes_everything_on() {
    everywhere(|on| {
        let (client, near) = pair();
        let (far, server) = UnixStream::pair().unwrap();
        let proxy = on.spawn(move || copy_bidirectional(&near, &far).unwrap());
        let serving = on.spawn(move || {
            let mut all = Vec::new();
            (&server).write_all(b"hello").unwrap();
            (&server).read_to_end(&mut all).unwrap();
            all.reverse();
            (&server).write_all(&all).unwrap();
        });
        let data: Vec<u8> = (0..200_000_u32).map(|i| (i >> 3) as u8).collect();
        (&client).write_all(&data).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut all = Vec::new();
        (&client).read_to_end(&mut all).unwrap();
        let expected: Vec<u8> = b"hello".iter().chain(data.iter().rev()).copied().collect();
        assert!(all == expected);
        serving.join();
        assert_eq!(proxy.join(), (200_000, 200_005));
    });
}

#[test]
fn a_proxy_ends_with_an_error_of_either_side() {
    everywhere(|on| {
        let (client, near) = pair();
        let (far, server) = pair();
        let proxy = on.spawn(move || copy_bidirectional(&near, &far));
        server.set_linger(Some(Duration::ZERO)).unwrap();
        drop(server);
        assert_eq!(proxy.join().unwrap_err().kind(), ErrorKind::ConnectionReset);
        let mut buffer = [0];
        let read = op::choice((client.read_op(&mut buffer), op::never())).perform();
        assert_eq!(read.unwrap(), 0, "both connections have been dropped");
    });
}

/// A proxy does not care what its connections go through.
#[test]
fn copying_between_memory_and_a_socket() {
    everywhere(|on| {
        let ((mut client, near), (far, mut server)) = (io::duplex(7), pair());
        let proxy = on.spawn(move || copy_bidirectional(&near, &far).unwrap());
        let asking = on.spawn(move || {
            client.write_all(b"a long question").unwrap();
            client.shutdown();
            let mut answer = String::new();
            client.read_to_string(&mut answer).unwrap();
            answer
        });
        let mut question = String::new();
        server.read_to_string(&mut question).unwrap();
        server.write_all(b"a short answer").unwrap();
        drop(server);
        assert_eq!((&*question, &*asking.join()), ("a long question", "a short answer"));
        assert_eq!(proxy.join(), (15, 14));
    });
}
