//! Programs that tests run in a process of their own: no thread of a test harness exists there, so that deadlocks are seen.

use fibers::fiber::Builder;
use fibers::op::{choice, never};
use fibers::{Cond, Op, Runtime, channel, spawn, time};
use std::thread;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(3600);
const MOMENT: Duration = Duration::from_millis(60);

pub(crate) fn main() {
    let program: fn() = match std::env::args().nth(1).as_deref() {
        Some("deadlock") => deadlock,
        Some("lost timeouts") => lost_timeouts,
        Some("timer") => timer,
        Some("foreign thread") => foreign_thread,
        Some("blocking job") => blocking_job,
        other => panic!("no program is called {other:?}"),
    };
    Runtime::builder()
        .workers(2)
        .build()
        .expect("a runtime can be built")
        .run(program);
}

fn deadlock() {
    let (tx, rx) = channel::<u32>(0);
    let (full_tx, full) = channel::<u32>(1);
    full_tx.send(1).unwrap();
    let cond = Cond::new();
    let waited = cond.clone();
    let consumer = Builder::new().name("consumer").spawn(move || {
        choice((rx.recv_op().wrap(drop).label("the data"), waited.wait_op(), never())).perform();
    });
    let producer = Builder::new().name("producer").spawn(move || full_tx.send(2).unwrap());
    consumer.unwrap().join().unwrap();
    producer.unwrap().join().unwrap();
    drop((tx, full, cond));
}

fn lost_timeouts() {
    let (tx, rx) = channel::<u32>(0);
    let receiver = rx.clone();
    let sum = spawn(move || {
        let receive = || receiver.recv_op().wrap(|v| v.unwrap());
        (0..60)
            .map(|_| choice((time::sleep_op(LONG).wrap(|()| 0), receive())).perform())
            .sum::<u32>()
    });
    for _ in 0..20 {
        tx.send_timeout(1, LONG).unwrap();
        tx.send_op(1).wrap(drop).timeout(LONG).wrap(drop).perform();
        let send = tx.send_op(1).wrap(drop).or(time::sleep_op(LONG));
        choice((time::sleep_op(LONG).boxed(), never().boxed(), send.boxed())).perform();
    }
    assert_eq!(sum.join().unwrap(), 60);
    rx.recv().unwrap();
}

fn timer() {
    let (tx, rx) = channel::<u32>(0);
    spawn(move || {
        time::sleep(MOMENT);
        tx.send(1).unwrap();
    });
    assert_eq!(rx.recv(), Ok(1));
}

fn foreign_thread() {
    let (tx, rx) = channel::<u32>(0);
    let thread = thread::spawn(move || {
        thread::sleep(MOMENT);
        tx.send(1).unwrap();
    });
    assert_eq!(rx.recv(), Ok(1));
    thread.join().unwrap();
}

fn blocking_job() {
    fibers::spawn_blocking(|| thread::sleep(MOMENT)).join().unwrap();
}
