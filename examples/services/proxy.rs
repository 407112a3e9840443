//! Takes TLS connections and forwards what they say, decrypted, to a plain server, and its answers back.
//!
//! `cargo run --release --example proxy -- --listen 127.0.0.1:8443 --upstream 127.0.0.1:8000 --self-signed > cert.pem`
//!
//! `curl --cacert cert.pem https://localhost:8443/`
//!
//! With `--cert FILE --key FILE` (PEM) instead of `--self-signed` it has a certificate of your own.
//!
//! # How both directions go on at once
//! A TLS connection is one object: reading may make it want to write, and the other way round. So one fiber has it, and waits for
//! whatever it can go on with: see [`Session::run`]. It takes no byte before it has got rid of the one before, in either direction,
//! so a slow reader slows down the writer, and a connection takes no more memory than a few records.
//!
//! # Ends
//! The end of one direction is passed on at once, while the other one goes on. An end without a `close_notify` may be the work of
//! somebody in between, so it is not passed on as an end: the upstream's connection is reset. Ctrl-C takes no more connections and
//! gives the others some time to end; the second one ends the program at once.

use fibers::net::{AcceptBackoff, Shutdown, TcpListener, TcpStream};
use fibers::sync::Semaphore;
use fibers::{Cond, go, select, time};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};
use std::error::Error;
use std::io::{self, ErrorKind, Read, Write};
use std::ops::Range;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

const USAGE: &str = "usage: proxy --listen ADDRESS:PORT --upstream HOST:PORT (--cert FILE --key FILE | --self-signed)
       [--connections N] [--handshake SECONDS] [--connect SECONDS] [--idle SECONDS] [--grace SECONDS]";

/// Bytes on their way, in each direction: as many as fit into a record of TLS.
const ROOM: usize = 16 * 1024;

struct Options {
    listen: String,
    upstream: String,
    identity: Identity,
    connections: usize,
    limits: Limits,
}

enum Identity {
    SelfSigned,
    Files { certificate: String, key: String },
}

/// How long things may take.
#[derive(Clone, Copy)]
struct Limits {
    handshake: Duration,
    connect: Duration,
    /// Without a byte in any direction.
    idle: Duration,
    /// From Ctrl-C to the end.
    grace: Duration,
}

fn options(mut args: impl Iterator<Item = String>) -> Option<Options> {
    let (mut listen, mut upstream, mut certificate, mut key, mut self_signed) = (None, None, None, None, false);
    let mut connections = 1000;
    let mut limits = Limits {
        handshake: Duration::from_secs(10),
        connect: Duration::from_secs(10),
        idle: Duration::from_secs(300),
        grace: Duration::from_secs(10),
    };
    while let Some(arg) = args.next() {
        if arg == "--self-signed" {
            self_signed = true;
            continue;
        }
        let value = args.next()?;
        let seconds = || Duration::try_from_secs_f64(value.parse().ok()?).ok();
        match &*arg {
            "--listen" => listen = Some(value),
            "--upstream" => upstream = Some(value),
            "--cert" => certificate = Some(value),
            "--key" => key = Some(value),
            "--connections" => connections = value.parse().ok().filter(|n| *n > 0)?,
            "--handshake" => limits.handshake = seconds()?,
            "--connect" => limits.connect = seconds()?,
            "--idle" => limits.idle = seconds()?,
            "--grace" => limits.grace = seconds()?,
            _ => return None,
        }
    }
    let identity = match (certificate, key, self_signed) {
        (None, None, true) => Identity::SelfSigned,
        (Some(certificate), Some(key), false) => Identity::Files { certificate, key },
        _ => return None,
    };
    Some(Options {
        listen: listen?,
        upstream: upstream?,
        identity,
        connections,
        limits,
    })
}

