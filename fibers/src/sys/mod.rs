//! The one place that talks to the operating system.
//!
//! Every call of the crate into libc stands in this module, wrapped so that the rest of the crate sees `io::Result` and
//! owned or borrowed descriptors, never `errno`. Each call passes the seam `fault`, through which a test can make it fail.
//! Without the feature `fault-injection` the seam does not exist in the compiled code.
//!
//! Interrupted calls (`EINTR`) are repeated here where repeating is right: for reading and writing, not for closing (the
//! descriptor is gone all the same) and not for waiting (the poller takes an interruption for an early wake).
#![expect(unsafe_code, reason = "this module is the border to libc")]

/// Lets a test fail the named call, with `?`, at this place.
macro_rules! seam {
    ($call:ident) => {
        #[cfg(any(test, feature = "fault-injection"))]
        $crate::sys::fault::check($crate::sys::fault::Call::$call)?;
    };
}

/// How many of the `len` bytes the named call may transfer: all of them, unless a test wants fewer, or a failure.
macro_rules! seam_len {
    ($call:ident, $len:expr) => {{
        #[cfg(any(test, feature = "fault-injection"))]
        let len = $crate::sys::fault::limit($crate::sys::fault::Call::$call, $len)?;
        #[cfg(not(any(test, feature = "fault-injection")))]
        let len = $len;
        len
    }};
}

mod clock;
#[cfg(any(test, feature = "fault-injection"))]
pub mod fault;
mod fd;
mod memory;
mod process;
mod signal;
pub(crate) mod socket;
mod thread;

pub(crate) use clock::{arm_for_jumps, wall_clock, wall_timer};
pub(crate) use fd::{
    EpollEvent, Kind, Ready, epoll_add, epoll_create, epoll_delete, epoll_modify, epoll_wait, eventfd, is_file, is_ready, kind,
    read, read_cached, reopen, send_file, set_nonblocking, splice, wait_ready, write,
};
pub(crate) use memory::{
    Advice, address_space_limit, advise, advise_all, map, map_aligned, page_size, protect_none, read_setting,
    refuses_unknown_advice, unmap,
};
pub(crate) use process::{
    at_exit, kill_group, pidfd_open, pidfd_send_signal, send_signal, set_parent_death_signal, wait_for_end,
};
pub(crate) use signal::{
    AlternateStack, SignalAction, abort, alternate_stack, default_again, forward_signal, keep_errno, min_signal_stack, poke,
    process_id, set_action, signal_action, write_stderr,
};
pub(crate) use thread::{CpuSet, Pulse, affinity, entropy, set_affinity, set_timer_slack, spawn_thread, thread_count};

use std::io;

/// Nanoseconds of the monotonic clock: the only place of the crate that reads a clock.
pub(crate) fn monotonic_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a valid place for the result, and CLOCK_MONOTONIC exists on every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// The result of a call that reports failure by -1 and `errno`.
fn check<T: Copy + PartialEq + From<i8>>(result: T) -> io::Result<T> {
    if result == T::from(-1) {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// Repeats a call for as long as signals interrupt it.
fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_moves_forward() {
        let before = monotonic_ns();
        std::thread::sleep(std::time::Duration::from_millis(2));
        assert!(monotonic_ns() - before >= 2_000_000);
    }

    #[test]
    fn interruptions_are_repeated_and_other_errors_are_not() {
        let mut calls = 0;
        let result = uninterrupted(|| {
            calls += 1;
            match calls {
                1 | 2 => Err(io::Error::from_raw_os_error(libc::EINTR)),
                _ => Err::<(), _>(io::Error::from_raw_os_error(libc::EIO)),
            }
        });
        assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::EIO));
        assert_eq!(calls, 3);
    }
}
