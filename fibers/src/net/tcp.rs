//! TCP: connections, and where they come in.

use super::connect;
use super::names::{ToSocketAddrs, resolve};
use super::socket::{Socket, Sort, socket_type, stream, timeouts};
use crate::Op;
use crate::file::Direction;
use crate::sys::socket::{self, Kind, SocketOption};
use std::io;
use std::iter::FusedIterator;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// A TCP connection.
///
/// Any number of fibers and threads may read and write at the same time, through `&TcpStream`; who reads gets what nobody else
/// has got.
///
/// ```
/// use fibers::net::{TcpListener, TcpStream};
/// use std::io::{Read, Write};
/// fibers::run(|| {
///     let listener = TcpListener::bind("127.0.0.1:0").unwrap();
///     let address = listener.local_addr().unwrap();
///     fibers::spawn(move || {
///         let (mut stream, _) = listener.accept().unwrap();
///         stream.write_all(b"hello").unwrap();
///     });
///     let mut text = String::new();
///     TcpStream::connect(address).unwrap().read_to_string(&mut text).unwrap();
///     assert_eq!(text, "hello");
/// });
/// ```
pub struct TcpStream(Socket<std::net::TcpStream>);

socket_type!(TcpStream, std::net::TcpStream, "std::net::TcpStream");
timeouts!(TcpStream);
stream!(TcpStream, Sort::Tcp);

/// How the peer of a connection is asked now and then whether it is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepAlive {
    /// After how much silence it is asked first. Whole seconds.
    pub idle: Duration,
    /// How long after that again. Whole seconds.
    pub interval: Duration,
    /// After how many questions without an answer it is given up.
    pub count: u32,
}

impl TcpStream {
    /// Connects, by address or by name.
    ///
    /// Of several addresses one is tried after the other, 250 ms apart, and the first that answers is taken (RFC 8305). To be able to
    /// give up, see [`connect_timeout`](TcpStream::connect_timeout); to wait for something else at the same time, see
    /// [`connect_op`](TcpStream::connect_op).
    ///
    /// # Errors
    /// That of the last address that has failed, if all have; what looking up the name fails with.
    ///
    /// # Blocking
    /// Suspends the fiber, or blocks the thread. The name is looked up on the blocking pool.
    pub fn connect(to: impl ToSocketAddrs) -> io::Result<TcpStream> {
        TcpStream::connect_until(to, None)
    }

    /// As [`connect`](TcpStream::connect), for so long at most, everything included.
    ///
    /// # Errors
    /// `TimedOut`; otherwise as `connect`.
    ///
    /// # Blocking
    /// As `connect`.
    pub fn connect_timeout(to: impl ToSocketAddrs, limit: Duration) -> io::Result<TcpStream> {
        TcpStream::connect_until(to, Instant::now().checked_add(limit))
    }

    fn connect_until(to: impl ToSocketAddrs, deadline: Option<Instant>) -> io::Result<TcpStream> {
        connect::connect(to, deadline).map(|fd| TcpStream(Socket::of(fd)))
    }

    /// The operation that connects to one address. Performing it begins to connect; if it loses, the attempt is given up and its
    /// socket closed. Each perform of a clone is an attempt of its own.
    ///
    /// ```
    /// use fibers::net::{TcpListener, TcpStream};
    /// use fibers::{Op, op};
    /// fibers::run(|| {
    ///     let (one, other) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    ///     let (one, other) = (one.local_addr().unwrap(), other.local_addr().unwrap());
    ///     // Whichever answers first.
    ///     let stream = op::choice((TcpStream::connect_op(one), TcpStream::connect_op(other))).perform().unwrap();
    ///     assert!([one, other].contains(&stream.peer_addr().unwrap()));
    /// });
    /// ```
    ///
    /// # Errors
    /// The operation yields what connecting fails with.
    pub fn connect_op(to: SocketAddr) -> impl Op<Output = io::Result<TcpStream>> + Clone {
        connect::connect_op(to).wrap(|fd| fd.map(|fd| TcpStream(Socket::of(fd))))
    }

