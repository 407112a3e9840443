//! The watchdog: a thread that looks now and then which fiber each worker runs, and tells of one that goes on for too long.
//!
//! A worker is *held* as long as it is busy and picks no other fiber. Both can be seen from outside: it shows each fiber that goes
//! on (see [`stall`](super::stall)), and counts how often it has become idle. What is measured is what `watch` measures: the CPU
//! time of the worker's thread, and the time for which it was blocked in the kernel. On a machine with other work a worker that
//! gets no CPU holds up its fibers as well, but none of them is to blame for that.
//!
//! The thread is a [bystander](super::quiet) while it sleeps. While it looks, and in the user's function, it counts as a thread of
//! somebody else: it might wake a fiber, so nothing is a deadlock meanwhile. It says so (SeqCst) before it looks at the counters of
//! idleness: whoever finds all workers idle before it is told so is seen idle, and not reported.

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::quiet::Bystander;
use super::shared::{Remote, Shared};
use super::stall::Stall;
use crate::prim::plain::Ordering;
use crate::sys;

/// Looks per limit: a stall is reported when it has lasted for the limit and at most a quarter more.
const LOOKS: u32 = 4;
const SHORTEST: Duration = Duration::from_millis(1);

/// What a runtime's watchdog is told.
#[derive(Clone)]
pub(super) struct Watchdog {
    pub(super) limit: Duration,
    pub(super) report: Arc<dyn Fn(&Stall) + Send + Sync>,
}

impl fmt::Debug for Watchdog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watchdog").field("limit", &self.limit).finish_non_exhaustive()
    }
}

/// Starts the thread. It ends when the runtime is dropped.
pub(super) fn start(shared: &Arc<Shared>, watchdog: Watchdog) -> io::Result<JoinHandle<()>> {
    let theirs = shared.clone();
    let thread = sys::spawn_thread("fibers-watchdog".into(), move || watch(&theirs, &watchdog))?;
    Ok(thread)
}

fn watch(shared: &Shared, watchdog: &Watchdog) {
    let pause = (watchdog.limit / LOOKS).max(SHORTEST);
    let mut seen = vec![Seen::default(); shared.workers.len()];
    // While it sleeps it wakes nobody; the user's function may.
    let bystander = Bystander::new();
    loop {
        bystander.set(true);
        let over = shared.doze(pause);
        bystander.set(false);
        if over {
            return;
        }
        for (worker, seen) in shared.workers.iter().zip(&mut seen) {
            if let Some(stall) = look_at(worker, seen, nanos(watchdog.limit)) {
                // A panic of the user's function has been reported by the hook.
                let _ = catch_unwind(AssertUnwindSafe(|| (watchdog.report)(&stall)));
            }
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn look_at(worker: &Remote, seen: &mut Seen, limit: u64) -> Option<Stall> {
    let glimpse = worker.running.as_ref()?.glimpse()?;
    let idle = worker.counters.idle.load(Ordering::SeqCst);
    let sight = Sight {
        now: sys::monotonic_ns(),
        pick: (glimpse.version, idle),
        busy: glimpse.id != 0 && idle.is_multiple_of(2),
        cpu: worker.pulse().and_then(|pulse| pulse.cpu_ns().ok()),
    };
    let is_blocked = || worker.pulse().is_none_or(|pulse| pulse.is_blocked().unwrap_or(true));
    let lasted = seen.judge(sight, limit, is_blocked)?;
    Some(Stall::new(worker.index, glimpse, Duration::from_nanos(lasted)))
}

/// What can be seen of a worker at one moment.
#[derive(Clone, Copy, Debug)]
struct Sight {
    now: u64,
    /// Changes whenever another fiber goes on, or the worker has been idle.
    pick: (u64, u64),
    busy: bool,
    cpu: Option<u64>,
}

/// What is remembered of a worker.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    pick: (u64, u64),
    since: u64,
    looked: u64,
    cpu: u64,
    /// For how long it has been held by the present fiber, in its own time.
    held: u64,
    /// When to say so; 0 before the first look.
    next: u64,
}

impl Seen {
    /// For how long the worker has been held by one fiber, if that is to be told now.
    fn judge(&mut self, sight: Sight, limit: u64, is_blocked: impl FnOnce() -> bool) -> Option<u64> {
        if !sight.busy || self.pick != sight.pick || self.next == 0 {
            *self = Seen {
                pick: sight.pick,
                since: sight.now,
                looked: sight.now,
                cpu: sight.cpu.unwrap_or(0),
                held: 0,
                next: limit,
            };
            return None;
        }
        let elapsed = sight.now.saturating_sub(self.looked);
        let worked = sight.cpu.map_or(elapsed, |cpu| cpu.saturating_sub(self.cpu)).min(elapsed);
        self.held += if worked < elapsed / 2 && is_blocked() {
            elapsed
        } else {
            worked
        };
        self.looked = sight.now;
        self.cpu = sight.cpu.unwrap_or(self.cpu);
        if self.held < self.next {
            return None;
        }
        while self.next <= self.held {
            self.next = self.next.saturating_mul(2);
        }
        Some(sight.now - self.since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A worker that is watched with a limit of 100, looked at every 25.
    #[derive(Default)]
    struct Watched {
        seen: Seen,
        now: u64,
        cpu: u64,
        picks: u64,
    }

    impl Watched {
        fn look(&mut self, busy: bool, worked: u64, blocked: bool) -> Option<u64> {
            self.now += 25;
            self.cpu += worked;
            let sight = Sight {
                now: self.now,
                pick: (self.picks, 0),
                busy,
                cpu: Some(self.cpu),
            };
            self.seen.judge(sight, 100, || blocked)
        }
    }

    #[test]
    fn a_stall_is_told_once_and_again_when_it_has_doubled() {
        let mut watched = Watched {
            picks: 1,
            ..Watched::default()
        };
        let told: Vec<_> = (0..33).filter_map(|_| watched.look(true, 25, false)).collect();
        assert_eq!(told, [100, 200, 400, 800]);
        watched.picks = 2;
        let told: Vec<_> = (0..6).filter_map(|_| watched.look(true, 25, false)).collect();
        assert_eq!(told, [100], "another fiber");
    }

    #[test]
    fn time_that_was_blocked_counts_and_time_without_a_cpu_does_not() {
        let mut blocked = Watched::default();
        assert_eq!((0..9).filter_map(|_| blocked.look(true, 0, true)).count(), 2);
        let mut starved = Watched::default();
        assert_eq!((0..40).filter_map(|_| starved.look(true, 1, false)).count(), 0);
        let mut shared = Watched::default();
        assert_eq!((0..9).filter_map(|_| shared.look(true, 13, false)).count(), 1, "half a CPU");
    }

    #[test]
    fn an_idle_worker_and_one_that_picks_hold_nobody_up() {
        let mut idle = Watched::default();
        assert_eq!((0..40).filter_map(|_| idle.look(false, 0, true)).count(), 0);
        let mut picking = Watched::default();
        for _ in 0..40 {
            picking.picks += 1;
            assert_eq!(picking.look(true, 25, false), None);
        }
    }
}
