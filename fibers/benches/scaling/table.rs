//! Curves as a table: a line for each size, a column for each curve, and how the last size compares with the first.

use crate::svg::{Chart, Ns};

pub(crate) fn print(chart: &Chart) {
    println!("{}: {}, against {}", chart.title, chart.y, chart.x);
    let widths: Vec<_> = chart.curves.iter().map(|curve| curve.label.chars().count().max(9)).collect();
    let cell = |i: usize, what: String| format!("  {what:>width$}", width = widths[i]);
    let header: String = (0..widths.len()).map(|i| cell(i, chart.curves[i].label.into())).collect();
    println!("{:>9}{header}", "");
    let mut sizes: Vec<_> = chart
        .curves
        .iter()
        .flat_map(|curve| &curve.points)
        .map(|p| p.0 as usize)
        .collect();
    sizes.sort_unstable();
    sizes.dedup();
    for size in sizes {
        let line: String = (0..widths.len()).map(|i| cell(i, value(chart, i, size))).collect();
        println!("{size:>9}{line}");
    }
    let growth: String = (0..widths.len()).map(|i| cell(i, growth(chart, i))).collect();
    println!("{:>9}{growth}", "growth");
}

fn value(chart: &Chart, curve: usize, size: usize) -> String {
    let point = chart.curves[curve].points.iter().find(|point| point.0 == size as f64);
    point.map_or("-".into(), |point| Ns(point.1).to_string())
}

fn growth(chart: &Chart, curve: usize) -> String {
    let points = &chart.curves[curve].points;
    let ends = points.first().zip(points.last());
    ends.map_or("-".into(), |(first, last)| format!("x {:.1}", last.1 / first.1))
}
