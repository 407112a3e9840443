//! The life of fibers and runtimes seen from outside: how they start, end, are given up, and what must not happen after that.

mod exhausted;
mod given_up;
mod idle;
mod published;
mod results;

use std::time::Duration;

fn within_a_minute(f: impl FnOnce()) {
    fibers_tests::watchdog(Duration::from_secs(60), f);
}
