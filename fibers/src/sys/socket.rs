//! Sockets: making, binding, connecting and accepting, sending and receiving. All of them never block.
//!
//! Nothing here raises SIGPIPE: every send says `MSG_NOSIGNAL`. And every send and receive says `MSG_DONTWAIT`: whether the open file is
//! non-blocking is up to everybody who has a duplicate of its descriptor, in other processes as well.
#![expect(unsafe_code, reason = "addresses and buffers are handed to the kernel")]

use std::ffi::{c_int, c_void};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::{self, MaybeUninit};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use super::{check, uninterrupted};

/// What kind of socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Stream,
    Datagram,
}

/// The address of an internet socket, as the kernel has it.
#[derive(Clone, Copy)]
union Address {
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
    family: libc::sa_family_t,
}

const ADDRESS_ROOM: libc::socklen_t = size_of::<Address>() as libc::socklen_t;

impl Address {
    fn new(address: &SocketAddr) -> (Address, libc::socklen_t) {
        match address {
            SocketAddr::V4(v4) => (
                Address {
                    v4: libc::sockaddr_in {
                        sin_family: libc::AF_INET as libc::sa_family_t,
                        sin_port: v4.port().to_be(),
                        sin_addr: libc::in_addr {
                            s_addr: u32::from_ne_bytes(v4.ip().octets()),
                        },
                        sin_zero: [0; 8],
                    },
                },
                size_of::<libc::sockaddr_in>() as libc::socklen_t,
            ),
            SocketAddr::V6(v6) => (
                Address {
                    v6: libc::sockaddr_in6 {
                        sin6_family: libc::AF_INET6 as libc::sa_family_t,
                        sin6_port: v6.port().to_be(),
                        sin6_flowinfo: v6.flowinfo(),
                        sin6_addr: libc::in6_addr {
                            s6_addr: v6.ip().octets(),
                        },
                        sin6_scope_id: v6.scope_id(),
                    },
                },
                size_of::<libc::sockaddr_in6>() as libc::socklen_t,
            ),
        }
    }

    fn empty() -> Address {
        // SAFETY: of plain numbers, which may be zero.
        unsafe { mem::zeroed() }
    }

    /// What the kernel has written, if it is an internet address.
    fn get(&self) -> io::Result<SocketAddr> {
        // SAFETY: every variant begins with the family, which says which one it is; all of them are plain numbers, and the room
        // was zeroed.
        unsafe {
            match c_int::from(self.family) {
                libc::AF_INET => {
                    let v4 = self.v4;
                    let ip = Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes());
                    Ok(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
                }
                libc::AF_INET6 => {
                    let v6 = self.v6;
                    let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
                    Ok(SocketAddrV6::new(ip, u16::from_be(v6.sin6_port), v6.sin6_flowinfo, v6.sin6_scope_id).into())
                }
                _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "not an internet socket")),
            }
        }
    }
}

/// The addresses of a host, as the system knows them. That may take as long as name servers take, or give up after: minutes.
pub(crate) fn look_up(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    seam!(LookUp);
    std::net::ToSocketAddrs::to_socket_addrs(&(host, port)).map(Iterator::collect)
}

/// A new socket for addresses like this one.
pub(crate) fn internet_socket(like: &SocketAddr, kind: Kind) -> io::Result<OwnedFd> {
    new_socket(if like.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 }, kind)
}

/// A new socket for addresses in the file system.
pub(crate) fn local_socket(kind: Kind) -> io::Result<OwnedFd> {
    new_socket(libc::AF_UNIX, kind)
}

fn new_socket(family: c_int, kind: Kind) -> io::Result<OwnedFd> {
    seam!(Socket);
    let kind = match kind {
        Kind::Stream => libc::SOCK_STREAM,
        Kind::Datagram => libc::SOCK_DGRAM,
    };
    // SAFETY: creates a descriptor and touches no memory.
    let fd = check(unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, 0) })?;
    // SAFETY: the kernel has just given the descriptor to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

pub(crate) fn bind(fd: BorrowedFd<'_>, address: &SocketAddr) -> io::Result<()> {
    seam!(Bind);
    let (address, len) = Address::new(address);
    // SAFETY: `address` is as long as `len` says, and lives across the call.
    check(unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), len) }).map(drop)
}

