//! Takes connections, as many at a time as are allowed, until it is told to stop.

use crate::connection;
use crate::files::Site;
use crate::log::Log;
use crate::tell;
use fibers::fiber::Builder;
use fibers::net::{AcceptBackoff, TcpListener, TcpStream};
use fibers::sync::{OwnedPermit, Semaphore};
use fibers::{Context, WaitGroup, select, time};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// What a client may take.
pub(crate) struct Limits {
    /// Connections at a time. Those beyond it wait in the queue of the system.
    pub(crate) connections: usize,
    /// How long a connection may be silent between requests.
    pub(crate) idle: Duration,
    /// How long a request may take to arrive, from its first byte on, and 64 KiB of an answer to be read.
    pub(crate) patience: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 1024,
            idle: Duration::from_secs(30),
            patience: Duration::from_secs(10),
        }
    }
}

/// What all connections share.
pub(crate) struct Server {
    pub(crate) site: Site,
    pub(crate) limits: Limits,
    /// Ends when no more requests are to be read.
    pub(crate) stop: Context,
    pub(crate) log: Log,
    slots: Arc<Semaphore>,
    /// Counts the connections.
    pub(crate) connections: WaitGroup,
}

impl Server {
    pub(crate) fn new(site: Site, limits: Limits, stop: Context, log: Log) -> Self {
        Server {
            slots: Arc::new(Semaphore::new(limits.connections)),
            connections: WaitGroup::new(),
            site,
            limits,
            stop,
            log,
        }
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stop.err().is_some()
    }

    /// Takes connections and starts a fiber for each, until it is to stop. Returns once there are none left.
    ///
    /// # Errors
    /// If the listener is broken; a connection that has failed, and a lack of descriptors, are no reason to end.
    pub(crate) fn accept(self: Arc<Self>, listener: TcpListener) -> io::Result<()> {
        let mut backoff = AcceptBackoff::new();
        loop {
            let permit = select! {
                Ok(permit) = self.slots.clone().acquire_owned_op() else { return Ok(()) } => permit,
                <-self.stop => return Ok(()),
            };
            let pause = select! {
                accepted = listener.accept_op() => match accepted {
                    Ok((stream, peer)) => {
                        backoff.reset();
                        self.start(stream, peer, permit);
                        continue;
                    }
                    Err(error) => backoff.pause(error)?,
                },
                <-self.stop => return Ok(()),
            };
            let _ = self.stop.run(time::sleep_op(pause));
        }
    }

    fn start(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr, permit: OwnedPermit) {
        let (server, done) = (self.clone(), self.connections.guard());
        let connection = Builder::new().spread().spawn(move || {
            let _held = (permit, done);
            connection::serve(&stream, peer, &server);
        });
        if let Err(error) = connection {
            tell(format_args!("no fiber for {peer}: {error}"));
        }
    }
}
