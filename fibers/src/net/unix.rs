//! Sockets within one machine.

use super::socket::{Socket, Sort, socket_type, stream, timeouts, within};
use crate::Op;
use crate::file::Direction;
use crate::sys::socket::{self, Kind};
use crate::time;
use std::io::{self, IoSlice, IoSliceMut};
use std::iter::FusedIterator;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{self, SocketAddr};
use std::path::Path;
use std::time::Duration;

/// Pauses while a peer has no room, which the kernel does not tell anybody of: the first, and the longest.
const PAUSE: Duration = Duration::from_micros(100);
const LONGEST: Duration = Duration::from_millis(20);

/// A connection within the machine.
///
/// ```
/// use fibers::net::UnixStream;
/// use std::io::{Read, Write};
/// fibers::run(|| {
///     let (mut near, mut far) = UnixStream::pair().unwrap();
///     near.write_all(b"hello").unwrap();
///     let mut buffer = [0; 5];
///     far.read_exact(&mut buffer).unwrap();
///     assert_eq!(&buffer, b"hello");
/// });
/// ```
pub struct UnixStream(Socket<net::UnixStream>);

socket_type!(UnixStream, net::UnixStream, "std::os::unix::net::UnixStream");
timeouts!(UnixStream);
stream!(UnixStream, Sort::Local);

/// Who is at the other end of a connection, as the kernel knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PeerCredentials {
    /// The process that connected, or made the pair.
    pub pid: i32,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

impl UnixStream {
    /// Two ends of a new connection.
    ///
    /// # Errors
    /// If there is no descriptor for them.
    pub fn pair() -> io::Result<(UnixStream, UnixStream)> {
        let (near, far) = net::UnixStream::pair()?;
        Ok((near.try_into()?, far.try_into()?))
    }

    /// Connects to whoever listens at the path.
    ///
    /// # Errors
    /// If nobody does.
    ///
    /// # Blocking
    /// Suspends the fiber, or blocks the thread, while the listener has too many connections that it has not taken.
    pub fn connect(path: impl AsRef<Path>) -> io::Result<UnixStream> {
        UnixStream::connect_addr(&SocketAddr::from_pathname(path)?)
    }

    /// As [`connect`](UnixStream::connect), with an address, which may be an abstract one.
    ///
    /// # Errors
    /// As `connect`.
    ///
    /// # Blocking
    /// As `connect`.
    pub fn connect_addr(address: &SocketAddr) -> io::Result<UnixStream> {
        let socket = socket::local_socket(Kind::Stream)?;
        with_pauses(|| socket::connect_local(socket.as_fd(), address))?;
        Ok(UnixStream(Socket::of_nonblocking(socket.into())))
    }

    /// Who is at the other end.
    ///
    /// # Errors
    /// If the socket cannot be asked.
    pub fn peer_cred(&self) -> io::Result<PeerCredentials> {
        let (pid, uid, gid) = socket::peer_credentials(self.as_fd())?;
        Ok(PeerCredentials { pid, uid, gid })
    }

