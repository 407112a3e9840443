//! Workers that have nothing to do: none of them overlooks what is to be done.

use super::within_a_minute;
use fibers::{Runtime, sleep, spawn};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

/// A worker that has gone to sleep for good takes what the other one, busy since, has spawned.
#[test]
fn deep_sleeper_is_woken_and_stays_awake() {
    if available_parallelism().map_or(1, usize::from) < 2 {
        return;
    }
    within_a_minute(|| {
        let rt = Runtime::builder().workers(2).build().unwrap();
        let waited = (0..5).map(|_| {
            rt.run(|| {
                sleep(Duration::from_millis(60)); // the other one sleeps deeply after 20
                let spawned = Instant::now();
                let started = spawn(move || spawned.elapsed());
                while spawned.elapsed() < Duration::from_millis(500) {
                    std::hint::spin_loop();
                }
                started.join().unwrap()
            })
        });
        // The best of a few: the machine may be busy with something else.
        let best = waited.min().unwrap();
        assert!(best < Duration::from_millis(200), "started after {best:?}");
    });
}