    /// The address of the other end.
    ///
    /// # Errors
    /// If there is none any more.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.0.inner().peer_addr()
    }

    /// The address of this end.
    ///
    /// # Errors
    /// If the socket cannot be asked.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.inner().local_addr()
    }

    /// Whether small writes go out at once (`TCP_NODELAY`) rather than waiting for company.
    ///
    /// # Errors
    /// If the option cannot be set.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.0.inner().set_nodelay(nodelay)
    }

    /// Whether small writes go out at once.
    ///
    /// # Errors
    /// If the option cannot be read.
    pub fn nodelay(&self) -> io::Result<bool> {
        self.0.inner().nodelay()
    }

    /// For how long the system tries to deliver, after the end of the socket, what has not been sent (`SO_LINGER`). Zero throws it
    /// away and resets the connection; `None`, the default, tries as long as usual. Whole seconds. Whoever drops the socket waits for
    /// it, and blocks its worker.
    ///
    /// # Errors
    /// If the option cannot be set.
    pub fn set_linger(&self, linger: Option<Duration>) -> io::Result<()> {
        socket::set_linger(self.as_fd(), linger.map(|linger| linger.as_secs()))
    }

    /// For how long the system tries to deliver what has not been sent.
    ///
    /// # Errors
    /// If the option cannot be read.
    pub fn linger(&self) -> io::Result<Option<Duration>> {
        Ok(socket::linger(self.as_fd())?.map(Duration::from_secs))
    }

    /// Whether, and how, a silent peer is asked for a sign of life.
    ///
    /// # Errors
    /// If an option cannot be set: times below a second, or counts of zero, are refused.
    pub fn set_keepalive(&self, keepalive: Option<KeepAlive>) -> io::Result<()> {
        let fd = self.as_fd();
        if let Some(KeepAlive { idle, interval, count }) = keepalive {
            let seconds = |time: Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
            socket::set_option(fd, SocketOption::KEEPALIVE_IDLE, seconds(idle))?;
            socket::set_option(fd, SocketOption::KEEPALIVE_INTERVAL, seconds(interval))?;
            socket::set_option(fd, SocketOption::KEEPALIVE_COUNT, count)?;
        }
        socket::set_option(fd, SocketOption::KEEPALIVE, keepalive.is_some().into())
    }

    /// Whether, and how, a silent peer is asked for a sign of life.
    ///
    /// # Errors
    /// If an option cannot be read.
    pub fn keepalive(&self) -> io::Result<Option<KeepAlive>> {
        let fd = self.as_fd();
        if socket::option(fd, SocketOption::KEEPALIVE)? == 0 {
            return Ok(None);
        }
        let seconds = |option| socket::option(fd, option).map(|seconds| Duration::from_secs(seconds.into()));
        Ok(Some(KeepAlive {
            idle: seconds(SocketOption::KEEPALIVE_IDLE)?,
            interval: seconds(SocketOption::KEEPALIVE_INTERVAL)?,
            count: socket::option(fd, SocketOption::KEEPALIVE_COUNT)?,
        }))
    }

    /// How many bytes the system may keep that have not been sent. It doubles the number, for its own book-keeping.
    ///
    /// # Errors
    /// If the option cannot be set.
    pub fn set_send_buffer_size(&self, bytes: usize) -> io::Result<()> {
        set_size(self.as_fd(), SocketOption::SEND_BUFFER, bytes)
    }

    /// How many bytes the system may keep that have not been read. It doubles the number, for its own book-keeping.
    ///
    /// # Errors
    /// If the option cannot be set.
    pub fn set_recv_buffer_size(&self, bytes: usize) -> io::Result<()> {
        set_size(self.as_fd(), SocketOption::RECEIVE_BUFFER, bytes)
    }

    /// How many routers a packet may pass.
    ///
    /// # Errors
    /// If the option cannot be set.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.0.inner().set_ttl(ttl)
    }

    /// How many routers a packet may pass.
    ///
    /// # Errors
    /// If the option cannot be read.
    pub fn ttl(&self) -> io::Result<u32> {
        self.0.inner().ttl()
    }
}

fn set_size(fd: std::os::fd::BorrowedFd<'_>, option: SocketOption, bytes: usize) -> io::Result<()> {
    socket::set_option(fd, option, u32::try_from(bytes).unwrap_or(u32::MAX))
}

/// Takes TCP connections.
///
/// Any number of fibers and threads may accept at the same time. All of them are woken when a connection comes, so many do not
/// make it faster; one that starts a fiber for each connection does:
///
/// ```no_run
/// use fibers::{fiber::Builder, net::TcpListener};
/// fibers::run(|| -> std::io::Result<()> {
///     let listener = TcpListener::bind("127.0.0.1:7000")?;
///     for stream in listener.incoming() {
///         let stream = stream?;
///         Builder::new().spread().spawn(move || std::io::copy(&mut &stream, &mut &stream))?;
///     }
///     Ok(())
/// });
/// ```
///
/// With `spread` the connections go to the workers in turns, also if all of them come at once. An idle worker takes some of another
/// one only if that has been busy for 100 ms, with fibers waiting to start all the time. `worker = n` decides it for good.
pub struct TcpListener(Socket<std::net::TcpListener>);

