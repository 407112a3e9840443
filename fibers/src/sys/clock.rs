//! The wall clock, and how one learns that it was set.
#![expect(unsafe_code, reason = "times are handed to the kernel")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;
use std::time::SystemTime;

use super::check;

/// What the wall clock shows.
pub(crate) fn wall_clock() -> SystemTime {
    let now = SystemTime::now();
    #[cfg(any(test, feature = "fault-injection"))]
    let now = super::fault::wall_clock(now);
    now
}

/// A timer of the wall clock, not armed.
pub(crate) fn wall_timer() -> io::Result<OwnedFd> {
    seam!(Timerfd);
    // SAFETY: creates a descriptor and touches no memory.
    let fd = check(unsafe { libc::timerfd_create(libc::CLOCK_REALTIME, libc::TFD_CLOEXEC | libc::TFD_NONBLOCK) })?;
    // SAFETY: the kernel has just given the descriptor to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Lets the timer become readable when the wall clock is set, and (practically) never by itself.
pub(crate) fn arm_for_jumps(timer: BorrowedFd<'_>) -> io::Result<()> {
    /// With TFD_TIMER_ABSTIME, not in every version of the C library's headers.
    const TFD_TIMER_CANCEL_ON_SET: i32 = 1 << 1;
    seam!(Timerfd);
    let mut never = libc::itimerspec {
        it_interval: libc::timespec { tv_sec: 0, tv_nsec: 0 },
        it_value: libc::timespec { tv_sec: 0, tv_nsec: 0 },
    };
    never.it_value.tv_sec = libc::time_t::from(i32::MAX) * 4; // in the year 2242
    let flags = libc::TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET;
    // SAFETY: `never` lives across the call, and no old value is asked for.
    check(unsafe { libc::timerfd_settime(timer.as_raw_fd(), flags, &never, ptr::null_mut()) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fault::{Call, Fault, scoped};
    use std::os::fd::AsFd;

    /// The kernel takes the flag, and the timer is silent as long as nobody sets the clock.
    #[test]
    fn a_timer_for_jumps_alone() {
        let timer = wall_timer().unwrap();
        arm_for_jumps(timer.as_fd()).unwrap();
        arm_for_jumps(timer.as_fd()).unwrap();
        let silent = crate::sys::read(timer.as_fd(), &mut [0; 8]).unwrap_err();
        assert_eq!(silent.kind(), io::ErrorKind::WouldBlock);
        let _fault = scoped(Call::Timerfd, Fault::always(libc::EMFILE));
        assert!(wall_timer().is_err() && arm_for_jumps(timer.as_fd()).is_err());
    }
}