pub(crate) fn listen(fd: BorrowedFd<'_>, backlog: u32) -> io::Result<()> {
    seam!(Listen);
    let backlog = c_int::try_from(backlog).unwrap_or(c_int::MAX);
    // SAFETY: no memory is involved.
    check(unsafe { libc::listen(fd.as_raw_fd(), backlog) }).map(drop)
}

/// Begins to connect. `EINPROGRESS`: that goes on, until the socket is writable.
pub(crate) fn connect(fd: BorrowedFd<'_>, address: &SocketAddr) -> io::Result<()> {
    seam!(Connect);
    let (address, len) = Address::new(address);
    // SAFETY: `address` is as long as `len` says, and lives across the call.
    check(unsafe { libc::connect(fd.as_raw_fd(), (&raw const address).cast(), len) }).map(drop)
}

/// The same, for an address in the file system, as the standard library has it.
pub(crate) fn connect_local(fd: BorrowedFd<'_>, address: &std::os::unix::net::SocketAddr) -> io::Result<()> {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::ffi::OsStrExt;
    seam!(Connect);
    // SAFETY: of plain numbers, which may be zero.
    let mut raw: libc::sockaddr_un = unsafe { mem::zeroed() };
    raw.sun_family = libc::AF_UNIX as libc::sa_family_t;
    let (start, name, end) = match (address.as_pathname(), address.as_abstract_name()) {
        (Some(path), _) => (0, path.as_os_str().as_bytes(), 1),
        (None, Some(name)) => (1, name, 0),
        (None, None) => return Err(io::Error::new(io::ErrorKind::InvalidInput, "the address has no name")),
    };
    // The standard library has checked that it fits, but by rules that it may change.
    if start + name.len() + end > raw.sun_path.len() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the path of the socket is too long",
        ));
    }
    for (to, from) in raw.sun_path[start..].iter_mut().zip(name) {
        *to = *from as libc::c_char;
    }
    let len = mem::offset_of!(libc::sockaddr_un, sun_path) + start + name.len() + end;
    // SAFETY: `raw` is at least as long as `len`, and lives across the call.
    check(unsafe { libc::connect(fd.as_raw_fd(), (&raw const raw).cast(), len as libc::socklen_t) }).map(drop)
}

/// Takes a connection, and whom it is from.
pub(crate) fn accept(fd: BorrowedFd<'_>) -> io::Result<(OwnedFd, SocketAddr)> {
    let mut address = Address::empty();
    let mut len = ADDRESS_ROOM;
    let fd = accept_into(fd, (&raw mut address).cast(), &mut len)?;
    Ok((fd, address.get()?))
}

/// Takes a connection of an address in the file system; hardly any has an address worth asking for.
pub(crate) fn accept_local(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    accept_into(fd, ptr::null_mut(), ptr::null_mut())
}

fn accept_into(fd: BorrowedFd<'_>, address: *mut libc::sockaddr, len: *mut libc::socklen_t) -> io::Result<OwnedFd> {
    uninterrupted(|| {
        seam!(Accept);
        // SAFETY: our callers pass room for an address and its length, or two nulls.
        let fd = check(unsafe { libc::accept4(fd.as_raw_fd(), address, len, libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK) })?;
        // SAFETY: the kernel has just given the descriptor to us alone.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    })
}

/// What a call has received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) count: usize,
    /// There was room for more, and this is not the end.
    pub(crate) short: bool,
}

/// Whether received bytes are taken, or stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Take {
    Bytes,
    Look,
}

impl Take {
    fn flags(self) -> c_int {
        match self {
            Take::Bytes => libc::MSG_DONTWAIT,
            Take::Look => libc::MSG_DONTWAIT | libc::MSG_PEEK,
        }
    }
}

/// What every send says.
const SEND: c_int = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
/// What every receive of a message says.
const RECEIVE: c_int = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;

#[inline]
pub(crate) fn receive(fd: BorrowedFd<'_>, buffer: &mut [u8], take: Take) -> io::Result<Received> {
    uninterrupted(|| {
        let len = seam_len!(RecvMsg, buffer.len());
        // SAFETY: `buffer` has room for `len` bytes.
        let count = check(unsafe { libc::recv(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), len, take.flags()) })? as usize;
        Ok(Received {
            count,
            short: count < len && count > 0,
        })
    })
}

