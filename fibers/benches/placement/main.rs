//! Where fibers start, measured: programs of many shapes on 1, 2 and 4 workers, alone and beside a process that keeps a core busy.
//!
//! A fiber never changes workers once it has begun, so the scheduler has to guess at its start whether it computes or talks.
//! No program here gives a hint, except those whose name ends with one.
//!
//! ```text
//!    placement [--rounds N] [--alone|--beside] [SCENARIO..]     names may be cut short: `pool` is all that begin so
//! ```
//!
//! It prints the median time of some rounds, the ideal, their ratio, and the ratio of the slowest round. The ideal of a program
//! that computes is its work by the cores that it can have; that of a program that talks is its own time on one worker.
//! Under `cargo test --benches`, which does not pass `--bench`, every program is run once, with little to do, as a check.

#[path = "../programs/crowd.rs"]
mod crowd;
mod machine;
mod scenarios;
#[path = "../programs/sieve.rs"]
mod sieve;
#[path = "../programs/skynet.rs"]
mod skynet;

use fibers::Runtime;
use machine::{Hog, cores_for, hog_until_told};
use scenarios::{Ideal, SCENARIOS, Scenario};
use std::process::ExitCode;
use std::time::Duration;

/// The machine that this was written on has two cores, so the last one is oversubscribed there.
const WORKERS: [usize; 3] = [1, 2, 4];

/// One run of a program.
pub(crate) struct Sample {
    took: Duration,
    /// What it has computed, on all workers together.
    work: Duration,
    /// What it takes on any number of cores, since one thing comes after another.
    least: Duration,
}

fn main() -> ExitCode {
    let mut rounds = 5;
    let (mut full, mut alone, mut beside) = (false, true, true);
    let mut wanted = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--hog" => hog_until_told(),
            "--bench" => full = true,
            "--alone" => beside = false,
            "--beside" => alone = false,
            "--rounds" => rounds = arguments.next().and_then(|n| n.parse().ok()).unwrap_or(rounds),
            flag if flag.starts_with('-') => {}
            name => wanted.push(name.to_owned()),
        }
    }
    let is_wanted = |s: &&Scenario| wanted.is_empty() || wanted.iter().any(|name| s.name.starts_with(name.as_str()));
    let scenarios: Vec<&Scenario> = SCENARIOS.iter().filter(is_wanted).collect();
    if scenarios.is_empty() {
        println!("no such scenario; there are: {}", SCENARIOS.map(|s| s.name).join(" "));
        return ExitCode::from(2);
    }
    if !full && wanted.is_empty() {
        scenarios
            .iter()
            .for_each(|s| drop(WORKERS.map(|workers| once(s, workers, 100))));
        return ExitCode::SUCCESS;
    }
    machine::calibrate();
    if alone {
        table("alone", &scenarios, rounds, WORKERS.map(cores_for));
    }
    if beside {
        let _hog = Hog::start().expect("this program can start itself");
        table("beside a busy process", &scenarios, rounds, WORKERS.map(cores_for));
    }
    ExitCode::SUCCESS
}

/// Runs a program in a runtime of its own. The work is divided by `part`.
fn once(scenario: &Scenario, workers: usize, part: usize) -> Sample {
    let runtime = Runtime::builder().workers(workers).build().expect("a runtime can be built");
    runtime.run(|| (scenario.run)(part))
}

fn table(title: &str, scenarios: &[&Scenario], rounds: usize, cores: [f64; 3]) {
    println!(
        "{title}: {} cores for {} workers",
        cores.map(|c| format!("{c:.2}")).join(", "),
        WORKERS.map(|w| w.to_string()).join(", ")
    );
    println!(
        "{:<26} {:>7} {:>10} {:>10} {:>7} {:>7}",
        "scenario", "workers", "ms", "ideal", "ratio", "worst"
    );
    for scenario in scenarios {
        // In turn, so that a machine that changes its pace does so for all.
        let mut samples: [Vec<Sample>; 3] = Default::default();
        for _ in 0..rounds {
            machine::calibrate();
            for (of, workers) in samples.iter_mut().zip(WORKERS) {
                of.push(once(scenario, workers, 1));
            }
        }
        samples.iter_mut().for_each(|of| of.sort_by_key(|sample| sample.took));
        let on_one = samples[0][rounds / 2].took;
        for ((of, workers), cores) in samples.iter().zip(WORKERS).zip(cores) {
            let median = &of[rounds / 2];
            let ideal = match scenario.ideal {
                Ideal::OneWorker => on_one,
                Ideal::AllCores => median.work.div_f64(cores).max(median.least),
            };
            let ratio = |sample: &Sample| sample.took.as_secs_f64() / ideal.as_secs_f64();
            println!(
                "{:<26} {workers:>7} {:>10.2} {:>10.2} {:>7.2} {:>7.2}",
                scenario.name,
                median.took.as_secs_f64() * 1e3,
                ideal.as_secs_f64() * 1e3,
                ratio(median),
                of.last().map_or(f64::NAN, ratio),
            );
        }
    }
}