socket_type!(TcpListener, std::net::TcpListener, "std::net::TcpListener");

impl TcpListener {
    /// Listens at the first address that can be bound; port 0 is any free one. `SO_REUSEADDR` is set, so that a server can be started
    /// again at once.
    ///
    /// # Errors
    /// That of the last address that has failed, if all have; what looking up the name fails with.
    ///
    /// # Blocking
    /// Suspends the fiber while a name is looked up.
    pub fn bind(at: impl ToSocketAddrs) -> io::Result<TcpListener> {
        first_of(at, |address| TcpListener::bind_to(address, false))
    }

    /// As many listeners at one address (`SO_REUSEPORT`), one for each of as many fibers that accept, each on a worker of its own:
    /// the kernel spreads the connections by a hash over their addresses, so evenly only if there are many.
    ///
    /// # Errors
    /// As [`bind`](TcpListener::bind); `InvalidInput` for none at all.
    ///
    /// # Blocking
    /// Suspends the fiber while a name is looked up.
    pub fn bind_shards(at: impl ToSocketAddrs, count: usize) -> io::Result<Vec<TcpListener>> {
        if count == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no listener is to listen"));
        }
        let first = first_of(at, |address| TcpListener::bind_to(address, true))?;
        let address = first.local_addr()?;
        let others = (1..count).map(|_| TcpListener::bind_to(&address, true));
        std::iter::once(Ok(first)).chain(others).collect()
    }

    fn bind_to(address: &SocketAddr, shared: bool) -> io::Result<TcpListener> {
        /// The kernel takes the smaller one of this and /proc/sys/net/core/somaxconn.
        const BACKLOG: u32 = 4096;
        let socket = socket::internet_socket(address, Kind::Stream)?;
        let fd = socket.as_fd();
        socket::set_option(fd, SocketOption::REUSE_ADDRESS, 1)?;
        if shared {
            socket::set_option(fd, SocketOption::REUSE_PORT, 1)?;
        }
        socket::bind(fd, address)?;
        socket::listen(fd, BACKLOG)?;
        Ok(TcpListener(Socket::of_nonblocking(socket.into())))
    }

    /// Takes a connection, and says whom it is from.
    ///
    /// # Errors
    /// If there is no descriptor for it, or it has failed meanwhile: see [`AcceptBackoff`](super::AcceptBackoff).
    ///
    /// # Blocking
    /// Suspends the fiber, or blocks the thread.
    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        self.accept_op().perform()
    }

    /// The operation that takes a connection. If it loses, no connection was taken.
    pub fn accept_op(&self) -> impl Op<Output = io::Result<(TcpStream, SocketAddr)>> + Clone {
        self.0.fd.retry_op(Direction::Read, "accept on socket", |listener, _| {
            let (fd, peer) = socket::accept(listener.as_fd())?;
            Ok((TcpStream(Socket::of_nonblocking(fd.into())), peer))
        })
    }

    /// The connections that come, without an end. An error is no end either.
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming(self)
    }

    /// The address at which it listens.
    ///
    /// # Errors
    /// If the socket cannot be asked.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.inner().local_addr()
    }

    /// How many routers a packet of an accepted connection may pass.
    ///
    /// # Errors
    /// If the option cannot be set.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.0.inner().set_ttl(ttl)
    }

    /// How many routers a packet of an accepted connection may pass.
    ///
    /// # Errors
    /// If the option cannot be read.
    pub fn ttl(&self) -> io::Result<u32> {
        self.0.inner().ttl()
    }
}

/// Tries one address after the other.
pub(super) fn first_of<T>(addresses: impl ToSocketAddrs, mut bind: impl FnMut(&SocketAddr) -> io::Result<T>) -> io::Result<T> {
    let mut failure = None;
    for address in resolve(addresses, None)? {
        match bind(&address) {
            Ok(bound) => return Ok(bound),
            Err(error) => failure = Some(error),
        }
    }
    Err(failure.expect("there is at least one address"))
}

/// The connections of a listener; see [`TcpListener::incoming`].
#[derive(Debug)]
pub struct Incoming<'a>(&'a TcpListener);

impl Iterator for Incoming<'_> {
    type Item = io::Result<TcpStream>;

    fn next(&mut self) -> Option<io::Result<TcpStream>> {
        Some(self.0.accept().map(|(stream, _)| stream))
    }
}

impl FusedIterator for Incoming<'_> {}
