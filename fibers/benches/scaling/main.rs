//! What an operation costs against the number of whatever surrounds it: parked fibers, running fibers, arms of a choice, values in
//! a buffer, timers that are armed, waiters of one channel. All of them should be level lines; where one is not, it is to be seen.
//!
//! `scaling [CHART..] [--max N] [--svg DIR]` prints a table for each chart and draws it. The charts are `parked`, `running`,
//! `arms`, `capacity`, `timers` and `waiters`; the largest size is 10^6. One worker, unless `FIBERS_WORKERS` says otherwise.

mod args;
mod arms;
mod crowds;
mod measure;
mod neighbours;
mod svg;
mod table;
mod timers;

use args::Args;
use measure::Scale;
use std::path::PathBuf;
use std::process::ExitCode;
use svg::Chart;

/// Its name, and what measures it.
type Measured = (&'static str, fn(&Scale) -> Chart);

const CHARTS: &[Measured] = &[
    ("parked", neighbours::parked),
    ("running", neighbours::running),
    ("arms", arms::arms),
    ("capacity", crowds::capacity),
    ("timers", timers::timers),
    ("waiters", crowds::waiters),
];

fn main() -> ExitCode {
    let args = match Args::read(std::env::args().skip(1)) {
        Ok(args) => args,
        Err(wrong) => return refuse(&wrong),
    };
    if let Some(unknown) = args
        .charts
        .iter()
        .find(|wanted| CHARTS.iter().all(|(name, _)| name != wanted))
    {
        return refuse(&format!("there is no chart {unknown}"));
    }
    let scale = Scale::new(&args);
    for (name, chart) in CHARTS.iter().filter(|(name, _)| args.wants(name)) {
        let chart = chart(&scale);
        table::print(&chart);
        // A check has nothing worth looking at, but the drawing itself is checked.
        let svg = chart.to_svg();
        if args.full {
            let directory = args.svg.clone().unwrap_or_else(directory);
            let path = directory.join(format!("{name}.svg"));
            std::fs::create_dir_all(directory).expect("a directory for the drawings");
            std::fs::write(&path, svg).expect("a file for the drawing");
            println!("drawn in {}\n", path.display());
        }
    }
    ExitCode::SUCCESS
}

fn refuse(wrong: &str) -> ExitCode {
    let names: Vec<_> = CHARTS.iter().map(|(name, _)| *name).collect();
    println!(
        "{wrong}; usage: scaling [CHART..] [--svg DIR] [--max N], the charts: {}",
        names.join(" ")
    );
    ExitCode::from(2)
}

/// Where the drawings go unless somewhere else is wanted: into cargo's target directory, which is where this program lies.
fn directory() -> PathBuf {
    let exe = std::env::current_exe().expect("the path of this program");
    let target = exe.ancestors().nth(3).expect("target/PROFILE/deps/scaling");
    target.join("bench/scaling")
}