/// Of a datagram that does not fit the rest is lost.
pub(crate) fn receive_from(fd: BorrowedFd<'_>, buffer: &mut [u8], take: Take) -> io::Result<(usize, SocketAddr)> {
    uninterrupted(|| {
        let len = seam_len!(RecvMsg, buffer.len());
        let mut address = Address::empty();
        let mut address_len = ADDRESS_ROOM;
        // SAFETY: `buffer` has room for `len` bytes, and `address` for as many as `address_len` says.
        let count = check(unsafe {
            libc::recvfrom(
                fd.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                len,
                take.flags(),
                (&raw mut address).cast(),
                &mut address_len,
            )
        })?;
        Ok((count as usize, address.get()?))
    })
}

#[inline]
pub(crate) fn send(fd: BorrowedFd<'_>, buffer: &[u8]) -> io::Result<usize> {
    uninterrupted(|| {
        let len = seam_len!(SendMsg, buffer.len());
        // SAFETY: `buffer` holds `len` bytes.
        let count = check(unsafe { libc::send(fd.as_raw_fd(), buffer.as_ptr().cast(), len, SEND) })?;
        Ok(count as usize)
    })
}

pub(crate) fn send_to(fd: BorrowedFd<'_>, buffer: &[u8], to: &SocketAddr) -> io::Result<usize> {
    uninterrupted(|| {
        let len = seam_len!(SendMsg, buffer.len());
        let (address, address_len) = Address::new(to);
        // SAFETY: `buffer` holds `len` bytes, and `address` as many as `address_len` says.
        let count = check(unsafe {
            libc::sendto(
                fd.as_raw_fd(),
                buffer.as_ptr().cast(),
                len,
                SEND,
                (&raw const address).cast(),
                address_len,
            )
        })?;
        Ok(count as usize)
    })
}

/// How many buffers one call takes.
const MAX_BUFFERS: usize = libc::UIO_MAXIOV as usize;

/// Room for that many passed descriptors in one message (the kernel's SCM_MAX_FD).
pub(crate) const MAX_PASSED: usize = 253;

/// The room for the descriptors that a message carries, aligned as its header wants it.
#[repr(C, align(8))]
struct Passed([u8; PASSED_BYTES]);

// SAFETY: computes a number from a number.
const PASSED_BYTES: usize = unsafe { libc::CMSG_SPACE((MAX_PASSED * size_of::<c_int>()) as u32) } as usize;

/// Fills one buffer after the other.
pub(crate) fn receive_vectored(fd: BorrowedFd<'_>, buffers: &mut [IoSliceMut<'_>]) -> io::Result<Received> {
    let room: usize = buffers.iter().map(|b| b.len()).sum();
    uninterrupted(|| {
        seam!(RecvMsg);
        // SAFETY: of pointers and numbers, which may be zero.
        let mut message: libc::msghdr = unsafe { mem::zeroed() };
        // `IoSliceMut` has the layout of `iovec` on Unix, which the standard library promises.
        message.msg_iov = buffers.as_mut_ptr().cast();
        message.msg_iovlen = buffers.len().min(MAX_BUFFERS) as _;
        // SAFETY: the message names buffers that are lent for the call.
        let count = check(unsafe { libc::recvmsg(fd.as_raw_fd(), &mut message, RECEIVE) })? as usize;
        Ok(Received {
            count,
            short: count < room && count > 0 && buffers.len() <= MAX_BUFFERS,
        })
    })
}

/// Sends one buffer after the other.
pub(crate) fn send_vectored(fd: BorrowedFd<'_>, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
    send_message(fd, buffers, &[])
}

