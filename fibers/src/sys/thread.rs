//! Threads and CPUs.
#![expect(unsafe_code, reason = "sets of CPUs are handed to the kernel as raw words")]

use std::fs;
use std::io::{self, Read};
use std::thread::{Builder, JoinHandle};

use super::{check, monotonic_ns, uninterrupted};

/// A set of CPUs, of any size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CpuSet {
    words: Vec<u64>,
}

impl CpuSet {
    /// More CPUs than any kernel knows of.
    const MAX_WORDS: usize = (1 << 20) / 64;

    fn with_words(words: usize) -> CpuSet {
        CpuSet { words: vec![0; words] }
    }

    /// The set of one CPU.
    pub(crate) fn only(cpu: usize) -> CpuSet {
        let mut set = CpuSet::with_words(cpu / 64 + 1);
        set.words[cpu / 64] = 1 << (cpu % 64);
        set
    }

    pub(crate) fn contains(&self, cpu: usize) -> bool {
        self.words.get(cpu / 64).is_some_and(|word| word >> (cpu % 64) & 1 == 1)
    }

    /// The CPUs, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.words.len() * 64).filter(|&cpu| self.contains(cpu))
    }

    pub(crate) fn len(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    fn bytes(&self) -> usize {
        self.words.len() * size_of::<u64>()
    }
}

impl FromIterator<usize> for CpuSet {
    fn from_iter<I: IntoIterator<Item = usize>>(cpus: I) -> CpuSet {
        let mut set = CpuSet::with_words(1);
        for cpu in cpus {
            if set.words.len() <= cpu / 64 {
                set.words.resize(cpu / 64 + 1, 0);
            }
            set.words[cpu / 64] |= 1 << (cpu % 64);
        }
        set
    }
}

/// The CPUs that the calling thread may use. To restore them later, give the set to [`set_affinity`].
pub(crate) fn affinity() -> io::Result<CpuSet> {
    seam!(GetAffinity);
    let mut set = CpuSet::with_words(16);
    loop {
        // SAFETY: the set has room for as many bytes as the call is told.
        match check(unsafe { libc::sched_getaffinity(0, set.bytes(), set.words.as_mut_ptr().cast()) }) {
            // The kernel knows of more CPUs than the set has room for.
            Err(e) if e.raw_os_error() == Some(libc::EINVAL) && set.words.len() < CpuSet::MAX_WORDS => {
                set = CpuSet::with_words(set.words.len() * 2);
            }
            result => return result.map(|_| set),
        }
    }
}

/// Restricts the calling thread to these CPUs.
pub(crate) fn set_affinity(set: &CpuSet) -> io::Result<()> {
    seam!(SetAffinity);
    // SAFETY: the set holds as many bytes as the call is told.
    check(unsafe { libc::sched_setaffinity(0, set.bytes(), set.words.as_ptr().cast()) }).map(drop)
}

/// The CPU on which the calling thread runs at this moment.
#[cfg(test)]
pub(crate) fn current_cpu() -> io::Result<usize> {
    seam!(GetCpu);
    // SAFETY: no requirement.
    check(unsafe { libc::sched_getcpu() }).map(|cpu| cpu as usize)
}

/// A thread of this process, seen from others: how much CPU time it has used, and whether it is blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pulse {
    clock: libc::clockid_t,
    thread: libc::pid_t,
}

impl Pulse {
    /// That of the calling thread.
    pub(crate) fn own() -> io::Result<Pulse> {
        seam!(CpuTime);
        let mut clock = 0;
        // SAFETY: the calling thread lives, and `clock` is a place for the result.
        match unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), &mut clock) } {
            0 => Ok(Pulse {
                clock,
                // SAFETY: no requirement.
                thread: unsafe { libc::gettid() },
            }),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }

    /// As one number, for an atomic. Never 0.
    pub(crate) fn to_bits(self) -> u64 {
        u64::from(self.clock.cast_unsigned()) << 32 | u64::from(self.thread.cast_unsigned())
    }

    /// What [`to_bits`](Self::to_bits) was made of; `None` of 0.
    pub(crate) fn from_bits(bits: u64) -> Option<Pulse> {
        (bits != 0).then_some(Pulse {
            clock: ((bits >> 32) as u32).cast_signed(),
            thread: (bits as u32).cast_signed(),
        })
    }

    /// Nanoseconds of CPU time. An error if the thread has ended.
    pub(crate) fn cpu_ns(self) -> io::Result<u64> {
        seam!(CpuTime);
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `time` is a place for the result.
        check(unsafe { libc::clock_gettime(self.clock, &mut time) })?;
        Ok(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
    }

    /// Whether it waits in the kernel. One that is ready to run and only gets no CPU does not.
    pub(crate) fn is_blocked(self) -> io::Result<bool> {
        seam!(ThreadState);
        let stat = fs::read(format!("/proc/self/task/{}/stat", self.thread))?;
        // The name of the thread comes first, in parentheses, and may contain anything.
        let end = stat.iter().rposition(|byte| *byte == b')').unwrap_or(0);
        Ok(matches!(stat.get(end + 2), Some(b'S' | b'D')))
    }
}

