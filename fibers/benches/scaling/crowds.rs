//! Against the size of one channel: how many values it holds, and how many fibers wait there. Both queues are touched at their ends
//! only, wherever a waiter leaves.

use crate::measure::{Scale, on_one_worker};
use crate::neighbours::yields_of;
use crate::svg::Chart;
use crate::timers::{SPREAD, due_together};
use fibers::time::sleep_until_op;
use fibers::{Op, channel, select, spawn, yield_now};

/// One producer, one consumer, room for N.
pub(crate) fn capacity(scale: &Scale) -> Chart {
    let mut chart = Chart {
        title: "Through a buffered channel".into(),
        x: "capacity of the channel",
        y: "ns per value",
        curves: vec![],
    };
    for n in scale.decades(100_000) {
        chart.add("sent by one, received by another", n, on_one_worker(|| stream(scale, n)));
        chart.add("filled, then drained", n, on_one_worker(|| fill(scale, n)));
    }
    chart
}

fn stream(scale: &Scale, n: usize) -> f64 {
    let (tx, rx) = channel(n);
    spawn(move || (0..).try_for_each(|i: usize| tx.send(i)));
    scale.time(1, || rx.recv().unwrap())
}

fn fill(scale: &Scale, n: usize) -> f64 {
    let (tx, rx) = channel(n);
    scale.time(n, || {
        (0..n).for_each(|i| tx.send(i).unwrap());
        (0..n).for_each(|i| assert_eq!(rx.recv(), Ok(i)));
    })
}

/// N fibers wait at one channel.
pub(crate) fn waiters(scale: &Scale) -> Chart {
    let mut chart = Chart {
        title: "At a channel where many wait".into(),
        x: "waiters of the channel",
        y: "ns per operation",
        curves: vec![],
    };
    for n in scale.decades(100_000) {
        chart.add("hand-off to the first", n, on_one_worker(|| hand_off(scale, n)));
        chart.add("select that loses here", n, on_one_worker(|| losing_arm(scale, n)));
        chart.add("timeouts, in any order", n, on_one_worker(|| timeouts(scale, n)));
        chart.add("for comparison: yields", n, on_one_worker(|| yields_of(scale, n)));
    }
    chart
}

/// Each receiver goes back to the end of the queue.
fn hand_off(scale: &Scale, n: usize) -> f64 {
    let (tx, rx) = channel::<usize>(0);
    for _ in 0..n {
        let rx = rx.clone();
        spawn(move || rx.iter().for_each(drop));
    }
    while tx.waiting_receivers() < n {
        yield_now();
    }
    scale.time(n, || (0..n).for_each(|i| tx.send(i).unwrap()))
}

/// One arm is served each time, the other one waits behind N others and is withdrawn.
fn losing_arm(scale: &Scale, n: usize) -> f64 {
    let (hold, held) = channel::<()>(0);
    for _ in 0..n {
        let held = held.clone();
        spawn(move || held.recv());
    }
    while hold.waiting_receivers() < n {
        yield_now();
    }
    let (tx, rx) = channel(0);
    spawn(move || {
        // The receiver is to wait each time.
        while tx.send(()).is_ok() {
            yield_now();
        }
    });
    let round = || {
        select! {
            v = <-rx => v.unwrap(),
            <-held => unreachable!(),
        }
    };
    let ns = scale.time(1, round);
    assert_eq!(hold.waiting_receivers(), n);
    hold.close();
    ns
}

/// N receives whose time is over. What waited first does not leave first: each leaves from somewhere in the middle.
fn timeouts(scale: &Scale, n: usize) -> f64 {
    let (_open, rx) = channel::<()>(0);
    due_together(scale, n, move |i, end| {
        // Each place once: 7919 is a prime, and n a power of ten.
        let before_end = SPREAD.mul_f64((i * 7919 % n) as f64 / n as f64);
        let over = sleep_until_op(end - before_end);
        // Not a duration: that would begin when the worker looks at its clock the next time, which is kept from doing so.
        let got = rx.recv_op().wrap(Some).or(over.wrap(|()| None)).perform();
        assert!(got.is_none(), "nothing was sent");
    })
}
