//! Child processes: descriptors for them, signals to them, and what they do before they become their program.
#![expect(
    unsafe_code,
    reason = "system calls without a function in the C library, and code between fork and exec"
)]

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::ptr;

use super::{check, uninterrupted};

/// Has `f` called when this process exits: by `exit`, or by the end of `main`.
pub(crate) fn at_exit(f: extern "C" fn()) -> io::Result<()> {
    // SAFETY: a function that takes nothing and lives for ever; unwinding out of it would abort.
    match unsafe { libc::atexit(f) } {
        0 => Ok(()),
        _ => Err(io::ErrorKind::OutOfMemory.into()),
    }
}

/// A descriptor for a process, readable once it has ended. The caller owns the process: it is a child that nobody has waited for.
pub(crate) fn pidfd_open(pid: u32) -> io::Result<OwnedFd> {
    seam!(PidfdOpen);
    // SAFETY: creates a descriptor and touches no memory.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0_u32) })?;
    // SAFETY: the kernel has just given the descriptor to us alone. It closes on exec, as every pidfd does.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Returns when a child has ended, or is none of ours any more. Blocks the thread. Its status is left to be asked for.
pub(crate) fn wait_for_end(child: u32) {
    let waited = uninterrupted(|| {
        // SAFETY: of plain numbers, which may be zero.
        let mut info: libc::siginfo_t = unsafe { mem::zeroed() };
        // SAFETY: `info` is a place for the answer.
        check(unsafe { libc::waitid(libc::P_PID, child, &mut info, libc::WEXITED | libc::WNOWAIT) })
    });
    // An error: somebody has asked for the status already.
    drop(waited);
}

/// Sends a signal to the very process of the descriptor, also when its number belongs to another one by now (`ESRCH`).
pub(crate) fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    seam!(PidfdSendSignal);
    // SAFETY: no information goes with the signal, so no memory is involved.
    check(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            ptr::null::<libc::siginfo_t>(),
            0_u32,
        )
    })
    .map(drop)
}

/// Sends a signal to every process of a group.
pub(crate) fn kill_group(group: u32, signal: i32) -> io::Result<()> {
    seam!(Kill);
    let group = libc::pid_t::try_from(group).map_err(|_| io::Error::from_raw_os_error(libc::ESRCH))?;
    if group <= 1 {
        return Err(io::Error::from_raw_os_error(libc::ESRCH)); // 0 is the own group, 1 (negated) everybody
    }
    // SAFETY: no memory is involved.
    check(unsafe { libc::kill(-group, signal) }).map(drop)
}

/// Sends a signal to a process that the caller knows to exist, such as this one.
pub(crate) fn send_signal(process: u32, signal: i32) -> io::Result<()> {
    seam!(Kill);
    // SAFETY: no memory is involved.
    check(unsafe { libc::kill(process.cast_signed(), signal) }).map(drop)
}

/// Lets children of `command` receive `signal` when the thread that has spawned them ends.
pub(crate) fn set_parent_death_signal(command: &mut Command, signal: i32) {
    let parent = std::process::id();
    let prepare = move || {
        // SAFETY: sets an attribute of the process; no memory is involved.
        check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal as libc::c_ulong) })?;
        // If the parent has died before that, no signal will come.
        // SAFETY: no requirement.
        match unsafe { libc::getppid() }.cast_unsigned() == parent {
            true => Ok(()),
            false => Err(io::Error::from_raw_os_error(libc::ESRCH)),
        }
    };
    // SAFETY: between fork and exec `prepare` makes two system calls that are async-signal-safe, and allocates nothing.
    unsafe { command.pre_exec(prepare) };
}
