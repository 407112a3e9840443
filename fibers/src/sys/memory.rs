//! Memory mappings, and the limits of the machine that bound them.
#![expect(unsafe_code, reason = "mapped memory is raw memory")]

use std::fs;
use std::io;
use std::ptr::{self, NonNull};
use std::sync::OnceLock;
// Not by way of `prim`, which stands beside this module, not below it.
use std::sync::atomic::{AtomicBool, Ordering};

use super::check;

/// Since Linux 6.13. Marks pages so that every access faults, in the page tables: unlike `mprotect` without splitting the
/// mapping. The marks survive `MADV_DONTNEED`.
const MADV_GUARD_INSTALL: libc::c_int = 102;

/// What the kernel is told about a range of pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Advice {
    /// Never back the range by huge pages: the first touch of a stack would cost 2 MiB.
    NoHugePage,
    /// Back the range by huge pages where the system has them.
    HugePage,
    /// The contents are not needed any more: gives the memory back, the next touch finds zeros.
    DontNeed,
    /// From now on every access faults.
    GuardInstall,
}

impl Advice {
    fn number(self) -> libc::c_int {
        match self {
            Advice::NoHugePage => libc::MADV_NOHUGEPAGE,
            Advice::HugePage => libc::MADV_HUGEPAGE,
            Advice::DontNeed => libc::MADV_DONTNEED,
            Advice::GuardInstall => MADV_GUARD_INSTALL,
        }
    }
}

/// Bytes in a page.
pub(crate) fn page_size() -> usize {
    static PAGE: OnceLock<usize> = OnceLock::new();
    *PAGE.get_or_init(|| {
        // SAFETY: asks for a constant of the system.
        let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        usize::try_from(size).expect("the system knows its page size")
    })
}

/// Maps `len` bytes of zeroed memory, to be read and written, somewhere. Nothing is reserved for it before it is touched.
pub(crate) fn map(len: usize) -> io::Result<NonNull<u8>> {
    seam!(Mmap);
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_STACK;
    // SAFETY: a new anonymous mapping at an address of the kernel's choice touches no memory in use.
    let start = unsafe { libc::mmap(ptr::null_mut(), len, access, flags, -1, 0) };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(start.cast()).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))
}

/// As [`map`], at a multiple of `len`, which is a power of two pages; `huge`: on huge pages, if there are any.
pub(crate) fn map_aligned(len: usize, huge: bool) -> io::Result<NonNull<u8>> {
    let start = map(2 * len)?;
    let skipped = start.addr().get().wrapping_neg() & (len - 1);
    // SAFETY: all of it lies in the new mapping. What is cut off at its ends nobody has seen, and the advice destroys nothing. Should
    // one of them fail, the memory can be used all the same.
    unsafe {
        let aligned = start.add(skipped);
        if skipped != 0 {
            let _ = unmap(start, skipped);
        }
        let _ = unmap(aligned.add(len), len - skipped);
        if huge {
            let _ = advise(aligned, len, Advice::HugePage);
        }
        Ok(aligned)
    }
}

/// Takes a mapping away, or a part of it.
///
/// # Safety
/// The range came from [`map`] and nothing uses it any more.
pub(crate) unsafe fn unmap(start: NonNull<u8>, len: usize) -> io::Result<()> {
    seam!(Munmap);
    // SAFETY: the caller owns the range.
    check(unsafe { libc::munmap(start.as_ptr().cast(), len) }).map(drop)
}

/// Advises the kernel about a range of whole pages.
///
/// # Safety
/// The range lies within a mapping that the caller owns, and nothing relies on the contents that the advice destroys.
pub(crate) unsafe fn advise(start: NonNull<u8>, len: usize, advice: Advice) -> io::Result<()> {
    if advice == Advice::GuardInstall {
        seam!(MadviseGuard);
    } else {
        seam!(Madvise);
    }
    // SAFETY: the caller owns the range and can do without what is lost.
    check(unsafe { libc::madvise(start.as_ptr().cast(), len, advice.number()) }).map(drop)
}