/// How late the kernel may wake the calling thread, to save wakes: 50 µs unless it is told otherwise.
pub(crate) fn set_timer_slack(ns: u64) -> io::Result<()> {
    seam!(TimerSlack);
    // SAFETY: sets a number of the calling thread.
    check(unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, ns as libc::c_ulong) }).map(drop)
}

/// Starts a thread.
pub(crate) fn spawn_thread<T, F>(name: String, body: F) -> io::Result<JoinHandle<T>>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    seam!(Thread);
    Builder::new().name(name).spawn(body)
}

/// How many threads the process has.
pub(crate) fn thread_count() -> io::Result<usize> {
    seam!(ThreadCount);
    // Not the entries of /proc/self/task: that listing ends early if a thread dies while it is made.
    // A worker that has nothing to do asks this, so nothing is allocated: all fields at their longest take 1,200 bytes.
    let mut stat = [0; 2048];
    let length = fs::File::open("/proc/self/stat")?.read(&mut stat)?;
    // The name of the program comes first, in parentheses, and may contain anything.
    let name_end = stat[..length].iter().rposition(|byte| *byte == b')');
    let fields = name_end.and_then(|end| str::from_utf8(&stat[end + 1..length]).ok());
    let threads = fields.and_then(|fields| fields.split_ascii_whitespace().nth(17)?.parse().ok());
    // An emulator may leave the field at 0.
    threads
        .filter(|threads| *threads > 0)
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// A number that differs from run to run, to seed a generator with. Falls back on the clock if the kernel has none.
pub(crate) fn entropy() -> u64 {
    random().unwrap_or_else(|_| monotonic_ns().wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

fn random() -> io::Result<u64> {
    uninterrupted(|| {
        seam!(GetRandom);
        let mut bytes = [0; 8];
        // SAFETY: `bytes` has room for as many bytes as are asked for.
        let count = check(unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), libc::GRND_NONBLOCK) })?;
        if count == 8 {
            Ok(u64::from_ne_bytes(bytes))
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fault::{Call, Fault, scoped};

    #[test]
    fn sets_of_cpus() {
        let set: CpuSet = [3, 64, 1000].into_iter().collect();
        assert_eq!(set.iter().collect::<Vec<_>>(), [3, 64, 1000]);
        assert_eq!(set.len(), 3);
        assert!(set.contains(64) && !set.contains(65) && !set.contains(1 << 30));
        assert_eq!(CpuSet::only(64).iter().collect::<Vec<_>>(), [64]);
    }

    #[test]
    fn affinity_is_set_and_restored() {
        let before = affinity().unwrap();
        let cpu = before.iter().last().unwrap();
        set_affinity(&CpuSet::only(cpu)).unwrap();
        assert_eq!(affinity().unwrap().iter().collect::<Vec<_>>(), [cpu]);
        assert_eq!(current_cpu().unwrap(), cpu);
        set_affinity(&before).unwrap();
        assert_eq!(affinity().unwrap(), before);
    }

    #[test]
    fn threads_are_counted_and_their_creation_can_fail() {
        let running = spawn_thread("counted".into(), || thread_count().unwrap()).unwrap();
        assert!(running.join().unwrap() >= 2);
        let _fault = scoped(Call::Thread, Fault::always(libc::EAGAIN));
        assert_eq!(
            spawn_thread("never".into(), || ()).unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
    }

    #[test]
    fn the_pulse_of_a_thread_tells_work_from_waiting() {
        use std::sync::mpsc::channel;
        let ((tell, told), (go_on, gone)) = (channel(), channel::<()>());
        let thread = spawn_thread("pulse".into(), move || {
            tell.send(Pulse::own().unwrap()).unwrap();
            gone.recv().unwrap_err();
        })
        .unwrap();
        let pulse = Pulse::from_bits(told.recv().unwrap().to_bits()).unwrap();
        let own = Pulse::own().unwrap();
        // Until it waits for good: it may also be blocked on the way there, and on its CPU for a moment when it says that it waits.
        loop {
            while !pulse.is_blocked().unwrap() {
                std::thread::yield_now();
            }
            let (before, other_before) = (own.cpu_ns().unwrap(), pulse.cpu_ns().unwrap());
            while own.cpu_ns().unwrap() < before + 1_000_000 {
                std::hint::spin_loop();
            }
            if pulse.cpu_ns().unwrap() == other_before {
                break;
            }
        }
        assert!(!own.is_blocked().unwrap());
        drop(go_on);
        thread.join().unwrap();
        assert!(Pulse::from_bits(0).is_none());
        let _fault = scoped(Call::ThreadState, Fault::always(libc::EACCES));
        assert!(own.is_blocked().is_err());
        let _fault = scoped(Call::CpuTime, Fault::always(libc::EINVAL));
        assert!(own.cpu_ns().is_err() && Pulse::own().is_err());
    }

    #[test]
    fn seeds_differ_even_without_the_kernel() {
        assert_ne!(entropy(), entropy());
        let _fault = scoped(Call::GetRandom, Fault::always(libc::ENOSYS));
        assert_ne!(entropy(), entropy());
    }

    #[test]
    fn timer_slack() {
        spawn_thread("slack".into(), || set_timer_slack(1).unwrap())
            .unwrap()
            .join()
            .unwrap();
    }
}
