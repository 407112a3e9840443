//! Sleeps, tickers and timers as operations: extreme durations, stops and resets (faults 22, 27, 29 and 30).

use crate::{everywhere, under_stress};
use fibers::op::{choice, never};
use fibers::time::{Ticker, Timer, after, now, sleep, sleep_op, sleep_until, sleep_until_op};
use fibers::{Elapsed, Op, channel, unbounded};
use fibers_tests::{On, Rng, rounds};
use std::time::{Duration, Instant};

const MOMENT: Duration = Duration::from_millis(2);

#[test]
fn f27_for_ever() {
    everywhere(|_| {
        let for_ever = [
            Duration::MAX,
            Duration::from_secs(u64::MAX),
            Duration::from_nanos(u64::MAX),
            Duration::from_nanos(u64::MAX - 1),
        ];
        for long in for_ever {
            assert_eq!(sleep_op(long).try_perform(), None);
            assert_eq!(sleep_op(long).timeout(MOMENT).perform(), Err(Elapsed));
            assert_eq!(after(long).timeout(MOMENT).perform(), Err(Elapsed));
            assert_eq!(never::<()>().timeout(long).timeout(MOMENT).perform(), Err(Elapsed));
            let (_tx, rx) = channel::<()>(0);
            assert_eq!(
                choice((rx.recv_op().wrap(drop), sleep_op(long))).timeout(MOMENT).perform(),
                Err(Elapsed)
            );
            let (ticker, timer) = (Ticker::new(long), Timer::new(long));
            assert!(choice((ticker.recv_op(), timer.recv_op())).timeout(MOMENT).perform().is_err());
            assert_eq!((ticker.try_recv(), timer.try_recv()), (None, None));
        }
        // Twice the longest that fits.
        let far = Instant::now() + Duration::from_secs(500 * 365 * 86_400);
        assert_eq!(sleep_until_op(far).timeout(MOMENT).perform(), Err(Elapsed));
        assert_eq!(Timer::at(far).try_recv(), None);
    });
}

#[test]
fn f27_now_and_before() {
    everywhere(|_| {
        sleep(Duration::ZERO);
        sleep_until(Instant::now());
        sleep_until(now());
        let past = Instant::now().checked_sub(Duration::from_secs(1));
        if let Some(past) = past {
            sleep_until(past);
            assert_eq!(sleep_until_op(past).try_perform(), Some(()));
            Timer::at(past).recv();
        }
        assert_eq!(sleep_op(Duration::ZERO).try_perform(), Some(()));
        assert_eq!(after(Duration::ZERO).try_perform(), Some(()));
        assert_eq!(never::<()>().timeout(Duration::ZERO).try_perform(), Some(Err(Elapsed)));
        assert_eq!(never::<()>().timeout(Duration::ZERO).perform(), Err(Elapsed));
        assert!(Timer::new(Duration::ZERO).try_recv().is_some());
        let deadline = after(Duration::from_nanos(1));
        deadline.perform();
        // Ready for ever.
        assert_eq!((deadline.try_perform(), deadline.try_perform()), (Some(()), Some(())));
    });
}

#[test]
#[should_panic(expected = "a ticker needs a period longer than zero")]
fn f27_a_ticker_without_a_period() {
    drop(Ticker::new(Duration::ZERO));
}

#[test]
fn f27_never_early() {
    everywhere(|on| {
        let sleepers: Vec<_> = (0..8)
            .map(|stream| {
                let mut rng = Rng::new(stream);
                on.spawn(move || {
                    for _ in 0..rounds(25, 2_000) {
                        let nanos = 1 << rng.below(21);
                        let length = Duration::from_nanos(nanos + rng.below(nanos));
                        let before = Instant::now();
                        match rng.below(4) {
                            0 => sleep(length),
                            1 => sleep_until(before + length),
                            2 => drop(Timer::new(length).recv()),
                            _ => drop(never::<()>().timeout(length).perform()),
                        }
                        assert!(before.elapsed() >= length, "{:?} instead of {length:?}", before.elapsed());
                    }
                })
            })
            .collect();
        sleepers.into_iter().for_each(|s| s.join());
    });
}