/// As [`advise`], for many ranges: in one call where the kernel has that (Linux 6.15), at half the price, and with one
/// interruption of the other threads instead of one for each range.
///
/// # Errors
/// The last one; the other ranges are advised all the same.
///
/// # Safety
/// As for [`advise`], for each of the ranges.
pub(crate) unsafe fn advise_all(ranges: &[(NonNull<u8>, usize)], advice: Advice) -> io::Result<()> {
    /// The kernel takes up to 1024.
    const AT_ONCE: usize = 64;
    let mut result = Ok(());
    for ranges in ranges.chunks(AT_ONCE) {
        let mut vectors = [libc::iovec {
            iov_base: ptr::null_mut(),
            iov_len: 0,
        }; AT_ONCE];
        for (vector, (start, len)) in vectors.iter_mut().zip(ranges) {
            (vector.iov_base, vector.iov_len) = (start.as_ptr().cast(), *len);
        }
        // SAFETY: the caller's promise.
        let done = unsafe { advise_together(&vectors[..ranges.len()], advice) }.unwrap_or(0);
        for (start, len) in &ranges[done..] {
            // SAFETY: as above.
            if let Err(error) = unsafe { advise(*start, *len, advice) } {
                result = Err(error);
            }
        }
    }
    result
}

/// Advises about several ranges in one call, and returns how many of them are done.
///
/// # Safety
/// As for [`advise`].
unsafe fn advise_together(ranges: &[libc::iovec], advice: Advice) -> io::Result<usize> {
    /// The calling process itself, in place of a descriptor for it.
    const PIDFD_SELF: libc::c_int = -10_000;
    /// The kernel cannot do it: not to be asked again.
    static UNKNOWN: AtomicBool = AtomicBool::new(false);
    if ranges.len() < 2 || UNKNOWN.load(Ordering::Relaxed) {
        return Ok(0);
    }
    seam!(ProcessMadvise);
    let (first, count) = (ranges.as_ptr(), ranges.len());
    // SAFETY: the vectors are there, and the ranges behind them are the caller's.
    let advised = check(unsafe { libc::syscall(libc::SYS_process_madvise, PIDFD_SELF, first, count, advice.number(), 0) });
    match advised {
        Ok(bytes) => Ok(whole_ranges(ranges, bytes as usize)),
        Err(error) => {
            if let Some(libc::ENOSYS | libc::EBADF | libc::EPERM) = error.raw_os_error() {
                UNKNOWN.store(true, Ordering::Relaxed);
            }
            Err(error)
        }
    }
}

/// How many ranges lie wholly within the first `bytes` of them all.
fn whole_ranges(ranges: &[libc::iovec], bytes: usize) -> usize {
    let mut end = 0;
    let within = |range: &&libc::iovec| {
        end += range.iov_len;
        end <= bytes
    };
    ranges.iter().take_while(within).count()
}

/// Whether the kernel says so when it does not know an advice. Emulators (qemu-user) agree to everything and do nothing,
/// so their consent to [`Advice::GuardInstall`] is worth nothing.
pub(crate) fn refuses_unknown_advice() -> bool {
    let nonsense = libc::c_int::MAX;
    let mut page = 0u8;
    let start = ptr::from_mut(&mut page).map_addr(|address| address & !(page_size() - 1));
    // SAFETY: no kernel knows this advice, which so does nothing to the page.
    unsafe { libc::madvise(start.cast(), page_size(), nonsense) == -1 }
}

/// Makes every access to a range of whole pages fault, by splitting the mapping.
///
/// # Safety
/// The range lies within a mapping that the caller owns, and nothing uses it.
pub(crate) unsafe fn protect_none(start: NonNull<u8>, len: usize) -> io::Result<()> {
    seam!(Mprotect);
    // SAFETY: the caller owns the range, and nothing accesses it.
    check(unsafe { libc::mprotect(start.as_ptr().cast(), len, libc::PROT_NONE) }).map(drop)
}

/// A number under `/proc/sys`, such as `vm/max_map_count`; None if it cannot be read.
pub(crate) fn read_setting(name: &str) -> Option<u64> {
    fs::read_to_string(format!("/proc/sys/{name}")).ok()?.trim().parse().ok()
}

