//! Against the number of fibers that exist: beside parked ones, which should cost nothing, and among running ones, whose stacks
//! have to be fetched from memory once they are too many for the caches.

use crate::measure::{Scale, on_one_worker};
use crate::svg::Chart;
use fibers::{WaitGroup, channel, select, spawn, spawn_local, yield_now};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

/// Operations of a few fibers, beside N that wait.
pub(crate) fn parked(scale: &Scale) -> Chart {
    let mut chart = Chart {
        title: "Beside parked fibers".into(),
        x: "parked fibers",
        y: "ns per operation",
        curves: vec![],
    };
    for n in scale.decades(1_000_000) {
        on_one_worker(|| {
            let (hold, held) = channel::<()>(0);
            for _ in 0..n {
                let held = held.clone();
                spawn(move || held.recv());
            }
            while hold.waiting_receivers() < n {
                yield_now();
            }
            chart.add("yield", n, yields(scale));
            chart.add("ping-pong, round trip", n, ping_pong(scale));
            chart.add("spawn + join", n, spawn_join(scale));
            chart.add("select of 2", n, select_of_2(scale));
            chart.add("receive with timeout", n, timeout(scale));
            hold.close();
        });
    }
    chart
}

fn yields(scale: &Scale) -> f64 {
    yields_of(scale, 1)
}

/// One yield of this fiber is one of each.
pub(crate) fn yields_of(scale: &Scale, n: usize) -> f64 {
    let stop = Rc::new(Cell::new(false));
    for _ in 0..n {
        let stopped = stop.clone();
        spawn_local(move || {
            while !stopped.get() {
                yield_now();
            }
        });
    }
    yield_now();
    let ns = scale.time(n + 1, yield_now);
    stop.set(true);
    yield_now();
    ns
}

fn ping_pong(scale: &Scale) -> f64 {
    let (there, received) = channel::<usize>(0);
    let (answer, back) = channel(0);
    spawn(move || received.iter().try_for_each(|v| answer.send(v)));
    scale.time(1, || {
        there.send(1).unwrap();
        back.recv().unwrap();
    })
}

fn spawn_join(scale: &Scale) -> f64 {
    scale.time(1, || assert_eq!(spawn(|| 1).join().unwrap(), 1))
}

fn select_of_2(scale: &Scale) -> f64 {
    let (tx, rx) = channel::<usize>(0);
    let (_quitter, quit) = channel::<()>(0);
    spawn(move || (0..).try_for_each(|i| tx.send(i)));
    scale.time(1, || {
        select! {
            v = <-rx => v.unwrap(),
            <-quit => unreachable!(),
        }
    })
}

fn timeout(scale: &Scale) -> f64 {
    let (tx, rx) = channel::<usize>(0);
    spawn(move || (0..).try_for_each(|i| tx.send(i)));
    scale.time(1, || rx.recv_timeout(Duration::from_secs(60)).unwrap())
}

/// All N fibers run: each operation goes to another stack.
pub(crate) fn running(scale: &Scale) -> Chart {
    let mut chart = Chart {
        title: "Among running fibers, each in turn".into(),
        x: "running fibers",
        y: "ns per operation",
        curves: vec![],
    };
    for n in scale.decades(100_000) {
        chart.add("yield", n, on_one_worker(|| yields_of(scale, n)));
        chart.add("ping-pong of pairs, trip", n, on_one_worker(|| pairs(scale, n)));
        chart.add("spawn, all at once", n, on_one_worker(|| burst(scale, n)));
    }
    chart
}

/// Pairs that play ping-pong, all at the same time.
fn pairs(scale: &Scale, n: usize) -> f64 {
    let pairs = n.div_ceil(2);
    let stop = Rc::new(Cell::new(false));
    let trips = Rc::new(Cell::new(0_usize));
    for _ in 0..pairs {
        let (there, received) = channel::<usize>(0);
        let (answer, back) = channel(0);
        spawn_local(move || received.iter().try_for_each(|v| answer.send(v)));
        let (stopped, trips) = (stop.clone(), trips.clone());
        spawn_local(move || {
            while !stopped.get() {
                there.send(1).unwrap();
                back.recv().unwrap();
                trips.set(trips.get() + 1);
            }
        });
    }
    while trips.get() < pairs {
        yield_now();
    }
    let ns = scale.time_counted(pairs, || trips.get(), yield_now);
    stop.set(true);
    ns
}

/// All are spawned before the first one runs.
fn burst(scale: &Scale, n: usize) -> f64 {
    let wg = WaitGroup::new();
    scale.time(n, || {
        (0..n).for_each(|_| drop(wg.go(|| ())));
        wg.wait();
    })
}
