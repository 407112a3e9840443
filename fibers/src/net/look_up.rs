//! Asking the system for the addresses of a name.
//!
//! The system's look-up knows no deadline. Whoever has one gives the look-up up when the time is over, and its thread goes on until
//! the system does. So look-ups are counted: some of the pool's threads are always left for others, whatever name servers do;
//! and once all look-ups that there may be have been given up, a new one is an error, which says so, and does not wait for them.

use super::socket::timed_out;
use crate::prim::Arc;
use crate::prim::plain::{AtomicBool, AtomicUsize, Ordering};
use crate::sync::{Permit, Semaphore};
use crate::{Op, blocking_op, channel, op, sched, sys, time};
use std::io;
use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::Instant;

/// So many look-ups at a time, in the whole process: half of the threads that a runtime's pool has by default.
const AT_A_TIME: usize = 32;

static LOOK_UPS: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(AT_A_TIME));

/// How many of those that are under way nobody waits for any more.
static GIVEN_UP: AtomicUsize = AtomicUsize::new(0);

/// # Errors
/// Those of the system; `TimedOut`; `ResourceBusy` if all look-ups that there may be hang.
pub(super) fn look_up(host: String, port: u16, deadline: Option<Instant>) -> io::Result<Vec<SocketAddr>> {
    if GIVEN_UP.load(Ordering::Relaxed) >= AT_A_TIME {
        return Err(all_hang(&host));
    }
    let permit = LOOK_UPS.acquire_op().wrap(|permit| Ok(permit.expect("nobody closes it")));
    let (caller, work) = halves(in_time(permit, deadline)?);
    let call = move || {
        let _work = work;
        sys::socket::look_up(&host, port)
    };
    let found = match (sched::here(), deadline) {
        // Outside of a runtime there is no pool.
        (None, None) => call(),
        (None, Some(_)) => on_a_thread(call, deadline),
        _ => in_time(blocking_op(call).wrap(Result::flatten), deadline),
    };
    drop(caller);
    found
}

/// What the operation brings, if it does in time.
fn in_time<T>(op: impl Op<Output = io::Result<T>>, deadline: Option<Instant>) -> io::Result<T> {
    let Some(deadline) = deadline else {
        return op.perform();
    };
    let late = time::sleep_until_op(deadline).wrap(|()| Err(timed_out()));
    op::biased((op, late)).perform()
}

/// A thread can only give up what another one does.
fn on_a_thread<T: Send + 'static>(
    call: impl FnOnce() -> io::Result<T> + Send + 'static,
    deadline: Option<Instant>,
) -> io::Result<T> {
    let (tx, rx) = channel(1);
    // Nobody may want it any more.
    sys::spawn_thread("fibers-look-up".into(), move || drop(tx.try_send(call())))?;
    let found = rx
        .recv_op()
        .wrap(|found| found.unwrap_or_else(|_| Err(io::Error::other("the look-up has panicked"))));
    in_time(found, deadline)
}

#[cold]
fn all_hang(host: &str) -> io::Error {
    let message = format!(
        "cannot look up {host:?}: {AT_A_TIME} look-ups of before were given up and still hang (does the name server answer?)"
    );
    io::Error::new(io::ErrorKind::ResourceBusy, message)
}

/// Held by whoever wants the addresses.
struct Caller(Arc<AtomicBool>);

/// Held by the call, begun or not.
struct Work {
    other_has_left: Arc<AtomicBool>,
    _permit: Permit<'static>,
}

fn halves(permit: Permit<'static>) -> (Caller, Work) {
    let one_has_left = Arc::new(AtomicBool::new(false));
    let caller = Caller(one_has_left.clone());
    let work = Work {
        other_has_left: one_has_left,
        _permit: permit,
    };
    (caller, work)
}

impl Drop for Caller {
    fn drop(&mut self) {
        // Before the call can take it back.
        GIVEN_UP.fetch_add(1, Ordering::Relaxed);
        if self.0.swap(true, Ordering::AcqRel) {
            GIVEN_UP.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if self.other_has_left.swap(true, Ordering::AcqRel) {
            GIVEN_UP.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