    /// The address of this end.
    ///
    /// # Errors
    /// If the socket cannot be asked.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.inner().local_addr()
    }

    /// The address of the other end.
    ///
    /// # Errors
    /// If there is none any more.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.0.inner().peer_addr()
    }

    /// Sends bytes, at least one, and with the first of them duplicates of descriptors, at most 253. Returns how many of the bytes
    /// were sent, as a write does; the descriptors are sent, or there is an error.
    ///
    /// ```
    /// use fibers::net::UnixStream;
    /// use std::io::{Read, Write};
    /// use std::os::fd::AsFd;
    /// fibers::run(|| {
    ///     let (near, far) = UnixStream::pair().unwrap();
    ///     let (mut reader, writer) = std::io::pipe().unwrap();
    ///     near.send_fds(b"!", &[writer.as_fd()]).unwrap();
    ///     drop(writer);
    ///     let (count, fds) = far.recv_fds(&mut [0; 8]).unwrap();
    ///     assert_eq!((count, fds.len()), (1, 1));
    ///     std::fs::File::from(fds.into_iter().next().unwrap()).write_all(b"passed").unwrap();
    ///     let mut text = String::new();
    ///     reader.read_to_string(&mut text).unwrap();
    ///     assert_eq!(text, "passed");
    /// });
    /// ```
    ///
    /// # Errors
    /// `InvalidInput` for no bytes or too many descriptors; otherwise as a write.
    ///
    /// # Blocking
    /// Suspends the fiber, or blocks the thread.
    pub fn send_fds(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
        within(self.0.write_limit.get(), self.send_fds_op(bytes, fds))
    }

    /// The operation that sends bytes and descriptors. If it loses, nothing was sent.
    pub fn send_fds_op<'a>(&'a self, bytes: &'a [u8], fds: &'a [BorrowedFd<'a>]) -> impl Op<Output = io::Result<usize>> {
        self.0.fd.try_op(Direction::Write, "write to socket", move |socket, _| {
            if bytes.is_empty() && !fds.is_empty() {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "descriptors travel with bytes: send at least one",
                ));
            }
            socket::send_message(socket.as_fd(), &[IoSlice::new(bytes)], fds)
        })
    }

    /// Reads bytes, and the descriptors that came with them. (A plain read closes those.)
    ///
    /// # Errors
    /// As a read; of kind `Other` if this process may not have so many descriptors: then the kernel has closed what there was no room
    /// for, and the bytes are taken all the same.
    ///
    /// # Blocking
    /// Suspends the fiber, or blocks the thread.
    pub fn recv_fds(&self, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        within(self.0.read_limit.get(), self.recv_fds_op(buffer))
    }

    /// The operation that reads bytes, and the descriptors that came with them. If it loses, nothing was taken.
    pub fn recv_fds_op<'a>(&'a self, buffer: &'a mut [u8]) -> impl Op<Output = io::Result<(usize, Vec<OwnedFd>)>> {
        self.0.fd.try_op(Direction::Read, "read from socket", move |socket, _| {
            let mut fds = Vec::new();
            let count = socket::receive_message(socket.as_fd(), &mut [IoSliceMut::new(buffer)], &mut fds)?;
            Ok((count, fds))
        })
    }
}

/// Makes a call again and again, with pauses, for as long as it says that a peer has no room.
fn with_pauses<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let mut pause = PAUSE;
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                time::sleep(pause);
                pause = (pause * 2).min(LONGEST);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Takes connections within the machine. The path stays when this is dropped.
pub struct UnixListener(Socket<net::UnixListener>);

socket_type!(UnixListener, net::UnixListener, "std::os::unix::net::UnixListener");

impl UnixListener {
    /// Listens at a path, which must not exist.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn bind(path: impl AsRef<Path>) -> io::Result<UnixListener> {
        net::UnixListener::bind(path)?.try_into()
    }

    /// Listens at an address, which may be an abstract one.
    ///
    /// # Errors
    /// If it is in use.
    pub fn bind_addr(address: &SocketAddr) -> io::Result<UnixListener> {
        net::UnixListener::bind_addr(address)?.try_into()
    }

    /// Takes a connection. (Whom it is from, [`peer_cred`](UnixStream::peer_cred) says.)
    ///
    /// # Errors
    /// If there is no descriptor for it: see [`AcceptBackoff`](super::AcceptBackoff).
    ///
    /// # Blocking
    /// Suspends the fiber, or blocks the thread.
    pub fn accept(&self) -> io::Result<UnixStream> {
        self.accept_op().perform()
    }

    /// The operation that takes a connection. If it loses, no connection was taken.
    pub fn accept_op(&self) -> impl Op<Output = io::Result<UnixStream>> + Clone {
        self.0.fd.retry_op(Direction::Read, "accept on socket", |listener, _| {
            let fd = socket::accept_local(listener.as_fd())?;
            Ok(UnixStream(Socket::of_nonblocking(fd.into())))
        })
    }

    /// The connections that come, without an end. An error is no end either.
    pub fn incoming(&self) -> UnixIncoming<'_> {
        UnixIncoming(self)
    }

    /// The address at which it listens.
    ///
    /// # Errors
    /// If the socket cannot be asked.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.inner().local_addr()
    }
}

/// The connections of a listener; see [`UnixListener::incoming`].
#[derive(Debug)]
pub struct UnixIncoming<'a>(&'a UnixListener);

impl Iterator for UnixIncoming<'_> {
    type Item = io::Result<UnixStream>;

    fn next(&mut self) -> Option<io::Result<UnixStream>> {
        Some(self.0.accept())
    }
}

impl FusedIterator for UnixIncoming<'_> {}

/// A socket for datagrams within the machine. None is lost: whoever sends to one that is full waits.
pub struct UnixDatagram(Socket<net::UnixDatagram>);

