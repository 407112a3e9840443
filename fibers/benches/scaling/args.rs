//! How the bench is called: `cargo bench` passes `--bench` and measures at full size; `cargo test --benches` passes nothing, and
//! then everything runs once, as small as it can be, as a check. A chart or an option asks for a full run as well.

use std::path::PathBuf;

/// The arguments of this process.
#[derive(Debug, Default)]
pub(crate) struct Args {
    /// Whether to measure, or only to check that everything runs.
    pub(crate) full: bool,
    /// The charts that are wanted; all of them if none is named.
    pub(crate) charts: Vec<String>,
    /// Where the drawings go.
    pub(crate) svg: Option<PathBuf>,
    /// The largest size.
    pub(crate) max: Option<usize>,
}

impl Args {
    /// Reads `[CHART..] [--svg DIR] [--max N]`. The error is what to tell the user.
    pub(crate) fn read(arguments: impl Iterator<Item = String>) -> Result<Args, String> {
        let mut args = Args::default();
        let mut arguments = arguments.peekable();
        args.full = arguments.peek().is_some();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
            match argument.as_str() {
                "--bench" => {}
                "--svg" => args.svg = Some(value()?.into()),
                "--max" => args.max = Some(value()?.parse().map_err(|error| format!("--max: {error}"))?),
                option if option.starts_with('-') => return Err(format!("there is no option {option}")),
                _ => args.charts.push(argument),
            }
        }
        Ok(args)
    }

    /// Whether a chart is to be made.
    pub(crate) fn wants(&self, chart: &str) -> bool {
        self.charts.is_empty() || self.charts.iter().any(|wanted| wanted == chart)
    }
}