/// What the proxy shows to its clients. A certificate that it has made itself it prints, for those who are to trust it.
fn tls(identity: &Identity) -> Result<ServerConfig, Box<dyn Error>> {
    let (chain, key) = match identity {
        Identity::SelfSigned => {
            let signed = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()])?;
            services::print(&signed.cert.pem())?;
            let key = PrivateKeyDer::try_from(signed.signing_key.serialize_der())?;
            (vec![signed.cert.der().clone()], key)
        }
        Identity::Files { certificate, key } => {
            let chain = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect);
            let chain = chain.map_err(|error| format!("{certificate}: {error}"))?;
            let key = PrivateKeyDer::from_pem_file(key).map_err(|error| format!("{key}: {error}"))?;
            (chain, key)
        }
    };
    Ok(ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key)?)
}

/// What all connections share.
struct Proxy {
    tls: Arc<ServerConfig>,
    upstream: String,
    limits: Limits,
}

impl Proxy {
    /// Takes connections, as many at a time as there are slots, until it is told to stop. The others wait in the kernel.
    fn accept(self: &Arc<Self>, listener: &TcpListener, slots: &Arc<Semaphore>, stop: &Cond) -> io::Result<()> {
        let mut backoff = AcceptBackoff::new();
        loop {
            let slot = select! {
                biased;
                <-stop => return Ok(()),
                slot = slots.clone().acquire_owned_op() => slot.expect("it is never closed"),
            };
            let accepted = select! {
                accepted = listener.accept_op() => accepted,
                <-stop => return Ok(()),
            };
            match accepted {
                Ok((client, peer)) => {
                    backoff.reset();
                    let proxy = self.clone();
                    go!(spread; {
                        if let Err(error) = proxy.forward(&client) {
                            eprintln!("{peer}: {error}");
                        }
                        drop((client, slot));
                    });
                }
                Err(error) => backoff.wait(error)?,
            }
        }
    }

    fn forward(&self, client: &TcpStream) -> io::Result<()> {
        let Limits { handshake, connect, .. } = self.limits;
        let mut tls = ServerConnection::new(self.tls.clone()).map_err(io::Error::other)?;
        tls.complete_io(&mut client.with_deadline(Instant::now() + handshake))
            .map_err(|error| because("handshake", &error))?;
        let upstream = match TcpStream::connect_timeout(&self.upstream, connect) {
            Ok(upstream) => upstream,
            Err(error) => {
                // An end without an answer, but an honest one.
                tls.send_close_notify();
                tls.complete_io(&mut client.with_deadline(Instant::now() + handshake))?;
                return Err(because(&self.upstream, &error));
            }
        };
        client.set_nodelay(true)?;
        upstream.set_nodelay(true)?;
        Session::new(tls, client, &upstream).run(self.limits.idle)
    }
}

fn because(what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

/// A connection, from the handshake to its end.
struct Session<'a> {
    tls: ServerConnection,
    client: &'a TcpStream,
    upstream: &'a TcpStream,
    /// From the client, decrypted, and what of it is still to be written.
    inward: Box<[u8]>,
    unsent: Range<usize>,
    /// From the upstream. What has been read is encrypted at once.
    outward: Box<[u8]>,
    client_has_ended: bool,
    upstream_has_ended: bool,
    /// The upstream takes nothing any more, though it may have more to say.
    upstream_is_deaf: bool,
}

impl<'a> Session<'a> {
    fn new(tls: ServerConnection, client: &'a TcpStream, upstream: &'a TcpStream) -> Self {
        Session {
            tls,
            client,
            upstream,
            inward: vec![0; ROOM].into(),
            unsent: 0..0,
            outward: vec![0; ROOM].into(),
            client_has_ended: false,
            upstream_has_ended: false,
            upstream_is_deaf: false,
        }
    }

