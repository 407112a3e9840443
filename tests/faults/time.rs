//! Time: durations that are no durations, alarms that must not come early, and clocks that jump.

use fibers::time::{self, Ticker, Timer};
use fibers::{Op, WaitGroup, channel, sleep, spawn};
use fibers_tests::{HANG, On, Rng, rounds, runtime, watchdog};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

fn everywhere(test: impl Fn(On)) {
    for on in [On::Threads, On::Fibers(1), On::Fibers(2)] {
        on.run(&test);
    }
}

/// An instant long before now, if there is one.
fn long_ago() -> Instant {
    let now = Instant::now();
    now.checked_sub(Duration::from_secs(3600))
        .or(now.checked_sub(Duration::from_secs(1)))
        .unwrap_or(now)
}

/// As far in the future as an instant can be, about.
fn far_away() -> Instant {
    let mut at = Instant::now();
    for shift in (0..64).rev() {
        at = at.checked_add(Duration::from_secs(1 << shift)).unwrap_or(at);
    }
    at
}

#[test]
fn f27_what_never_comes() {
    everywhere(|_| {
        let short = Duration::from_millis(3);
        assert!(time::sleep_op(Duration::MAX).timeout(short).perform().is_err());
        assert!(time::after(Duration::MAX).timeout(short).perform().is_err());
        assert!(time::sleep_until_op(far_away()).timeout(short).perform().is_err());
        let timer = Timer::new(Duration::MAX);
        assert!(timer.recv_op().timeout(short).perform().is_err());
        timer.reset(short);
        timer.recv();
        let timer = Timer::at(far_away());
        assert!(timer.recv_op().timeout(short).perform().is_err());
        timer.stop();
        let ticker = Ticker::new(Duration::MAX);
        assert!(ticker.recv_op().timeout(short).perform().is_err());
        ticker.reset(short);
        ticker.recv();
        let (tx, rx) = channel::<u32>(0);
        assert!(
            rx.recv_op()
                .timeout(Duration::MAX)
                .or(time::sleep_op(short).wrap(|()| Ok(Ok(7))))
                .perform()
                == Ok(Ok(7))
        );
        drop(tx);
        assert!(rx.recv_timeout(Duration::MAX).is_err());
    });
}

#[test]
fn f27_what_is_due_at_once() {
    everywhere(|_| {
        let before = Instant::now();
        sleep(Duration::ZERO);
        time::sleep_until(long_ago());
        time::sleep_until(Instant::now());
        time::after(Duration::ZERO).perform();
        time::sleep_until_op(long_ago()).perform();
        Timer::new(Duration::ZERO).recv();
        Timer::at(long_ago()).recv();
        let (tx, rx) = channel::<u32>(0);
        assert!(rx.recv_timeout(Duration::ZERO).is_err());
        assert!(tx.send_timeout(1, Duration::ZERO).is_err());
        assert!(rx.recv_op().timeout(Duration::ZERO).perform().is_err());
        assert!(before.elapsed() < Duration::from_secs(1));
        // The shortest period there is: ticks that nobody takes in time are dropped.
        let ticker = Ticker::new(Duration::from_nanos(1));
        for _ in 0..10 {
            ticker.recv();
        }
    });
}

#[test]
fn f27_something_ready_wins_over_a_timeout_of_zero() {
    everywhere(|_| {
        let (tx, rx) = channel::<u32>(1);
        for i in 0..100 {
            tx.send(i).unwrap();
            assert_eq!(rx.recv_timeout(Duration::ZERO), Ok(i));
        }
    });
}

