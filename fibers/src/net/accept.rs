//! What a server does about errors of `accept`.

use crate::io::Closed;
use crate::time;
use std::io;
use std::time::Duration;

/// The first pause, and the longest: as in Go's `net/http`.
const FIRST: Duration = Duration::from_millis(5);
const LONGEST: Duration = Duration::from_secs(1);

/// How a server goes on after a failed `accept`: at once if only that connection has failed, after a pause if the process or the
/// system has run out of something, and not at all otherwise.
///
/// A connection that cannot be taken because there is no descriptor for it stays where it is, so a loop without a pause would
/// spin. The pauses grow from 5 ms to 1 s, until a connection is taken.
///
/// ```no_run
/// use fibers::{fiber::Builder, net::{AcceptBackoff, TcpListener}};
/// fibers::run(|| -> std::io::Result<()> {
///     let listener = TcpListener::bind("127.0.0.1:7000")?;
///     let mut backoff = AcceptBackoff::new();
///     loop {
///         match listener.accept() {
///             Ok((stream, _)) => {
///                 backoff.reset();
///                 Builder::new().spread().spawn(move || drop(stream))?;
///             }
///             Err(error) => backoff.wait(error)?,
///         }
///     }
/// });
/// ```
#[derive(Clone, Debug, Default)]
pub struct AcceptBackoff {
    /// The last pause; none since the last success.
    last: Option<Duration>,
}

impl AcceptBackoff {
    /// Nothing has gone wrong yet.
    pub fn new() -> Self {
        AcceptBackoff::default()
    }

    /// A connection has been taken: the next pause is short again.
    pub fn reset(&mut self) {
        self.last = None;
    }

    /// Waits for as long as the error asks for.
    ///
    /// # Errors
    /// Gives the error back if it will not go away.
    ///
    /// # Blocking
    /// Suspends the fiber, or blocks the thread.
    pub fn wait(&mut self, error: io::Error) -> io::Result<()> {
        let pause = self.pause(error)?;
        if !pause.is_zero() {
            time::sleep(pause);
        }
        Ok(())
    }

    /// How long to wait, for those who wait in a `select!`.
    ///
    /// # Errors
    /// Gives the error back if it will not go away.
    pub fn pause(&mut self, error: io::Error) -> io::Result<Duration> {
        if error.get_ref().is_some_and(|cause| cause.is::<Closed>()) {
            return Err(error);
        }
        match error.raw_os_error() {
            Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
                let pause = self.last.map_or(FIRST, |last| (last * 2).min(LONGEST));
                self.last = Some(pause);
                Ok(pause)
            }
            // Of one connection; accept(2) says which errors of the network come through.
            Some(
                libc::ECONNABORTED
                | libc::EPERM
                | libc::ENETDOWN
                | libc::EPROTO
                | libc::ENOPROTOOPT
                | libc::EHOSTDOWN
                | libc::ENONET
                | libc::EHOSTUNREACH
                | libc::ENETUNREACH
                | libc::ETIMEDOUT,
            ) => Ok(Duration::ZERO),
            _ => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn os(errno: i32) -> io::Error {
        io::Error::from_raw_os_error(errno)
    }

    #[test]
    fn pauses_grow_from_5_ms_to_1_s_and_begin_anew() {
        let mut backoff = AcceptBackoff::new();
        let millis: Vec<_> = (0..10)
            .map(|_| backoff.pause(os(libc::EMFILE)).unwrap().as_millis())
            .collect();
        assert_eq!(millis, [5, 10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
        backoff.reset();
        assert_eq!(backoff.pause(os(libc::ENFILE)).unwrap(), FIRST);
    }

    #[test]
    fn a_connection_that_has_failed_is_no_reason_to_pause_and_a_broken_listener_is_one_to_end() {
        let mut backoff = AcceptBackoff::new();
        assert_eq!(backoff.pause(os(libc::ECONNABORTED)).unwrap(), Duration::ZERO);
        assert_eq!(backoff.pause(os(libc::EBADF)).unwrap_err().raw_os_error(), Some(libc::EBADF));
        assert!(backoff.wait(io::Error::new(io::ErrorKind::NotConnected, Closed)).is_err());
    }
}
