//! Connecting: a race over all addresses of a peer.
//!
//! "Happy Eyeballs" (RFC 8305): the families take turns, a new attempt starts every 250 ms or as soon as one has failed, and the
//! first that succeeds wins. It is one choice over the sockets that are connecting, on one fiber; the losers are closed.

use super::names::{ToSocketAddrs, resolve};
use super::socket::timed_out;
use crate::file::{Call, Direction, File, Look, call_op};
use crate::io::Fd;
use crate::op::{BoxOp, Op};
use crate::prim::Arc;
use crate::sys;
use crate::sys::socket::{self, Kind};
use crate::{op, time};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

/// The "Connection Attempt Delay" that RFC 8305 recommends.
const NEXT: Duration = Duration::from_millis(250);

/// What the operations are called in reports.
const WHAT: &str = "connect socket";

type Connecting = Fd<TcpStream>;

pub(super) fn connect(to: impl ToSocketAddrs, deadline: Option<Instant>) -> io::Result<Connecting> {
    let addresses = resolve(to, deadline)?;
    race(take_turns(addresses), deadline)
}

/// The families in turns, beginning with that of the first address.
fn take_turns(addresses: Vec<SocketAddr>) -> VecDeque<SocketAddr> {
    let first = addresses[0].is_ipv4();
    let (mut ours, mut others): (VecDeque<_>, VecDeque<_>) = addresses.into_iter().partition(|a| a.is_ipv4() == first);
    let mut all = VecDeque::with_capacity(ours.len() + others.len());
    while !ours.is_empty() || !others.is_empty() {
        all.extend(ours.pop_front());
        all.extend(others.pop_front());
    }
    all
}

/// What happens next in a race.
enum Turn {
    /// The attempt with this number has ended.
    Ended(usize, io::Result<()>),
    /// The next one may start.
    Start,
    Late,
}

fn race(mut addresses: VecDeque<SocketAddr>, deadline: Option<Instant>) -> io::Result<Connecting> {
    let mut running: Vec<Connecting> = Vec::new();
    let mut failure = None;
    let mut next = time::after(Duration::ZERO);
    let mut start = true;
    loop {
        while start && let Some(address) = addresses.pop_front() {
            match begin(&address) {
                Ok((socket, true)) => return Ok(socket),
                Ok((socket, false)) => {
                    running.push(socket);
                    next = time::after(NEXT);
                    start = false;
                }
                Err(error) => failure = Some(error),
            }
        }
        if running.is_empty() {
            return Err(failure.unwrap_or_else(timed_out));
        }
        let mut turns: Vec<BoxOp<'_, Turn>> = Vec::with_capacity(running.len() + 2);
        for (i, socket) in running.iter().enumerate() {
            turns.push(connected_op(socket).wrap(move |result| Turn::Ended(i, result)).boxed());
        }
        if !addresses.is_empty() {
            turns.push(next.wrap(|()| Turn::Start).boxed());
        }
        if let Some(deadline) = deadline {
            turns.push(time::sleep_until_op(deadline).wrap(|()| Turn::Late).boxed());
        }
        match op::choice(turns).perform() {
            Turn::Ended(i, Ok(())) => return Ok(running.swap_remove(i)),
            Turn::Ended(i, Err(error)) => {
                drop(running.swap_remove(i));
                failure = Some(error);
                start = true;
            }
            Turn::Start => start = true,
            Turn::Late => return Err(timed_out()),
        }
    }
}

/// Begins to connect; true if that is done.
fn begin(address: &SocketAddr) -> io::Result<(Connecting, bool)> {
    let socket = socket::internet_socket(address, Kind::Stream)?;
    let connected = loop {
        match socket::connect(socket.as_fd(), address) {
            Ok(()) => break true,
            // Interrupted, it goes on like one in progress; to be asked for again, it says so.
            Err(error) => match error.raw_os_error() {
                Some(libc::EINTR) => {}
                Some(libc::EISCONN) => break true,
                Some(libc::EINPROGRESS | libc::EALREADY) => break false,
                Some(libc::EAGAIN) => return Err(no_room(&error)),
                _ => return Err(error),
            },
        }
    };
    Ok((Fd::of_nonblocking(socket.into()), connected))
}

/// The system has no room for another connection. It says "try again" for that (connect(2)), but nothing has begun of which an event
/// would tell.
#[cold]
fn no_room(error: &io::Error) -> io::Error {
    io::Error::new(io::ErrorKind::ResourceBusy, format!("cannot begin to connect: {error}"))
}

/// Whether the attempt has ended: if the socket is writable, and either has an error or a peer.
fn ended(socket: &Connecting) -> io::Result<()> {
    if !sys::is_ready(socket.as_fd(), Direction::Write)? {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    if let Some(error) = socket.get_ref().take_error()? {
        return Err(error);
    }
    match socket.get_ref().peer_addr() {
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Err(io::ErrorKind::WouldBlock.into()),
        result => result.map(drop),
    }
}

/// The operation that is ready when the attempt has ended.
fn connected_op(socket: &Connecting) -> impl Op<Output = io::Result<()>> {
    socket.try_op(Direction::Write, WHAT, |socket, _| ended(socket))
}

/// The operation that connects. Each perform begins anew, and closes its socket if it loses.
pub(super) fn connect_op(address: SocketAddr) -> impl Op<Output = io::Result<Connecting>> + Clone {
    op::guard(move || {
        let begun = begin(&address);
        let file = begun
            .as_ref()
            .map_or_else(|_| File::new(), |(socket, _)| socket.place(WHAT).file.clone());
        let begun = RefCell::new(Some(begun));
        call_op(Begun { file, begun }, Direction::Write, WHAT)
    })
}

/// What has become of an attempt, which owns its socket.
struct Begun {
    /// Who waits for it.
    file: Arc<File>,
    /// As [`begin`] has it. None: it has been given away.
    begun: RefCell<Option<io::Result<(Connecting, bool)>>>,
}

impl Call for Begun {
    type Output = Connecting;

    fn file(&self) -> &Arc<File> {
        &self.file
    }

    fn with_fd<R>(&self, use_it: impl FnOnce(BorrowedFd<'_>) -> R) -> Option<R> {
        match &*self.begun.borrow() {
            Some(Ok((socket, _))) => Some(use_it(socket.as_fd())),
            _ => None,
        }
    }

    fn attempt(&self, _: &mut Look<'_>) -> io::Result<Connecting> {
        let mut begun = self.begun.borrow_mut();
        if let Some(Ok((socket, false))) = &*begun {
            ended(socket)?;
        }
        let (socket, _) = begun.take().expect("an attempt ends once")?;
        Ok(socket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns() {
        let all = ["[::1]:1", "[::1]:2", "[::1]:3", "1.1.1.1:4", "1.1.1.1:5"];
        let order = take_turns(all.iter().map(|a| a.parse().unwrap()).collect());
        let ports: Vec<_> = order.iter().map(SocketAddr::port).collect();
        assert_eq!(ports, [1, 4, 2, 5, 3]);
    }
}