/// The limit of the address space in bytes (`ulimit -v`), if there is one.
pub(crate) fn address_space_limit() -> Option<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: libc::RLIM_INFINITY,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: `limit` is a valid place for the result.
    let result = unsafe { libc::getrlimit(libc::RLIMIT_AS, &mut limit) };
    (result == 0 && limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fault::{Call, Fault, scoped};

    #[test]
    fn mapped_memory_is_zeroed_and_forgets_when_advised() {
        let len = 4 * page_size();
        let start = map(len).unwrap();
        // SAFETY: the mapping is this test's own, and the accesses stay within it.
        unsafe {
            start.write(7);
            assert_eq!(start.add(len - 1).read(), 0);
            advise(start, len, Advice::DontNeed).unwrap();
            assert_eq!(start.read(), 0);
            unmap(start, len).unwrap();
        }
    }

    #[test]
    fn aligned_memory_is_mapped_to_its_ends() {
        for huge in [false, true] {
            let len = 64 * page_size();
            let start = map_aligned(len, huge).unwrap();
            assert!(start.addr().get().is_multiple_of(len));
            // SAFETY: as above.
            unsafe {
                start.write(7);
                assert_eq!(start.add(len - 1).read(), 0);
                unmap(start, len).unwrap();
            }
        }
    }

    #[test]
    fn many_ranges_are_advised_together_or_one_by_one() {
        const COUNT: usize = 150;
        let page = page_size();
        let start = map(2 * COUNT * page).unwrap();
        // SAFETY: every other page of the mapping, which is this test's own.
        let ranges: Vec<_> = (0..COUNT).map(|i| (unsafe { start.add(2 * i * page) }, page)).collect();
        // `EINTR` instead of what an old kernel says, which would be remembered.
        let faults = [None, Some(libc::EINTR)].map(|errno| errno.map(|errno| (Call::ProcessMadvise, Fault::always(errno))));
        for fault in faults {
            let _fault = fault.map(|(call, fault)| scoped(call, fault));
            // SAFETY: as above.
            unsafe {
                (0..2 * COUNT).for_each(|i| start.add(i * page).write(7));
                advise_all(&ranges, Advice::DontNeed).unwrap();
                for i in 0..COUNT {
                    assert_eq!(start.add(2 * i * page).read(), 0);
                    assert_eq!(start.add((2 * i + 1) * page).read(), 7);
                }
            }
        }
        let _fault = scoped(Call::ProcessMadvise, Fault::always(libc::EINTR));
        let _other = scoped(
            Call::Madvise,
            Fault {
                after: 3,
                times: 1,
                errno: libc::ENOMEM,
            },
        );
        // SAFETY: as above.
        unsafe {
            (0..COUNT).for_each(|i| start.add(2 * i * page).write(7));
            assert_eq!(
                advise_all(&ranges, Advice::DontNeed).unwrap_err().raw_os_error(),
                Some(libc::ENOMEM)
            );
            let kept = (0..COUNT).filter(|i| start.add(2 * i * page).read() == 7);
            assert_eq!(kept.collect::<Vec<_>>(), [3], "only the refused one keeps its contents");
            unmap(start, 2 * COUNT * page).unwrap();
        }
    }

    #[test]
    fn a_call_that_stops_half_way_counts_whole_ranges() {
        let ranges = [10, 20, 30].map(|iov_len| libc::iovec {
            iov_base: ptr::null_mut(),
            iov_len,
        });
        for (bytes, whole) in [(0, 0), (9, 0), (10, 1), (59, 2), (60, 3)] {
            assert_eq!(whole_ranges(&ranges, bytes), whole);
        }
    }

    #[test]
    fn failures_carry_the_error_number() {
        let _fault = scoped(Call::Mmap, Fault::always(libc::ENOMEM));
        assert_eq!(map(page_size()).unwrap_err().raw_os_error(), Some(libc::ENOMEM));
    }

    #[test]
    fn settings_are_read() {
        assert!(read_setting("vm/max_map_count").unwrap() > 0);
        assert_eq!(read_setting("vm/no_such_setting"), None);
    }
}
