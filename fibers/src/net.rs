//! Sockets that look as in `std::net` and `std::os::unix::net`, and suspend their fibers instead of blocking threads.
//!
//! | | |
//! |---|---|
//! | [`TcpListener`], [`TcpStream`] | connections; by name, with a race over all addresses |
//! | [`UdpSocket`] | datagrams |
//! | [`UnixListener`], [`UnixStream`], [`UnixDatagram`] | the same within one machine, and descriptors that are passed on |
//! | [`AcceptBackoff`] | what a server does about errors of `accept` |
//! | [`Deadline`] | one deadline, or a context, for many calls |
//! | [`copy_bidirectional`] | what a proxy does |
//! | [`send_file`], [`splice`] | copies that stay in the kernel |
//!
//! Streams are `Read` and `Write`, by value and by reference, so crates that are written against those run on them unchanged. A
//! blocking method `x` is the operation `x_op`, performed; an operation that loses in a choice has moved no byte and taken no
//! connection. All of them work on plain threads as well.
//!
//! A call that a signal interrupts is repeated; none says `WouldBlock`; none raises SIGPIPE, but for [`send_file`] and [`splice`].
//!
//! Names are looked up on the blocking pool; on a plain thread by that thread, or by another one if there is a time limit. At most 32
//! look-ups run at a time, those counted that were given up and still hang. [`ToSocketAddrs`] says what counts as an address.

mod accept;
mod connect;
mod copy;
mod kernel;
mod look_up;
mod names;
mod socket;
mod split;
mod tcp;
mod udp;
mod unix;

pub use crate::io::{Deadline, Stream};
pub use accept::AcceptBackoff;
pub use copy::copy_bidirectional;
pub use kernel::{send_file, send_file_op, splice};
pub use names::ToSocketAddrs;
pub use split::{OwnedReadHalf, OwnedWriteHalf, ReadHalf, ReuniteError, WriteHalf};
pub use std::net::Shutdown;
pub use tcp::{Incoming, KeepAlive, TcpListener, TcpStream};
pub use udp::UdpSocket;
pub use unix::{PeerCredentials, UnixDatagram, UnixIncoming, UnixListener, UnixStream};
