//! The seam through which tests make system calls fail. Not part of the crate's API.
//!
//! A fault applies to one kind of call: it lets `after` calls pass, spoils the next `times`, and is spent. Faults of the
//! same kind apply one after the other, in the order in which they were injected. [`inject`] reaches every thread of the
//! process, [`scoped`] only the calling one, so that tests of one process do not meet each other's faults.
//!
//! With no fault injected a call pays for one relaxed load.

use std::io;
// Not by way of `prim`, which stands beside this module, not below it.
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::{Duration, SystemTime};

/// The kinds of system calls that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Call {
    /// Mapping memory.
    Mmap,
    /// Unmapping memory.
    Munmap,
    /// Advice about memory, except [`Call::MadviseGuard`].
    Madvise,
    /// Advice about many ranges at once: `ENOSYS` is what an old kernel does, and leads to [`Call::Madvise`] for each.
    ProcessMadvise,
    /// `MADV_GUARD_INSTALL`: failing with `EINVAL` is what a kernel before 6.13 does, and leads to the `mprotect` guards.
    MadviseGuard,
    /// Taking away the access to memory.
    Mprotect,
    /// Setting or asking for the alternate signal stack.
    Sigaltstack,
    /// Setting or asking for a signal handler.
    Sigaction,
    /// Creating an eventfd.
    Eventfd,
    /// Creating an epoll instance.
    EpollCreate,
    /// Adding, changing and deleting what an epoll instance watches.
    EpollCtl,
    /// Waiting with nanoseconds: `ENOSYS` is what a kernel before 5.11 does, and leads to [`Call::EpollWait`].
    EpollPwait2,
    /// Waiting with milliseconds.
    EpollWait,
    /// Reading from a descriptor.
    Read,
    /// Writing to a descriptor.
    Write,
    /// Closing a descriptor.
    Close,
    /// Creating a socket.
    Socket,
    /// Giving an address to a socket.
    Bind,
    /// Making a socket listen.
    Listen,
    /// Connecting a socket.
    Connect,
    /// Taking a connection.
    Accept,
    /// Asking the system for the addresses of a name.
    LookUp,
    /// Receiving from a socket.
    RecvMsg,
    /// Sending to a socket.
    SendMsg,
    /// Asking for or setting an option of a socket.
    SocketOption,
    /// Asking whether a descriptor is ready, without waiting.
    Poll,
    /// Asking for or setting the flags of a descriptor.
    Fcntl,
    /// Asking what a descriptor is.
    Fstat,
    /// Opening a standard descriptor anew.
    Open,
    /// Asking for the CPUs that a thread may use.
    GetAffinity,
    /// Setting the CPUs that a thread may use.
    SetAffinity,
    /// Asking for the CPU that the thread runs on.
    GetCpu,
    /// Asking for the CPU time that a thread has used.
    CpuTime,
    /// Asking whether a thread is blocked.
    ThreadState,
    /// Setting the timer slack.
    TimerSlack,
    /// Creating a thread.
    Thread,
    /// Counting the threads of the process.
    ThreadCount,
    /// Asking for random bytes.
    GetRandom,
    /// A descriptor for a process.
    PidfdOpen,
    /// Sending a signal to the process of a descriptor.
    PidfdSendSignal,
    /// Sending a signal to a group of processes.
    Kill,
    /// Creating and arming a timer of the wall clock.
    Timerfd,
    /// Sending from a file: `EINVAL` leads to reads and writes.
    SendFile,
    /// Moving bytes through a pipe: `EINVAL` leads to reads and writes.
    Splice,
    /// Reading what needs no waiting for a disk: `EAGAIN` leads to the pool for blocking calls.
    ReadCached,
}

/// How calls are to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// So many calls pass unharmed first.
    pub after: u64,
    /// So many calls are spoiled then; `u64::MAX` for all.
    pub times: u64,
    /// The error of a spoiled call, as `errno` has it. A negative `-n` is no error: the call transfers at most n bytes. See also
    /// [`Fault::hang`].
    pub errno: i32,
}

/// In the place of an error: the call does not come back.
const HANG: i32 = i32::MIN;

impl Fault {
    /// Every call fails with `errno`.
    #[must_use]
    pub const fn always(errno: i32) -> Fault {
        Fault {
            after: 0,
            times: u64::MAX,
            errno,
        }
    }

    /// No call comes back before the fault is removed; then it is made.
    #[must_use]
    pub const fn hang() -> Fault {
        Fault::always(HANG)
    }

    /// Every read or write transfers at most `bytes` bytes (at least 1).
    #[must_use]
    pub const fn short(bytes: u32) -> Fault {
        Fault::always(if bytes == 0 { -1 } else { -(bytes as i32) })
    }
}

#[derive(Debug)]
struct Plan {
    call: Call,
    fault: Fault,
    /// None: calls of every thread.
    thread: Option<ThreadId>,
    id: u64,
}

#[derive(Debug)]
struct Plans {
    list: Vec<Plan>,
    next_id: u64,
}

static PLANS: Mutex<Plans> = Mutex::new(Plans {
    list: Vec::new(),
    next_id: 0,
});

/// For the calls that hang: `PLANS` has changed.
static CHANGED: Condvar = Condvar::new();

/// Whether `PLANS` holds anything. Relaxed suffices: whoever injects a fault and expects another thread to meet it has to
/// synchronise with that thread anyway.
static ARMED: AtomicBool = AtomicBool::new(false);

/// From now on calls of this kind fail as `fault` says, on whatever thread.
pub fn inject(call: Call, fault: Fault) {
    add(call, fault, None);
}