socket_type!(UnixDatagram, net::UnixDatagram, "std::os::unix::net::UnixDatagram");
timeouts!(UnixDatagram);

impl UnixDatagram {
    /// A socket at a path, which must not exist.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn bind(path: impl AsRef<Path>) -> io::Result<UnixDatagram> {
        net::UnixDatagram::bind(path)?.try_into()
    }

    /// A socket at an address, which may be an abstract one.
    ///
    /// # Errors
    /// If it is in use.
    pub fn bind_addr(address: &SocketAddr) -> io::Result<UnixDatagram> {
        net::UnixDatagram::bind_addr(address)?.try_into()
    }

    /// A socket without an address: it sends, and nobody can send to it.
    ///
    /// # Errors
    /// If there is no descriptor for it.
    pub fn unbound() -> io::Result<UnixDatagram> {
        net::UnixDatagram::unbound()?.try_into()
    }

    /// Two sockets that are each other's peer.
    ///
    /// # Errors
    /// If there is no descriptor for them.
    pub fn pair() -> io::Result<(UnixDatagram, UnixDatagram)> {
        let (near, far) = net::UnixDatagram::pair()?;
        Ok((near.try_into()?, far.try_into()?))
    }

    /// Makes the socket at a path the peer.
    ///
    /// # Errors
    /// If there is none.
    pub fn connect(&self, path: impl AsRef<Path>) -> io::Result<()> {
        self.0.inner().connect(path)
    }

    /// Sends to the peer.
    ///
    /// # Errors
    /// If there is no peer; `TimedOut`.
    ///
    /// # Blocking
    /// Suspends the fiber, or blocks the thread, while the peer has no room.
    pub fn send(&self, datagram: &[u8]) -> io::Result<usize> {
        within(self.0.write_limit.get(), self.send_op(datagram))
    }

    /// The operation that sends to the peer. If it loses, nothing was sent.
    pub fn send_op<'a>(&'a self, datagram: &'a [u8]) -> impl Op<Output = io::Result<usize>> {
        self.0.send_op(datagram)
    }

    /// Sends to the socket at a path. The write timeout does not apply.
    ///
    /// There is no operation for it: the kernel tells nobody when such a receiver has room again, so this asks now and then.
    ///
    /// # Errors
    /// If there is none.
    ///
    /// # Blocking
    /// Suspends the fiber, or blocks the thread, while the receiver has no room.
    pub fn send_to(&self, datagram: &[u8], path: impl AsRef<Path>) -> io::Result<usize> {
        let path = path.as_ref();
        with_pauses(|| self.0.inner().send_to(datagram, path))
    }

    /// Receives a datagram.
    ///
    /// # Errors
    /// `TimedOut`, and what else the system says.
    ///
    /// # Blocking
    /// Suspends the fiber, or blocks the thread.
    pub fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        within(self.0.read_limit.get(), self.recv_op(buffer))
    }

    /// The operation that receives a datagram. If it loses, none was taken.
    pub fn recv_op<'a>(&'a self, buffer: &'a mut [u8]) -> impl Op<Output = io::Result<usize>> {
        self.0.receive_op(buffer, Sort::Datagrams)
    }

    /// Receives a datagram, and says whom it is from.
    ///
    /// # Errors
    /// As [`recv`](UnixDatagram::recv).
    ///
    /// # Blocking
    /// Suspends the fiber, or blocks the thread.
    pub fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        within(self.0.read_limit.get(), self.recv_from_op(buffer))
    }

    /// The operation that receives a datagram and says whom it is from. If it loses, none was taken.
    pub fn recv_from_op<'a>(&'a self, buffer: &'a mut [u8]) -> impl Op<Output = io::Result<(usize, SocketAddr)>> {
        self.0.fd.try_op(Direction::Read, "receive from socket", move |socket, _| {
            socket.get_ref().recv_from(buffer)
        })
    }

    /// Ends one direction, or both.
    ///
    /// # Errors
    /// If there is no peer.
    pub fn shutdown(&self, how: std::net::Shutdown) -> io::Result<()> {
        self.0.inner().shutdown(how)
    }

    /// The address of this socket.
    ///
    /// # Errors
    /// If the socket cannot be asked.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.inner().local_addr()
    }

    /// The address of the peer.
    ///
    /// # Errors
    /// If there is none.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.0.inner().peer_addr()
    }
}
