//! Measuring one point: repeated until it takes long enough for the clock, and the best of several tries, since whatever else the
//! machine does can only add to it.

use crate::args::Args;
use fibers::Runtime;
use std::time::{Duration, Instant};

const TRIES: usize = 5;

/// How much is measured.
#[derive(Debug)]
pub(crate) struct Scale {
    full: bool,
    max: usize,
}

impl Scale {
    pub(crate) fn new(args: &Args) -> Scale {
        let max = if args.full { 1_000_000 } else { 10 };
        Scale {
            full: args.full,
            max: args.max.unwrap_or(max),
        }
    }

    /// 1, 10, 100.. up to `most`, or to what the command line allows.
    pub(crate) fn decades(&self, most: usize) -> impl Iterator<Item = usize> + use<> {
        let max = self.max.min(most);
        std::iter::successors(Some(1), |n| Some(n * 10)).take_while(move |n| *n <= max)
    }

    /// 1, 2, 4.. up to `most`, or to what the command line allows.
    pub(crate) fn doublings(&self, most: usize) -> impl Iterator<Item = usize> + use<> {
        let max = self.max.min(most);
        std::iter::successors(Some(1), |n| Some(n * 2)).take_while(move |n| *n <= max)
    }

    /// The nanoseconds of one operation, if a round has `operations` of them.
    pub(crate) fn time<R>(&self, operations: usize, mut round: impl FnMut() -> R) -> f64 {
        let enough = Duration::from_millis(if self.full { 12 } else { 0 });
        let mut rounds = 1;
        while time(&mut round, rounds) < enough {
            rounds *= 2;
        }
        self.best(|| time(&mut round, rounds).as_nanos() as f64 / (rounds * operations) as f64)
    }

    /// The nanoseconds of one operation, if `step` does some of them, and `count` tells how many there have been.
    pub(crate) fn time_counted(&self, at_least: usize, count: impl Fn() -> usize, mut step: impl FnMut()) -> f64 {
        let at_least = if self.full { at_least.max(100_000) } else { 1 };
        self.best(|| {
            let (before, start) = (count(), Instant::now());
            while count() - before < at_least {
                step();
            }
            start.elapsed().as_nanos() as f64 / (count() - before) as f64
        })
    }

    /// The least of several tries of what measures by itself.
    pub(crate) fn best(&self, one: impl FnMut() -> f64) -> f64 {
        let tries = if self.full { TRIES } else { 1 };
        std::iter::repeat_with(one).take(tries).fold(f64::MAX, f64::min)
    }
}

fn time<R>(round: &mut impl FnMut() -> R, rounds: usize) -> Duration {
    let start = Instant::now();
    for _ in 0..rounds {
        round();
    }
    start.elapsed()
}

/// Runs `main` on one worker, or on as many as `FIBERS_WORKERS` says.
pub(crate) fn on_one_worker<T>(main: impl FnOnce() -> T) -> T {
    let builder = Runtime::builder();
    let builder = match std::env::var_os("FIBERS_WORKERS") {
        Some(_) => builder,
        None => builder.workers(1),
    };
    builder.build().expect("a runtime").run(main)
}
