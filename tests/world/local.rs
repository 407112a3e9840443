//! Connections within the machine: paths, descriptors that are passed on, and who the peer is.

use fibers::net::{UnixListener, UnixStream};
use fibers::select;
use fibers_tests::{everywhere, under_stress};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A directory of its own, removed at the end.
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new() -> Directory {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("fibers-world-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Directory(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn by_path_and_by_abstract_name() {
    everywhere(|on| {
        let directory = Directory::new();
        let path = directory.path("socket");
        let name = path.to_str().unwrap().to_owned();
        let abstract_name = SocketAddr::from_abstract_name(name).unwrap();
        for listener in [
            UnixListener::bind(&path).unwrap(),
            UnixListener::bind_addr(&abstract_name).unwrap(),
        ] {
            let address = listener.local_addr().unwrap();
            let server = on.spawn(move || {
                let mut stream = listener.incoming().next().unwrap().unwrap();
                let peer = stream.peer_cred().unwrap();
                assert_eq!(peer.pid, std::process::id() as i32);
                stream.write_all(b"welcome").unwrap();
            });
            let mut text = String::new();
            UnixStream::connect_addr(&address).unwrap().read_to_string(&mut text).unwrap();
            assert_eq!(text, "welcome");
            server.join();
        }
        assert_eq!(
            UnixStream::connect(directory.path("nobody")).unwrap_err().kind(),
            ErrorKind::NotFound
        );
    });
}

/// More connections than the listener has room for: they wait, and none is refused.
#[test]
fn a_full_listener_is_waited_for() {
    use std::os::fd::AsRawFd;
    everywhere(|on| {
        let directory = Directory::new();
        let path = directory.path("socket");
        let listener = UnixListener::bind(&path).unwrap();
        // SAFETY: no memory is involved.
        assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 1) }, 0);
        let clients: Vec<_> = (0..12)
            .map(|_| {
                let path = path.clone();
                on.spawn(move || UnixStream::connect(path).unwrap().write_all(b"x").unwrap())
            })
            .collect();
        for _ in 0..12 {
            let mut byte = [0];
            listener.accept().unwrap().read_exact(&mut byte).unwrap();
        }
        clients.into_iter().for_each(|client| client.join());
    });
}

/// Descriptors arrive with their bytes; reads end where a message with descriptors ends, and nothing is taken for the end.
#[test]
fn descriptors_are_passed_on() {
    everywhere(|on| {
        let (near, far) = UnixStream::pair().unwrap();
        const COUNT: u8 = 40;
        let sending = on.spawn(move || {
            for i in 0..COUNT {
                let (reader, mut writer) = std::io::pipe().unwrap();
                writer.write_all(&[i]).unwrap();
                let fds = vec![reader.as_fd(); usize::from(i) % 3];
                assert_eq!(near.send_fds(&[i, i], &fds).unwrap(), 2);
            }
        });
        let mut bytes = Vec::<u8>::new();
        let mut passed = Vec::new();
        while bytes.len() < 2 * usize::from(COUNT) {
            let mut buffer = [0; 64];
            let (count, fds) = far.recv_fds(&mut buffer).unwrap();
            assert_ne!(count, 0);
            bytes.extend(&buffer[..count]);
            passed.push(fds);
        }
        assert!(bytes.iter().enumerate().all(|(i, byte)| usize::from(*byte) == i / 2));
        let all: Vec<OwnedFd> = passed.into_iter().flatten().collect();
        assert_eq!(all.len(), (0..usize::from(COUNT)).map(|i| i % 3).sum::<usize>());
        let mut byte = [0];
        std::fs::File::from(all.into_iter().next().unwrap())
            .read_exact(&mut byte)
            .unwrap();
        assert_eq!(byte, [1]);
        sending.join();
    });
}

#[test]
fn a_plain_reader_is_not_stopped_by_messages_with_descriptors() {
    everywhere(|on| {
        let (near, far) = UnixStream::pair().unwrap();
        let (reader, _writer) = std::io::pipe().unwrap();
        for i in 0..20 {
            near.send_fds(&[i], &[reader.as_fd()]).unwrap();
        }
        assert!(near.send_fds(&[], &[reader.as_fd()]).is_err());
        let reading = on.spawn(move || {
            let mut all = Vec::new();
            (&far).read_to_end(&mut all).unwrap();
            all
        });
        drop(near);
        assert_eq!(reading.join(), (0..20).collect::<Vec<u8>>());
    });
}

/// Each connection is accepted by exactly one of several who wait for it in choices.
#[test]
fn many_acceptors() {
    under_stress(|on| {
        let directory = Directory::new();
        let path = directory.path("socket");
        let listener = std::sync::Arc::new(UnixListener::bind(&path).unwrap());
        let quit = fibers::Cond::new();
        let acceptors: Vec<_> = (0..5)
            .map(|_| {
                let (listener, quit) = (listener.clone(), quit.clone());
                on.spawn(move || {
                    let mut taken = 0;
                    loop {
                        select! {
                            stream = listener.accept_op() => {
                                stream.unwrap().write_all(b"x").unwrap();
                                taken += 1;
                            }
                            <-quit => return taken,
                        }
                    }
                })
            })
            .collect();
        for _ in 0..100 {
            let mut byte = [0];
            UnixStream::connect(&path).unwrap().read_exact(&mut byte).unwrap();
        }
        quit.signal();
        assert_eq!(acceptors.into_iter().map(|acceptor| acceptor.join()).sum::<u32>(), 100);
    });
}