#[test]
fn f28_never_early() {
    everywhere(|on| {
        let mut rng = Rng::new(28);
        let sleepers: Vec<_> = (0..rounds(300, 20_000))
            .map(|i| {
                // Around the powers of two, where the wheel's levels meet.
                let around = 1_u64 << (8 + i % 18);
                let ns = around + rng.below(4096) - rng.below(around.min(4096));
                let sleeper = move || {
                    let wanted = Duration::from_nanos(ns);
                    let before = Instant::now();
                    match i % 3 {
                        0 => sleep(wanted),
                        1 => time::sleep_until(before + wanted),
                        _ => drop(Timer::new(wanted).recv()),
                    }
                    let slept = before.elapsed();
                    assert!(slept >= wanted, "{slept:?} instead of {wanted:?}");
                };
                match on {
                    // A thousand threads are too many; one after the other shows as much.
                    On::Threads => {
                        sleeper();
                        None
                    }
                    On::Fibers(_) => Some(on.spawn(sleeper)),
                }
            })
            .collect();
        sleepers.into_iter().flatten().for_each(|sleeper| sleeper.join());
    });
}

#[test]
fn f28_sleepers_wake_in_order() {
    watchdog(HANG, || {
        for workers in [1, 2] {
            // On a busy machine some fibers begin to sleep when their time is over already; again, if that was so for most.
            let rounds = std::iter::repeat_with(|| runtime(workers).run(sleepers_in_order));
            let enough = rounds
                .inspect(|in_time| assert!(in_time.is_sorted(), "{in_time:?}"))
                .find(|in_time| in_time.len() > 50);
            assert!(enough.is_some());
        }
    });
}

/// A hundred sleepers in the order in which they wake, the last one begun first; without those that began too late.
///
/// Each performs once, all together so few times that none is held up for the sake of the others in the middle of it.
fn sleepers_in_order() -> Vec<u32> {
    let woken = Arc::new(Mutex::new(Vec::new()));
    let wg = WaitGroup::new();
    let start = Instant::now() + Duration::from_millis(20);
    for i in (0..100).rev() {
        let (woken, wg) = (woken.clone(), wg.clone());
        wg.add(1);
        let sleeper = move || {
            // Each a good deal more than a tick of the wheel after the one before.
            let deadline = start + Duration::from_micros(200) * i;
            let in_time = Instant::now() < deadline;
            time::sleep_until(deadline);
            woken.lock().unwrap().extend(in_time.then_some(i));
            wg.done();
        };
        fibers::fiber::Builder::new().worker(0).spawn(sleeper).unwrap();
    }
    wg.wait();
    let woken = woken.lock().unwrap();
    woken.clone()
}

/// A worker that is stopped for a while finds many alarms due at once; each fires once, and others get their turn in between.
#[test]
fn f29_after_a_pause_everything_fires_once() {
    watchdog(HANG, || {
        On::Fibers(1).run(|_| {
            let count = rounds(5_000, 100_000);
            let (tx, rx) = fibers::unbounded();
            let mut rng = Rng::new(29);
            for i in 0..count {
                let (tx, pause) = (tx.clone(), Duration::from_micros(rng.below(30_000)));
                spawn(move || {
                    sleep(pause);
                    tx.send(i).unwrap();
                });
            }
            drop(tx);
            fibers::yield_now();
            // The whole thread stops, as a suspended machine does.
            std::thread::sleep(Duration::from_millis(100));
            let ticker = Ticker::new(Duration::from_millis(1));
            std::thread::sleep(Duration::from_millis(20));
            ticker.recv();
            let mut all: Vec<_> = rx.iter().collect();
            all.sort_unstable();
            assert!(all.into_iter().eq(0..count));
        });
    });
}

#[test]
fn f29_a_ticker_drops_what_it_missed() {
    everywhere(|_| {
        let ticker = Ticker::new(Duration::from_millis(2));
        std::thread::sleep(Duration::from_millis(50));
        let began = Instant::now();
        let mut ticks = 0;
        while began.elapsed() < Duration::from_millis(20) {
            ticks += u32::from(ticker.try_recv().is_some());
            fibers::yield_now();
        }
        assert!((1..=12).contains(&ticks), "{ticks} ticks in 20 ms");
    });
}