/// The same, together with descriptors, of which the receiver gets duplicates.
pub(crate) fn send_message(fd: BorrowedFd<'_>, buffers: &[IoSlice<'_>], pass: &[BorrowedFd<'_>]) -> io::Result<usize> {
    if pass.len() > MAX_PASSED {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("at most {MAX_PASSED} descriptors fit into one message"),
        ));
    }
    let mut control = Passed([0; PASSED_BYTES]);
    uninterrupted(|| {
        seam!(SendMsg);
        // SAFETY: of pointers and numbers, which may be zero.
        let mut message: libc::msghdr = unsafe { mem::zeroed() };
        // `IoSlice` has the layout of `iovec` on Unix, which the standard library promises.
        message.msg_iov = buffers.as_ptr().cast_mut().cast();
        message.msg_iovlen = buffers.len().min(MAX_BUFFERS) as _;
        if !pass.is_empty() {
            let bytes = mem::size_of_val(pass);
            message.msg_control = (&raw mut control).cast();
            // SAFETY: computes numbers from numbers; and the room is larger than the header that it begins with, and aligned.
            unsafe {
                message.msg_controllen = libc::CMSG_SPACE(bytes as u32) as _;
                let header = libc::CMSG_FIRSTHDR(&message);
                (*header).cmsg_level = libc::SOL_SOCKET;
                (*header).cmsg_type = libc::SCM_RIGHTS;
                (*header).cmsg_len = libc::CMSG_LEN(bytes as u32) as _;
                // A borrowed descriptor is its number (`repr(transparent)`).
                ptr::copy_nonoverlapping(pass.as_ptr().cast::<u8>(), libc::CMSG_DATA(header), bytes);
            }
        }
        // SAFETY: the message names buffers that are lent for the call, which only reads them.
        let count = check(unsafe { libc::sendmsg(fd.as_raw_fd(), &message, SEND) })?;
        Ok(count as usize)
    })
}

/// Receives bytes, and the descriptors that came with them.
pub(crate) fn receive_message(
    fd: BorrowedFd<'_>,
    buffers: &mut [IoSliceMut<'_>],
    passed: &mut Vec<OwnedFd>,
) -> io::Result<usize> {
    let mut control = Passed([0; PASSED_BYTES]);
    uninterrupted(|| {
        seam!(RecvMsg);
        // SAFETY: of pointers and numbers, which may be zero.
        let mut message: libc::msghdr = unsafe { mem::zeroed() };
        message.msg_iov = buffers.as_mut_ptr().cast();
        message.msg_iovlen = buffers.len().min(MAX_BUFFERS) as _;
        message.msg_control = (&raw mut control).cast();
        message.msg_controllen = PASSED_BYTES as _;
        // SAFETY: the message names buffers that are lent for the call.
        let count = check(unsafe { libc::recvmsg(fd.as_raw_fd(), &mut message, RECEIVE) })?;
        // SAFETY: the kernel has filled the message, whose control part has not moved.
        unsafe { take_passed(&message, passed) };
        match message.msg_flags & libc::MSG_CTRUNC {
            0 => Ok(count as usize),
            _ => Err(io::Error::other(
                "descriptors that came with a message are lost: this process has no room for them",
            )),
        }
    })
}

/// # Safety
/// The kernel has filled `message` in this very call, and its control part is where it says.
unsafe fn take_passed(message: &libc::msghdr, passed: &mut Vec<OwnedFd>) {
    // SAFETY: the kernel has written well-formed headers, and each descriptor that they name is ours from now on.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(message);
        while !header.is_null() {
            if (*header).cmsg_level == libc::SOL_SOCKET && (*header).cmsg_type == libc::SCM_RIGHTS {
                let data = libc::CMSG_DATA(header).cast::<c_int>();
                let bytes = (*header).cmsg_len as usize - libc::CMSG_LEN(0) as usize;
                for i in 0..bytes / size_of::<c_int>() {
                    passed.push(OwnedFd::from_raw_fd(data.add(i).read_unaligned()));
                }
            }
            header = libc::CMSG_NXTHDR(message, header);
        }
    }
}

/// Ends a connection in both directions, or the listening. Nothing happens to a socket that does neither.
pub(crate) fn shut_down(fd: BorrowedFd<'_>) {
    // SAFETY: no memory is involved.
    let _ = unsafe { libc::shutdown(fd.as_raw_fd(), libc::SHUT_RDWR) };
}

/// An option that is a number, or yes and no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SocketOption(c_int, c_int);