#[test]
fn f22_timers_fire_in_order() {
    // Nobody is early. On one worker, whose wheel holds them all, they come in the order of their deadlines.
    everywhere(|on| {
        let (tx, rx) = unbounded();
        // Late enough for all of them to be asleep before the first is due.
        let base = now() + Duration::from_millis(150);
        let sleepers: Vec<_> = (0..30u32)
            .map(|i| {
                let tx = tx.clone();
                let at = Duration::from_millis(u64::from((i * 7) % 30));
                on.spawn(move || {
                    sleep_until(base + at);
                    tx.send((at, now())).unwrap();
                })
            })
            .collect();
        drop(tx);
        let order: Vec<_> = rx
            .iter()
            .inspect(|(at, woken)| assert!(*woken >= base + *at))
            .map(|(at, _)| at)
            .collect();
        assert!(on != On::Fibers(1) || order.is_sorted(), "{order:?}");
        sleepers.into_iter().for_each(|s| s.join());
    });
}

#[test]
fn f29_a_ticker_drops_what_it_missed() {
    everywhere(|_| {
        let period = Duration::from_millis(if cfg!(miri) { 50 } else { 2 });
        let ticker = Ticker::new(period);
        let first = ticker.recv();
        sleep(period * 5 / 2);
        let (late, next) = (ticker.recv(), ticker.recv());
        // The tick that was due is one, however long ago; the phase is kept.
        assert_eq!((late - first).as_nanos() % period.as_nanos(), 0);
        assert_eq!((next - late).as_nanos() % period.as_nanos(), 0);
        assert!(next > late && late > first);
    });
}

#[test]
fn f30_a_ticks_waiter_looks_again() {
    // A lone tick waits in two places; resets and ticks send it back in either order.
    everywhere(|on| {
        let period = Duration::from_micros(if cfg!(miri) { 40_000 } else { 150 });
        let ticker = Ticker::new(period);
        let receivers: Vec<_> = (0..3)
            .map(|i| {
                let ticker = ticker.clone();
                let (_tx, rx) = channel::<()>(0);
                on.spawn(move || {
                    for _ in 0..rounds(100, 10_000) {
                        match i {
                            0 => drop(ticker.recv()),
                            1 => choice((ticker.recv_op().wrap(drop), rx.recv_op().wrap(|_| panic!("closed")))).perform(),
                            _ => drop(ticker.recv_op().timeout(period / 2).perform()),
                        }
                    }
                    drop(_tx);
                })
            })
            .collect();
        while !receivers.iter().all(|r| r.is_finished()) {
            if !cfg!(miri) {
                ticker.reset(period);
                sleep(period * 2);
            }
            on.pause();
        }
        receivers.into_iter().for_each(|r| r.join());
    });
}

#[test]
fn f30_stop_and_reset_tell_the_truth() {
    // Each start of the timer ends in exactly one way: its tick is received, or a stop or reset says that it prevented it.
    under_stress(|on| {
        let timer = Timer::new(Duration::from_secs(3600));
        let (quit_tx, quit) = channel::<()>(0);
        let receivers: Vec<_> = (0..2)
            .map(|_| {
                let (timer, quit) = (timer.clone(), quit.clone());
                on.spawn(move || {
                    let mut ticks = 0;
                    while choice((timer.recv_op().wrap(|_| true), quit.recv_op().wrap(|_| false))).perform() {
                        ticks += 1;
                    }
                    ticks
                })
            })
            .collect();
        let mut rng = Rng::new(30);
        let (mut starts, mut prevented) = (1, 0);
        for _ in 0..rounds(1_000, 1_000_000) {
            if rng.below(3) == 0 {
                prevented += u64::from(timer.stop());
            } else {
                prevented += u64::from(timer.reset(Duration::from_micros(rng.below(60))));
                starts += 1;
            }
            match rng.below(3) {
                0 => sleep(Duration::from_micros(rng.below(100))),
                1 => on.pause(),
                _ => {}
            }
        }
        prevented += u64::from(timer.stop());
        drop(quit_tx);
        let ticks: u64 = receivers.into_iter().map(|r| r.join()).sum();
        assert_eq!(starts, prevented + ticks);
        assert_eq!(timer.try_recv(), None);
    });
}

#[test]
fn f30_a_stopped_timer_can_be_reset_for_those_who_wait() {
    everywhere(|on| {
        let timer = Timer::new(Duration::from_secs(3600));
        let (ready, is_ready) = channel::<()>(0);
        let receiver = {
            let timer = timer.clone();
            on.spawn(move || {
                choice((ready.send_op(()).wrap(|_| None), timer.recv_op().wrap(Some)))
                    .perform()
                    .or_else(|| Some(timer.recv()))
            })
        };
        is_ready.recv().unwrap();
        assert!(timer.stop());
        assert!(!timer.stop());
        (0..3).for_each(|_| on.pause());
        assert!(!timer.reset(MOMENT));
        assert!(receiver.join().is_some());
        assert!(!timer.stop());
    });
}