/// As [`inject`], for calls of the current thread only and until the result is dropped.
pub fn scoped(call: Call, fault: Fault) -> Scoped {
    Scoped {
        id: add(call, fault, Some(thread::current().id())),
    }
}

/// How far the wall clock is from what the system says, in seconds.
static WALL_CLOCK_OFFSET: AtomicI64 = AtomicI64::new(0);

/// Sets the wall clock, as this crate sees it, forward by so many seconds, or back. Does not tell those who wait that it was set:
/// see `time::alarm::wall_clock_was_set`.
pub fn shift_wall_clock(seconds: i64) {
    WALL_CLOCK_OFFSET.fetch_add(seconds, Ordering::SeqCst);
}

/// What the wall clock shows when the system says `now`.
pub(super) fn wall_clock(now: SystemTime) -> SystemTime {
    let offset = WALL_CLOCK_OFFSET.load(Ordering::SeqCst);
    let by = Duration::from_secs(offset.unsigned_abs());
    if offset < 0 { now - by } else { now + by }
}

/// Removes all faults.
pub fn clear() {
    update(|plans| plans.list.clear());
}

/// A fault that is removed when this is dropped.
#[must_use = "the fault is removed when this is dropped"]
#[derive(Debug)]
pub struct Scoped {
    id: u64,
}

impl Drop for Scoped {
    fn drop(&mut self) {
        update(|plans| plans.list.retain(|plan| plan.id != self.id));
    }
}

fn plans() -> MutexGuard<'static, Plans> {
    PLANS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn update<R>(change: impl FnOnce(&mut Plans) -> R) -> R {
    let mut plans = plans();
    let result = change(&mut plans);
    ARMED.store(!plans.list.is_empty(), Ordering::Relaxed);
    CHANGED.notify_all();
    result
}

fn add(call: Call, fault: Fault, thread: Option<ThreadId>) -> u64 {
    update(|plans| {
        let id = plans.next_id;
        plans.next_id += 1;
        plans.list.push(Plan { call, fault, thread, id });
        id
    })
}

/// What a call that transfers nothing asks before it happens.
#[inline]
pub(super) fn check(call: Call) -> io::Result<()> {
    limit(call, 0).map(drop)
}

/// How much of `len` a call may transfer.
#[inline]
pub(super) fn limit(call: Call, len: usize) -> io::Result<usize> {
    if ARMED.load(Ordering::Relaxed) {
        spoil(call, len)
    } else {
        Ok(len)
    }
}

#[cold]
fn spoil(call: Call, len: usize) -> io::Result<usize> {
    let thread = thread::current().id();
    let hit = plans().list.iter_mut().find_map(|plan| plan.meets(call, thread));
    match hit {
        None => Ok(len),
        Some((id, HANG)) => {
            hang(id);
            Ok(len)
        }
        Some((_, errno)) if errno < 0 => Ok(len.min(errno.unsigned_abs() as usize)),
        Some((_, errno)) => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// Returns when this fault has been removed.
fn hang(id: u64) {
    let mut plans = plans();
    while plans.list.iter().any(|plan| plan.id == id) {
        plans = CHANGED.wait(plans).unwrap_or_else(PoisonError::into_inner);
    }
}

impl Plan {
    /// Counts this call; by which fault and how if it is to be spoiled.
    fn meets(&mut self, call: Call, thread: ThreadId) -> Option<(u64, i32)> {
        let mine = self.thread.is_none_or(|only| only == thread);
        if self.call != call || !mine || self.fault.times == 0 {
            return None;
        }
        if self.fault.after > 0 {
            self.fault.after -= 1;
            return None;
        }
        if self.fault.times != u64::MAX {
            self.fault.times -= 1;
        }
        Some((self.id, self.fault.errno))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_passes_some_spoils_some_and_is_spent() {
        let _fault = scoped(
            Call::GetRandom,
            Fault {
                after: 1,
                times: 2,
                errno: libc::EIO,
            },
        );
        let results: Vec<bool> = (0..5).map(|_| check(Call::GetRandom).is_ok()).collect();
        assert_eq!(results, [true, false, false, true, true]);
        assert!(check(Call::Munmap).is_ok());
    }

    #[test]
    fn a_scoped_fault_stays_on_its_thread_and_ends_with_its_scope() {
        let fault = scoped(Call::GetRandom, Fault::always(libc::EIO));
        assert_eq!(check(Call::GetRandom).unwrap_err().raw_os_error(), Some(libc::EIO));
        assert!(thread::spawn(|| check(Call::GetRandom).is_ok()).join().unwrap());
        drop(fault);
        assert!(check(Call::GetRandom).is_ok());
    }

    #[test]
    fn a_call_that_hangs_goes_on_when_the_fault_is_removed() {
        let (tell, told) = std::sync::mpsc::channel();
        let (done, over) = std::sync::mpsc::channel();
        let thread = thread::spawn(move || {
            tell.send(scoped(Call::GetRandom, Fault::hang())).unwrap();
            done.send(check(Call::GetRandom).is_ok()).unwrap();
        });
        let fault = told.recv().unwrap();
        assert!(over.recv_timeout(Duration::from_millis(5)).is_err());
        drop(fault);
        assert_eq!(over.recv(), Ok(true));
        thread.join().unwrap();
    }

    #[test]
    fn a_short_transfer_is_no_error() {
        let _fault = scoped(Call::Read, Fault::short(3));
        assert_eq!(limit(Call::Read, 10).unwrap(), 3);
        assert_eq!(limit(Call::Read, 2).unwrap(), 2);
    }
}
