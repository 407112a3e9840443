//! One deadline over three levels of work: a report over cities, each of which asks its sensors. What is there in time is shown,
//! and what was given up, with the reason.
//!
//! `cargo run --release --example context_tree`

use fibers::context::{self, Context, ContextError, Key};
use fibers::{JoinHandle, spawn, time};
use std::fmt;
use std::time::Duration;

static REQUEST: Key<u32> = Key::new("request");

/// A city, and how long each of its sensors takes to answer; `None`: it is broken.
struct City {
    name: &'static str,
    sensors: &'static [Option<Duration>],
}

const fn after(ms: u64) -> Option<Duration> {
    Some(Duration::from_millis(ms))
}
const NEVER: Option<Duration> = Some(Duration::MAX);
const BROKEN: Option<Duration> = None;

const CITIES: [City; 4] = [
    City {
        name: "Aachen",
        sensors: &[after(1), after(2), after(3)],
    },
    City {
        name: "Bremen",
        sensors: &[after(1), NEVER, after(2)],
    },
    City {
        name: "Celle",
        sensors: &[after(2), BROKEN, NEVER],
    },
    City {
        name: "Dresden",
        sensors: &[NEVER, NEVER],
    },
];

/// Level 3: one sensor. Waits for its answer no longer than the context lasts.
fn measure(sensor: i64, delay: Option<Duration>) -> Result<i64, String> {
    let ctx = context::current();
    let delay = delay.ok_or("it is broken")?;
    match ctx.run(time::sleep_op(delay)) {
        Ok(()) => Ok(10 + sensor),
        Err(_) => Err(ctx.cause().expect("it has ended").to_string()),
    }
}

/// What a city could tell.
struct Weather {
    name: &'static str,
    degrees: Vec<i64>,
    missing: Vec<String>,
    ended: Option<ContextError>,
}

impl fmt::Display for Weather {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.degrees.len() + self.missing.len();
        write!(
            f,
            "{}: {:?}, {} of {count} sensors",
            self.name,
            self.degrees,
            self.degrees.len()
        )?;
        if let Some(error) = self.ended {
            write!(f, " ({error})")?;
        }
        self.missing.iter().try_for_each(|why| write!(f, "\n    given up: {why}"))
    }
}

/// Level 2: one city. A broken sensor makes its city give up the others at once; the other cities go on.
fn survey(city: &City) -> Weather {
    let (ctx, cancel) = context::current().with_cancel_cause();
    let sensors: Vec<JoinHandle<_>> = ctx.enter(|| {
        let sensors = (0..).zip(city.sensors);
        sensors.map(|(i, delay)| spawn(move || measure(i, *delay))).collect()
    });
    let (mut degrees, mut missing) = (Vec::new(), Vec::new());
    for (i, sensor) in sensors.into_iter().enumerate() {
        match sensor.join().expect("no sensor panics") {
            Ok(value) => degrees.push(value),
            Err(why) => {
                missing.push(format!("sensor {i}: {why}"));
                cancel.cancel(format!("sensor {i} has failed")); // the first cause stays
            }
        }
    }
    Weather {
        name: city.name,
        degrees,
        missing,
        ended: ctx.err(),
    }
}

/// How long a report may take.
const LIMIT: Duration = Duration::from_millis(400);

/// Level 1: the report.
fn report(ctx: &Context) -> Vec<Weather> {
    let (ctx, _cancel) = ctx.with_timeout_cause(LIMIT, format!("the report is due after {LIMIT:?}"));
    let cities: Vec<_> = ctx.enter(|| CITIES.iter().map(|city| spawn(|| survey(city))).collect());
    cities
        .into_iter()
        .map(|city: JoinHandle<_>| city.join().expect("no city panics"))
        .collect()
}

#[fibers::main]
fn main() {
    let ctx = Context::background().with_value(&REQUEST, 17);
    let began = time::now();
    let cities = report(&ctx);
    println!("request {}:", ctx.value(&REQUEST).expect("set above"));
    cities.iter().for_each(|weather| println!("  {weather}"));
    println!("the report took all its time: {}", began.elapsed() >= LIMIT);
    println!("the request itself goes on: {}", ctx.err().is_none());
}
