//! What the machine gives: work of a known size, another process that takes a core, and how much of the cores is left.

use std::hint::black_box;
use std::io::{self, Read};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{available_parallelism, scope, spawn};
use std::time::{Duration, Instant};

/// Steps of [`spin`] per millisecond.
static PACE: AtomicU64 = AtomicU64::new(1_000_000);

fn spin(steps: u64) {
    let mut x = steps;
    for _ in 0..steps {
        x = black_box(x.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 1);
    }
    black_box(x);
}

/// Measures how fast a core is. The fastest of many short looks, since whatever disturbs one makes it slower.
pub(crate) fn calibrate() {
    const STEPS: u64 = 20_000;
    let look = || {
        let began = Instant::now();
        spin(STEPS);
        began.elapsed().as_nanos().max(1) as u64
    };
    let fastest = (0..200).map(|_| look()).min().unwrap_or(1);
    PACE.store(STEPS * 1_000_000 / fastest, Ordering::Relaxed);
}

/// Computes for so long, if it has a core for itself.
pub(crate) fn compute(time: Duration) {
    spin(time.as_nanos() as u64 * PACE.load(Ordering::Relaxed) / 1_000_000);
}

/// The cores that so many threads can have on the machine as it is, if they are bound to one each, in turn: the median of some
/// looks. (Left to itself the kernel may keep threads that have just begun on one core.)
pub(crate) fn cores_for(threads: usize) -> f64 {
    const TIME: Duration = Duration::from_millis(100);
    let one = |index| {
        bind(index);
        let began = Instant::now();
        let mut computed = Duration::ZERO;
        while began.elapsed() < TIME {
            compute(Duration::from_micros(20));
            computed += Duration::from_micros(20);
        }
        computed.as_secs_f64() / began.elapsed().as_secs_f64()
    };
    let look = || {
        scope(|s| {
            let all: Vec<_> = (0..threads).map(|index| s.spawn(move || one(index))).collect();
            all.into_iter().map(|thread| thread.join().unwrap_or(0.0)).sum::<f64>()
        })
    };
    let mut looks: [f64; 5] = std::array::from_fn(|_| look());
    looks.sort_by(f64::total_cmp);
    looks[2].min(threads.min(available_parallelism().map_or(1, usize::from)) as f64)
}

/// Binds the calling thread to a core: the first one and so on, and the first one again.
fn bind(index: usize) {
    let cores = available_parallelism().map_or(1, usize::from);
    // SAFETY: a set of CPUs is plain bits, and the calls read and write no more than they are told.
    unsafe {
        let mut all: libc::cpu_set_t = std::mem::zeroed();
        libc::sched_getaffinity(0, size_of_val(&all), &mut all);
        let mut usable = (0..libc::CPU_SETSIZE as usize).filter(|&cpu| libc::CPU_ISSET(cpu, &all));
        let Some(cpu) = usable.nth(index % cores) else { return };
        let mut own: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut own);
        // If it fails the thread runs anywhere, and the figure is a little worse.
        libc::sched_setaffinity(0, size_of_val(&own), &own);
    }
}

/// A process that keeps one core busy for as long as this lives. It ends with this process, however that ends.
pub(crate) struct Hog(Child);

impl Hog {
    pub(crate) fn start() -> io::Result<Hog> {
        let hog = Command::new(std::env::current_exe()?)
            .arg("--hog")
            .stdin(Stdio::piped())
            .spawn()?;
        Ok(Hog(hog))
    }
}

impl Drop for Hog {
    fn drop(&mut self) {
        // It fails only if the process has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What the other process does: it computes until the pipe from this one is closed, be it by this one's death.
pub(crate) fn hog_until_told() -> ! {
    spawn(|| {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    loop {
        compute(Duration::from_millis(1));
    }
}
