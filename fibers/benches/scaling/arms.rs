//! Against the number of arms of a choice. Work for each arm is expected (each source is looked at, and where nothing is ready, each
//! is waited at and left again), so the cost is given per arm; it should not grow.

use crate::measure::{Scale, on_one_worker};
use crate::svg::Chart;
use fibers::{Op, Receiver, Sender, channel, op, select, spawn, yield_now};

/// The most arms that the macro promises; lists have no limit.
const MACRO: usize = 64;
const LIST: usize = 1024;

/// Calls `$run!` with as many numbers as there are arms.
macro_rules! with_arms {
    ($n:expr, $run:ident) => {
        match $n {
            1 => $run!(0),
            2 => $run!(0 1),
            4 => $run!(0 1 2 3),
            8 => $run!(0 1 2 3 4 5 6 7),
            16 => $run!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15),
            32 => $run!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31),
            64 => $run!(
                0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31
                32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63
            ),
            other => unreachable!("{other} arms"),
        }
    };
}

pub(crate) fn arms(scale: &Scale) -> Chart {
    let mut chart = Chart {
        title: "Choices of many arms".into(),
        x: "arms",
        y: "ns per arm",
        curves: vec![],
    };
    for n in scale.doublings(MACRO) {
        let per_arm = |ns: f64| ns / n as f64;
        chart.add("select!, default", n, per_arm(on_one_worker(|| nothing_ready(scale, n))));
        chart.add("select!, one is ready", n, per_arm(on_one_worker(|| one_ready(scale, n))));
        chart.add("select!, waits", n, per_arm(on_one_worker(|| waits(scale, n))));
        chart.add(
            "select!, waits, with if",
            n,
            per_arm(on_one_worker(|| waits_with_if(scale, n))),
        );
    }
    for n in scale.doublings(LIST) {
        let per_arm = |ns: f64| ns / n as f64;
        chart.add("list, waits", n, per_arm(on_one_worker(|| list_waits(scale, n, 0))));
        chart.add(
            "list with an absent arm",
            n,
            per_arm(on_one_worker(|| list_waits(scale, n, 1))),
        );
    }
    chart
}

fn quiet(n: usize) -> (Vec<Sender<usize>>, Vec<Receiver<usize>>) {
    (0..n).map(|_| channel(0)).unzip()
}

/// Channels to which another fiber sends in turn, always after the receiver has begun to wait.
fn served(n: usize) -> Vec<Receiver<usize>> {
    let (senders, receivers) = quiet(n);
    spawn(move || {
        for i in 0.. {
            // The next one is tried once the receiver waits again.
            if senders[i % n].send(i).is_err() {
                return;
            }
            yield_now();
        }
    });
    receivers
}

fn nothing_ready(scale: &Scale, n: usize) -> f64 {
    let (_open, rx) = quiet(n);
    macro_rules! run {
        ($($i:literal)*) => {
            scale.time(1, || select! { $(<-rx[$i] => unreachable!(),)* default => {} })
        };
    }
    with_arms!(n, run)
}

fn one_ready(scale: &Scale, n: usize) -> f64 {
    let (mut tx, rx) = quiet(n);
    // It is closed, and so for ever ready.
    tx.pop();
    macro_rules! run {
        ($($i:literal)*) => {
            scale.time(1, || select! { $(_ = <-rx[$i] => {},)* })
        };
    }
    with_arms!(n, run)
}

fn waits(scale: &Scale, n: usize) -> f64 {
    let rx = served(n);
    macro_rules! run {
        ($($i:literal)*) => {
            scale.time(1, || select! { $(v = <-rx[$i] => v.unwrap(),)* })
        };
    }
    with_arms!(n, run)
}

/// Arms that may be absent, although none is.
fn waits_with_if(scale: &Scale, n: usize) -> f64 {
    let rx = served(n);
    let wanted = std::hint::black_box(true);
    macro_rules! run {
        ($($i:literal)*) => {
            scale.time(1, || select! { $(v = <-rx[$i] if wanted => v.unwrap(),)* })
        };
    }
    with_arms!(n, run)
}

/// A choice of a list of operations, and some more that are `None`.
fn list_waits(scale: &Scale, n: usize, absent: usize) -> f64 {
    let rx = served(n);
    scale.time(1, || {
        let none = (0..absent).map(|_| None);
        let operations = none.chain(rx.iter().map(|rx| Some(rx.recv_op())));
        op::choice(operations).perform().unwrap()
    })
}
