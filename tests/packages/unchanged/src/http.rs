//! ureq over the sockets of fibers: what it needs in place of its own sockets and its own look-up of names.
//!
//! ureq opens its connections itself, and its look-up waits for a thread of its own; both would block the worker. It takes others
//! through its traits `Connector`, `Transport` and `Resolver`. TLS is its own again: its connector for rustls goes on top.

use fibers::Op;
use fibers::net::TcpStream;
use std::io::{self, Read, Write};
use std::net::ToSocketAddrs;
use std::time::Duration;
use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport};

/// Connects by the socket of a fiber.
#[derive(Debug)]
pub struct FiberConnector;

impl Connector<()> for FiberConnector {
    type Out = FiberTransport;

    fn connect(&self, details: &ConnectionDetails<'_>, _: Option<()>) -> Result<Option<FiberTransport>, Error> {
        let limit = limit(details.timeout)?;
        let stream = TcpStream::connect_timeout(&details.addrs[..], limit).map_err(|error| explain(error, details.timeout))?;
        stream.set_nodelay(true)?;
        let (input, output) = (details.config.input_buffer_size(), details.config.output_buffer_size());
        let buffers = LazyBuffers::new(input, output);
        Ok(Some(FiberTransport { stream, buffers }))
    }
}

/// A connection of a [`FiberConnector`].
#[derive(Debug)]
pub struct FiberTransport {
    stream: TcpStream,
    buffers: LazyBuffers,
}

impl Transport for FiberTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let timeout = timeout.for_write();
        self.stream.set_write_timeout(Some(limit(timeout)?))?;
        let output = &self.buffers.output()[..amount];
        (&self.stream).write_all(output).map_err(|error| explain(error, timeout))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let timeout = timeout.for_read();
        self.stream.set_read_timeout(Some(limit(timeout)?))?;
        let input = self.buffers.input_append_buf();
        let count = (&self.stream).read(input).map_err(|error| explain(error, timeout))?;
        self.buffers.input_appended(count);
        Ok(count > 0)
    }

    /// A connection that waits in the pool is as good as new if there is nothing to read: neither bytes nor the end.
    fn is_open(&mut self) -> bool {
        self.stream.peek_op(&mut [0]).try_perform().is_none()
    }
}

/// Looks names up on the pool for blocking calls.
#[derive(Debug)]
pub struct FiberResolver;

impl Resolver for FiberResolver {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let host = uri.scheme().zip(uri.authority());
        let host = host.and_then(|(scheme, authority)| DefaultResolver::host_and_port(scheme, authority));
        let host = host.ok_or(Error::HostNotFound)?;
        let look_up = fibers::blocking_op(move || host.to_socket_addrs()).timeout(limit(timeout)?);
        let found = look_up.perform().map_err(|_| Error::Timeout(timeout.reason))?.flatten()?;
        let mut addresses = self.empty();
        for address in config.ip_family().keep_wanted(found).take(16) {
            addresses.push(address);
        }
        match addresses.is_empty() {
            true => Err(Error::HostNotFound),
            false => Ok(addresses),
        }
    }
}

/// How long the next step may take; "for ever" is a long time as well.
fn limit(timeout: NextTimeout) -> Result<Duration, Error> {
    match *timeout.after {
        Duration::ZERO => Err(Error::Timeout(timeout.reason)),
        limit => Ok(limit),
    }
}

fn explain(error: io::Error, timeout: NextTimeout) -> Error {
    match error.kind() {
        io::ErrorKind::TimedOut => Error::Timeout(timeout.reason),
        _ => Error::Io(error),
    }
}
