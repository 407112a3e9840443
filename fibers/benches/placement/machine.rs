//! What the machine gives: work of a known size, another process that takes a core, and how much of the cores is left.

use std::hint::black_box;
use std::io::{self, Read};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{scope, spawn};
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

/// The cores that so many threads get on the machine as it is: the median of what some have got.
pub(crate) fn cores_for(threads: usize) -> f64 {
    const TIME: Duration = Duration::from_millis(100);
    let one = || {
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
            let all: Vec<_> = (0..threads).map(|_| s.spawn(one)).collect();
            all.into_iter().map(|thread| thread.join().unwrap_or(0.0)).sum::<f64>()
        })
    };
    let mut looks: [f64; 5] = std::array::from_fn(|_| look());
    looks.sort_by(f64::total_cmp);
    // A look may be lucky, but nobody has more cores than threads.
    looks[2].min(threads as f64)
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