    /// Forwards until both directions have ended.
    fn run(mut self, idle: Duration) -> io::Result<()> {
        // In force if this ends in any other way than the good one.
        self.upstream.set_linger(Some(Duration::ZERO))?;
        self.take_decrypted()?;
        while !self.is_over() {
            let (has_inward, has_outward) = (!self.unsent.is_empty(), self.tls.wants_write());
            select! {
                ready = self.client.readable_op() if !has_inward && !self.client_has_ended => {
                    ready?;
                    self.receive()?;
                }
                count = self.upstream.write_op(&self.inward[self.unsent.clone()]) if has_inward => self.has_sent(count)?,
                count = self.upstream.read_op(&mut self.outward) if !has_outward && !self.upstream_has_ended => {
                    self.encrypt(count?)?;
                }
                ready = self.client.writable_op() if has_outward => {
                    ready?;
                    self.send()?;
                }
                _ = time::sleep_op(idle) => return Err(io::Error::new(ErrorKind::TimedOut, "no byte for too long")),
            }
        }
        self.upstream.set_linger(None)
    }

    fn is_over(&self) -> bool {
        self.client_has_ended && self.upstream_has_ended && self.unsent.is_empty() && !self.tls.wants_write()
    }

    /// Reads some of what the client has sent.
    fn receive(&mut self) -> io::Result<()> {
        self.tls.read_tls(&mut self.client)?;
        if let Err(error) = self.tls.process_new_packets() {
            // Says what is wrong with it, if there is room for that.
            let _ = self.send();
            return Err(io::Error::new(ErrorKind::InvalidData, error));
        }
        self.take_decrypted()
    }

    /// Refills `inward`. As long as this finds something, no more is read from the client.
    fn take_decrypted(&mut self) -> io::Result<()> {
        match self.tls.reader().read(&mut self.inward) {
            Ok(0) => {
                self.client_has_ended = true;
                // Fails if the connection is over, and then there is nobody to be told.
                let _ = self.upstream.shutdown(Shutdown::Write);
                Ok(())
            }
            Ok(_) if self.upstream_is_deaf => self.take_decrypted(),
            Ok(count) => {
                self.unsent = 0..count;
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(because("client", &error)),
        }
    }

    fn has_sent(&mut self, count: io::Result<usize>) -> io::Result<()> {
        match count {
            Ok(count) => self.unsent.start += count,
            Err(_) => {
                // Its answer may be on its way all the same: "too large", for example.
                self.upstream_is_deaf = true;
                self.unsent = 0..0;
            }
        }
        match self.unsent.is_empty() {
            true => self.take_decrypted(),
            false => Ok(()),
        }
    }

    /// What was read from the upstream becomes TLS; none is the end.
    fn encrypt(&mut self, count: usize) -> io::Result<()> {
        if count == 0 {
            self.upstream_has_ended = true;
            self.tls.send_close_notify();
        }
        self.tls.writer().write_all(&self.outward[..count])
    }

    fn send(&mut self) -> io::Result<()> {
        self.tls.write_tls(&mut self.client)?;
        if self.upstream_has_ended && !self.tls.wants_write() {
            let _ = self.client.shutdown(Shutdown::Write);
        }
        Ok(())
    }
}

fn serve(options: Options) -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind(&options.listen).map_err(|error| because(&options.listen, &error))?;
    let stop = fibers_examples::stop_on_signal()?;
    let proxy = Arc::new(Proxy {
        tls: Arc::new(tls(&options.identity)?),
        upstream: options.upstream,
        limits: options.limits,
    });
    eprintln!("listening on {}", listener.local_addr()?);
    let slots = Arc::new(Semaphore::new(options.connections));
    proxy.accept(&listener, &slots, &stop)?;
    drop(listener);
    let open = options.connections - slots.available();
    eprintln!("ending; {open} connections are open");
    // Those that are left then are torn down with the runtime.
    select! {
        _ = slots.acquire_many_op(options.connections) => {}
        _ = time::sleep_op(options.limits.grace) => eprintln!("some are torn down"),
    }
    Ok(())
}

#[fibers::main]
fn main() -> ExitCode {
    services::program("proxy", USAGE, options, serve)
}
