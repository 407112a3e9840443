//! Curves as a drawing: both axes logarithmic, so that a cost that does not depend on the size is a level line and one that
//! grows with it rises at 45 degrees, if a decade is as wide as it is high.

use std::fmt::{self, Display, Write};

/// Colours that are told apart by most eyes, also in grey (M. Okabe and K. Ito 2008).
const COLOURS: [&str; 7] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"];

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 500.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 236.0;
const TOP: f64 = 66.0;
const BOTTOM: f64 = 58.0;
/// Between the base lines of two labels.
const LINE: f64 = 15.0;

/// What is drawn and printed as one: several curves over one axis.
#[derive(Debug)]
pub(crate) struct Chart {
    pub(crate) title: String,
    /// What the horizontal axis counts.
    pub(crate) x: &'static str,
    /// What the vertical axis counts, in nanoseconds.
    pub(crate) y: &'static str,
    pub(crate) curves: Vec<Curve>,
}

/// Sizes, and the nanoseconds measured there.
#[derive(Debug)]
pub(crate) struct Curve {
    pub(crate) label: &'static str,
    pub(crate) points: Vec<(f64, f64)>,
}

impl Chart {
    /// Adds a point to the curve of that label, which is made if it is new.
    pub(crate) fn add(&mut self, label: &'static str, size: usize, ns: f64) {
        let point = (size as f64, ns);
        match self.curves.iter_mut().find(|curve| curve.label == label) {
            Some(curve) => curve.points.push(point),
            None => self.curves.push(Curve {
                label,
                points: vec![point],
            }),
        }
    }

    /// The drawing, as the text of an SVG file.
    pub(crate) fn to_svg(&self) -> String {
        let (x, y) = self.axes();
        let mut out = String::new();
        self.draw(&mut out, x, y).expect("a string takes everything");
        out
    }

    fn axes(&self) -> (Axis, Axis) {
        let all = || self.curves.iter().flat_map(|curve| &curve.points);
        let x = Axis::around(all().map(|point| point.0), LEFT, WIDTH - RIGHT);
        (x, Axis::around(all().map(|point| point.1), HEIGHT - BOTTOM, TOP))
    }

