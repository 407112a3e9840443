//! Against the number of timers that are armed: arming and cancelling one more, and what it costs when all of them are due.

use crate::measure::{Scale, on_one_worker};
use crate::neighbours::yields_of;
use crate::svg::Chart;
use fibers::time::{sleep_op, sleep_until, sleep_until_op};
use fibers::{Op, Receiver, channel, op, spawn, spawn_local, yield_now};
use std::time::{Duration, Instant};

pub(crate) fn timers(scale: &Scale) -> Chart {
    let mut chart = Chart {
        title: "Beside timers that are armed".into(),
        x: "timers armed",
        y: "ns per timer",
        curves: vec![],
    };
    for n in scale.decades(1_000_000) {
        let (all, cancelled) = on_one_worker(|| arm_all(scale, n));
        chart.add("arm one of a choice of N", n, all);
        chart.add("cancel one of a choice of N", n, cancelled);
        chart.add("receive with timeout", n, on_one_worker(|| timeout_beside(scale, n)));
        chart.add("receive until a deadline", n, on_one_worker(|| deadline_beside(scale, n)));
    }
    for n in scale.decades(100_000) {
        chart.add("wake of N sleepers, each", n, on_one_worker(|| wakes(scale, n)));
        chart.add("for comparison: yields", n, on_one_worker(|| yields_of(scale, n)));
    }
    chart
}

/// A timer far away, each in another tick.
fn far(i: usize) -> impl Op<Output = ()> {
    sleep_op(Duration::from_secs(3600) + i as u32 * Duration::from_micros(70))
}

/// One fiber arms N timers, as a choice; then it is told to cancel them.
fn arm_all(scale: &Scale, n: usize) -> (f64, f64) {
    let mut cancelled = f64::MAX;
    let armed = scale.best(|| {
        let (quit, told) = channel::<()>(0);
        let waiting = quit.clone();
        let timers = spawn(move || {
            let operation = op::choice((op::choice((0..n).map(far)), told.recv_op().wrap(drop)));
            let start = Instant::now();
            operation.perform();
            start
        });
        while waiting.waiting_receivers() == 0 {
            yield_now();
        }
        let all_armed = Instant::now();
        drop((quit, waiting));
        let start = timers.join().unwrap();
        cancelled = cancelled.min(all_armed.elapsed().as_nanos() as f64 / n as f64);
        (all_armed - start).as_nanos() as f64 / n as f64
    });
    (armed, cancelled)
}

/// One more timer is armed and cancelled each time, in a wait so short that nobody looks at the clock meanwhile.
fn timeout_beside(scale: &Scale, n: usize) -> f64 {
    beside(scale, n, |rx| {
        rx.recv_timeout(Duration::from_secs(60)).unwrap();
    })
}

/// As before, but it has its place in the wheel at once; this reads the clock.
fn deadline_beside(scale: &Scale, n: usize) -> f64 {
    let deadline = Instant::now() + Duration::from_secs(60);
    beside(scale, n, |rx| {
        let got = rx.recv_op().wrap(Some).or(sleep_until_op(deadline).wrap(|()| None)).perform();
        assert!(got.is_some(), "it is not over yet");
    })
}

/// Measures one way to receive, beside N timers.
fn beside(scale: &Scale, n: usize, receive: impl Fn(&Receiver<usize>)) -> f64 {
    let (quit, told) = channel::<()>(0);
    spawn(move || op::choice((op::choice((0..n).map(far)), told.recv_op().wrap(drop))).perform());
    while quit.waiting_receivers() == 0 {
        yield_now();
    }
    let (tx, rx) = channel(0);
    spawn(move || (0..).try_for_each(|i: usize| tx.send(i)));
    scale.time(1, || receive(&rx))
}

/// N sleepers who are due together.
fn wakes(scale: &Scale, n: usize) -> f64 {
    due_together(scale, n, |_, end| sleep_until(end))
}

/// How long before the end the first waits of [`due_together`] may end.
pub(crate) const SPREAD: Duration = Duration::from_millis(20);

/// What it costs to end N waits of which all are over: the worker is kept busy until then. `wait` is told which of them it is, and
/// when the last one is to end.
pub(crate) fn due_together(scale: &Scale, n: usize, wait: impl Fn(usize, Instant) + Clone + 'static) -> f64 {
    // The fibers are made once, so that what is measured are not the page faults of fresh stacks.
    let (starter, start) = channel::<Instant>(0);
    for i in 0..n {
        let (start, wait) = (start.clone(), wait.clone());
        spawn_local(move || {
            for end in &start {
                wait(i, end);
            }
        });
    }
    let ready = || {
        while starter.waiting_receivers() < n {
            yield_now();
        }
    };
    scale.best(|| {
        ready();
        let end = Instant::now() + 2 * SPREAD + Duration::from_micros(3) * n as u32;
        (0..n).for_each(|_| starter.send(end).unwrap());
        yield_now();
        assert!(Instant::now() < end - SPREAD, "the waits take too long to begin");
        // A timer may be late by a tick, of less than 100 µs.
        while Instant::now() <= end + Duration::from_micros(100) {
            std::hint::spin_loop();
        }
        let start = Instant::now();
        ready();
        start.elapsed().as_nanos() as f64 / n as f64
    })
}