impl SocketOption {
    pub(crate) const REUSE_ADDRESS: SocketOption = SocketOption(libc::SOL_SOCKET, libc::SO_REUSEADDR);
    pub(crate) const REUSE_PORT: SocketOption = SocketOption(libc::SOL_SOCKET, libc::SO_REUSEPORT);
    pub(crate) const KEEPALIVE: SocketOption = SocketOption(libc::SOL_SOCKET, libc::SO_KEEPALIVE);
    pub(crate) const KEEPALIVE_IDLE: SocketOption = SocketOption(libc::IPPROTO_TCP, libc::TCP_KEEPIDLE);
    pub(crate) const KEEPALIVE_INTERVAL: SocketOption = SocketOption(libc::IPPROTO_TCP, libc::TCP_KEEPINTVL);
    pub(crate) const KEEPALIVE_COUNT: SocketOption = SocketOption(libc::IPPROTO_TCP, libc::TCP_KEEPCNT);
    pub(crate) const SEND_BUFFER: SocketOption = SocketOption(libc::SOL_SOCKET, libc::SO_SNDBUF);
    pub(crate) const RECEIVE_BUFFER: SocketOption = SocketOption(libc::SOL_SOCKET, libc::SO_RCVBUF);
    const LINGER: SocketOption = SocketOption(libc::SOL_SOCKET, libc::SO_LINGER);
    const PEER: SocketOption = SocketOption(libc::SOL_SOCKET, libc::SO_PEERCRED);
}

/// # Safety
/// The option is of this very type.
unsafe fn set_raw<T: Copy>(fd: BorrowedFd<'_>, option: SocketOption, value: T) -> io::Result<()> {
    seam!(SocketOption);
    // SAFETY: `value` is as long as is said, and lives across the call.
    check(unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            option.0,
            option.1,
            (&raw const value).cast::<c_void>(),
            size_of::<T>() as libc::socklen_t,
        )
    })
    .map(drop)
}

/// # Safety
/// The option is of this very type, of plain numbers, and the kernel fills all of it.
unsafe fn get_raw<T: Copy>(fd: BorrowedFd<'_>, option: SocketOption) -> io::Result<T> {
    seam!(SocketOption);
    let mut value = MaybeUninit::<T>::zeroed();
    let mut len = size_of::<T>() as libc::socklen_t;
    // SAFETY: `value` has as much room as is said.
    check(unsafe { libc::getsockopt(fd.as_raw_fd(), option.0, option.1, value.as_mut_ptr().cast(), &mut len) })?;
    // SAFETY: the caller's promise; zero where the kernel has not written.
    Ok(unsafe { value.assume_init() })
}

pub(crate) fn set_option(fd: BorrowedFd<'_>, option: SocketOption, value: u32) -> io::Result<()> {
    let value = c_int::try_from(value).unwrap_or(c_int::MAX);
    // SAFETY: all options with a name outside of this module are an int.
    unsafe { set_raw(fd, option, value) }
}

pub(crate) fn option(fd: BorrowedFd<'_>, option: SocketOption) -> io::Result<u32> {
    // SAFETY: as above.
    let value: c_int = unsafe { get_raw(fd, option)? };
    Ok(value as u32)
}

/// For how many seconds closing tries to deliver what has not been sent; 0: throws it away, and resets the connection.
pub(crate) fn set_linger(fd: BorrowedFd<'_>, seconds: Option<u64>) -> io::Result<()> {
    let linger = libc::linger {
        l_onoff: c_int::from(seconds.is_some()),
        l_linger: c_int::try_from(seconds.unwrap_or(0)).unwrap_or(c_int::MAX),
    };
    // SAFETY: that option is a `linger`.
    unsafe { set_raw(fd, SocketOption::LINGER, linger) }
}

pub(crate) fn linger(fd: BorrowedFd<'_>) -> io::Result<Option<u64>> {
    // SAFETY: that option is a `linger`.
    let linger: libc::linger = unsafe { get_raw(fd, SocketOption::LINGER)? };
    Ok((linger.l_onoff != 0).then_some(linger.l_linger as u64))
}

/// Process, user and group of the peer, when it connected or made the pair.
pub(crate) fn peer_credentials(fd: BorrowedFd<'_>) -> io::Result<(i32, u32, u32)> {
    // SAFETY: that option is a `ucred`.
    let peer: libc::ucred = unsafe { get_raw(fd, SocketOption::PEER)? };
    Ok((peer.pid, peer.uid, peer.gid))
}
