//! UDP: datagrams.

use super::names::{ToSocketAddrs, resolve};
use super::socket::{Socket, Sort, socket_type, timeouts, within};
use super::tcp::first_of;
use crate::Op;
use crate::file::Direction;
use crate::sys::socket::{self, Kind, Take};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;

/// A UDP socket.
///
/// Each send is one datagram, and each receive gets one; what does not fit into the buffer is lost.
///
/// ```
/// use fibers::net::UdpSocket;
/// fibers::run(|| {
///     let (a, b) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
///     a.send_to(b"hello", b.local_addr().unwrap()).unwrap();
///     let mut buffer = [0; 16];
///     let (len, from) = b.recv_from(&mut buffer).unwrap();
///     assert_eq!((&buffer[..len], from), (&b"hello"[..], a.local_addr().unwrap()));
/// });
/// ```
pub struct UdpSocket(Socket<std::net::UdpSocket>);

socket_type!(UdpSocket, std::net::UdpSocket, "std::net::UdpSocket");
timeouts!(UdpSocket);

impl UdpSocket {
    /// A socket at the first address that can be bound; port 0 is any free one.
    ///
    /// # Errors
    /// That of the last address that has failed, if all have; what looking up the name fails with.
    ///
    /// # Blocking
    /// Suspends the fiber while a name is looked up.
    pub fn bind(at: impl ToSocketAddrs) -> io::Result<UdpSocket> {
        first_of(at, |address| {
            let socket = socket::internet_socket(address, Kind::Datagram)?;
            socket::bind(socket.as_fd(), address)?;
            Ok(UdpSocket(Socket::of_nonblocking(socket.into())))
        })
    }

    /// Makes one address the peer: `send` sends there, and only what comes from there is received.
    ///
    /// # Errors
    /// That of the last address that has failed, if all have; what looking up the name fails with.
    ///
    /// # Blocking
    /// Suspends the fiber while a name is looked up.
    pub fn connect(&self, to: impl ToSocketAddrs) -> io::Result<()> {
        first_of(to, |address| socket::connect(self.as_fd(), address))
    }

    /// Sends to the peer.
    ///
    /// # Errors
    /// If there is no peer, or it has refused an earlier datagram; `TimedOut`.
    ///
    /// # Blocking
    /// Suspends the fiber, or blocks the thread.
    pub fn send(&self, datagram: &[u8]) -> io::Result<usize> {
        within(self.0.write_limit.get(), self.send_op(datagram))
    }

    /// The operation that sends to the peer. If it loses, nothing was sent.
    pub fn send_op<'a>(&'a self, datagram: &'a [u8]) -> impl Op<Output = io::Result<usize>> {
        self.0.send_op(datagram)
    }

    /// Sends to an address, the first if there are several.
    ///
    /// # Errors
    /// If it cannot be sent there; what looking up the name fails with; `TimedOut`.
    ///
    /// # Blocking
    /// Suspends the fiber, or blocks the thread.
    pub fn send_to(&self, datagram: &[u8], to: impl ToSocketAddrs) -> io::Result<usize> {
        let to = resolve(to, None)?[0];
        within(self.0.write_limit.get(), self.send_to_op(datagram, to))
    }

    /// The operation that sends to an address. If it loses, nothing was sent.
    pub fn send_to_op<'a>(&'a self, datagram: &'a [u8], to: SocketAddr) -> impl Op<Output = io::Result<usize>> {
        self.0.fd.try_op(Direction::Write, "send from socket", move |socket, _| {
            socket::send_to(socket.as_fd(), datagram, &to)
        })
    }

    /// Receives a datagram of the peer.
    ///
    /// # Errors
    /// If the peer has refused an earlier datagram; `TimedOut`.
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
    /// As [`recv`](UdpSocket::recv).
    ///
    /// # Blocking
    /// Suspends the fiber, or blocks the thread.
    pub fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        within(self.0.read_limit.get(), self.recv_from_op(buffer))
    }

    /// The operation that receives a datagram and says whom it is from. If it loses, none was taken.
    pub fn recv_from_op<'a>(&'a self, buffer: &'a mut [u8]) -> impl Op<Output = io::Result<(usize, SocketAddr)>> {
        self.receive_from_op(buffer, Take::Bytes)
    }

    fn receive_from_op<'a>(&'a self, buffer: &'a mut [u8], take: Take) -> impl Op<Output = io::Result<(usize, SocketAddr)>> {
        self.0.fd.try_op(Direction::Read, "receive from socket", move |socket, _| {
            socket::receive_from(socket.as_fd(), buffer, take)
        })
    }

    /// Receives without taking: the next receive gets the same datagram.
    ///
    /// # Errors
    /// As [`recv`](UdpSocket::recv).
    ///
    /// # Blocking
    /// Suspends the fiber, or blocks the thread.
    pub fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        within(self.0.read_limit.get(), self.0.peek_op(buffer, Sort::Datagrams))
    }

    /// Receives without taking, and says whom the datagram is from.
    ///
    /// # Errors
    /// As [`recv`](UdpSocket::recv).
    ///
    /// # Blocking
    /// Suspends the fiber, or blocks the thread.
    pub fn peek_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        within(self.0.read_limit.get(), self.receive_from_op(buffer, Take::Look))
    }

    /// The operation that is ready when a receive would not wait.
    pub fn readable_op(&self) -> impl Op<Output = io::Result<()>> + Clone {
        self.0.fd.readable_op()
    }

    /// The operation that is ready when a send would not wait.
    pub fn writable_op(&self) -> impl Op<Output = io::Result<()>> + Clone {
        self.0.fd.writable_op()
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

    /// Whether it may send to broadcast addresses.
    ///
    /// # Errors
    /// If the option cannot be set.
    pub fn set_broadcast(&self, broadcast: bool) -> io::Result<()> {
        self.0.inner().set_broadcast(broadcast)
    }

    /// How many routers a datagram may pass.
    ///
    /// # Errors
    /// If the option cannot be set.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.0.inner().set_ttl(ttl)
    }

    /// Receives what is sent to this group, on the interface with this address.
    ///
    /// # Errors
    /// If the group cannot be joined.
    pub fn join_multicast_v4(&self, group: &Ipv4Addr, interface: &Ipv4Addr) -> io::Result<()> {
        self.0.inner().join_multicast_v4(group, interface)
    }

    /// Receives what is sent to this group, on the interface with this number.
    ///
    /// # Errors
    /// If the group cannot be joined.
    pub fn join_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        self.0.inner().join_multicast_v6(group, interface)
    }
}