    fn draw(&self, out: &mut String, x: Axis, y: Axis) -> fmt::Result {
        writeln!(
            out,
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" font-family="DejaVu Sans, Verdana, sans-serif" font-size="12">"#
        )?;
        writeln!(out, r##"<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>"##)?;
        text(out, (LEFT, 26.0), r#"font-size="16" font-weight="bold""#, &self.title)?;
        text(
            out,
            (LEFT, 47.0),
            r##"fill="#555""##,
            &format!("{}; both axes logarithmic", self.y),
        )?;
        grid(out, x, y)?;
        let middle = (LEFT + WIDTH - RIGHT) / 2.0;
        text(out, (middle, HEIGHT - 14.0), r#"text-anchor="middle""#, self.x)?;
        let labels = self.places_of_labels(y);
        for (i, curve) in self.curves.iter().enumerate() {
            curve.draw(out, x, y, COLOURS[i % COLOURS.len()], labels[i])?;
        }
        writeln!(out, "</svg>")
    }

    /// Where the labels stand: at the ends of their curves, pushed apart where these are too near to each other.
    fn places_of_labels(&self, y: Axis) -> Vec<f64> {
        let end = |curve: &Curve| curve.points.last().map_or(0.0, |point| y.at(point.1));
        let mut order: Vec<_> = self.curves.iter().map(end).enumerate().collect();
        order.sort_by(|a, b| a.1.total_cmp(&b.1));
        for i in 1..order.len() {
            order[i].1 = order[i].1.max(order[i - 1].1 + LINE);
        }
        // Those that were pushed below the drawing go up again, and push the ones above them.
        let mut limit = HEIGHT - BOTTOM;
        for (_, place) in order.iter_mut().rev() {
            *place = place.min(limit);
            limit = *place - LINE;
        }
        let mut places = vec![0.0; order.len()];
        for (i, place) in order {
            places[i] = place;
        }
        places
    }
}

impl Curve {
    fn draw(&self, out: &mut String, x: Axis, y: Axis, colour: &str, label: f64) -> fmt::Result {
        let places: Vec<_> = self.points.iter().map(|point| (x.at(point.0), y.at(point.1))).collect();
        let line: Vec<_> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        writeln!(
            out,
            r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="2"/>"#,
            line.join(" ")
        )?;
        for (x, y) in &places {
            writeln!(out, r#"<circle cx="{x:.1}" cy="{y:.1}" r="3.2" fill="{colour}"/>"#)?;
        }
        let Some((end, last)) = places.last().zip(self.points.last()) else {
            return Ok(());
        };
        let start = WIDTH - RIGHT + 14.0;
        writeln!(
            out,
            r#"<path d="M{:.1},{:.1}L{start:.1},{label:.1}" stroke="{colour}" stroke-width="0.8" stroke-dasharray="2 2"/>"#,
            end.0 + 4.0,
            end.1
        )?;
        let what = format!("{}  {}", self.label, Ns(last.1));
        text(out, (start + 4.0, label + 4.0), &format!(r#"fill="{colour}""#), &what)
    }
}

fn text(out: &mut String, at: (f64, f64), attributes: &str, what: &str) -> fmt::Result {
    let what = what.replace('&', "&amp;").replace('<', "&lt;");
    writeln!(out, r#"<text x="{:.1}" y="{:.1}" {attributes}>{what}</text>"#, at.0, at.1)
}

/// A line for each decade, and lighter ones in between; numbers for the decades.
fn grid(out: &mut String, x: Axis, y: Axis) -> fmt::Result {
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    for (axis, upright) in [(x, true), (y, false)] {
        for (value, decade) in axis.ticks() {
            let at = axis.at(value);
            let path = match upright {
                true => format!("M{at:.1},{TOP}V{bottom}"),
                false => format!("M{LEFT},{at:.1}H{right}"),
            };
            let colour = if decade { "#bbb" } else { "#eee" };
            writeln!(out, r#"<path d="{path}" stroke="{colour}"/>"#)?;
            if axis.is_named(value, decade) {
                match upright {
                    true => text(out, (at, bottom + 18.0), r#"text-anchor="middle""#, &Count(value).to_string())?,
                    false => text(out, (LEFT - 8.0, at + 4.0), r#"text-anchor="end""#, &Ns(value).to_string())?,
                }
            }
        }
    }
    Ok(())
}

/// Maps values between two powers of ten to places.
#[derive(Clone, Copy, Debug)]
struct Axis {
    low: i32,
    high: i32,
    from: f64,
    to: f64,
}

impl Axis {
    /// Reaches from the decade at or below the least value to the one at or above the greatest.
    fn around(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Axis {
        let (least, greatest) = values.fold((f64::MAX, f64::MIN_POSITIVE), |(a, b), v| (a.min(v), b.max(v)));
        let low = least.min(greatest).log10().floor() as i32;
        let high = (greatest.log10().ceil() as i32).max(low + 1);
        Axis { low, high, from, to }
    }

    fn at(self, value: f64) -> f64 {
        let share = (value.log10() - f64::from(self.low)) / f64::from(self.high - self.low);
        self.from + share * (self.to - self.from)
    }

    /// The values that get a line, and whether they are powers of ten.
    fn ticks(self) -> impl Iterator<Item = (f64, bool)> {
        let decades = (self.low..self.high).flat_map(|e| (1..10).map(move |k| (f64::from(k) * 10_f64.powi(e), k == 1)));
        decades.chain([(10_f64.powi(self.high), true)])
    }

    /// An axis of few decades has numbers between them as well.
    fn is_named(self, value: f64, decade: bool) -> bool {
        let leading = value / 10_f64.powi(value.log10().floor() as i32);
        decade || self.high - self.low <= 3 && [2, 5].contains(&(leading.round() as i32))
    }
}

/// A number of things, short.
struct Count(f64);

impl Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            n if n >= 1e6 => write!(f, "{} M", n / 1e6),
            n if n >= 1e3 => write!(f, "{} k", n / 1e3),
            n => write!(f, "{n}"),
        }
    }
}

/// A duration, short.
pub(crate) struct Ns(pub(crate) f64);

impl Display for Ns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (value, unit) = match self.0 {
            ns if ns >= 999_500_000.0 => (ns / 1e9, "s"),
            ns if ns >= 999_500.0 => (ns / 1e6, "ms"),
            ns if ns >= 999.5 => (ns / 1e3, "µs"),
            ns => (ns, "ns"),
        };
        let digits = if value >= 10.0 || value == value.round() { 0 } else { 1 };
        f.pad(&format!("{value:.digits$} {unit}"))
    }
}
