//! Everything that does not unwind works in a program built with `panic = "abort"`. With that, fibers that are left over at the
//! end of a run are leaked, not unwound, so their destructors do not run.
//!
//! ```text
//! CARGO_PROFILE_RELEASE_PANIC=abort cargo run --release --example panic_abort
//! ```

use fibers::fiber::Builder;
use fibers::time::{self, Ticker};
use fibers::{Op, Runtime, WaitGroup, channel, defer, go, op, select, spawn, spawn_blocking, spawn_local};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Fibers on every worker, channels of both kinds, a group that waits.
fn sums() {
    let (jobs, todo) = channel::<u64>(16);
    let (results, done) = channel::<u64>(0);
    let group = WaitGroup::new();
    for i in 0..4 {
        let (todo, results) = (todo.clone(), results.clone());
        group.add(1);
        let group = group.clone();
        let worker = Builder::new().name(format!("squares {i}")).spread().spawn(move || {
            defer! { group.done() };
            todo.iter().for_each(|n| results.send(n * n).unwrap());
        });
        worker.expect("there are stacks");
    }
    drop((todo, results));
    go! { (1..=100).for_each(|n| jobs.send(n).unwrap()); };
    assert_eq!(done.iter().sum::<u64>(), 338_350);
    group.wait();
}

/// Choices, timeouts, nacks, tickers.
fn choices() {
    let (tx, rx) = channel::<&str>(0);
    go!(tx <- "hello");
    let heard = select! {
        Ok(word) = <-rx else { unreachable!("the sender is there") } => word,
        _ = time::sleep_op(Duration::from_secs(60)) => "nothing",
    };
    assert_eq!(heard, "hello");
    assert!(
        rx.recv_op()
            .timeout(Duration::from_millis(1))
            .perform()
            .is_ok_and(|closed| closed.is_err())
    );
    let nacked = spawn({
        let (tx, rx) = channel(1);
        let lost = op::with_nack(move |nack| {
            go! {
                nack.perform();
                tx.send(()).unwrap();
            };
            op::never::<()>()
        });
        op::choice((lost, op::always(()))).perform();
        move || rx.recv().is_ok()
    });
    assert!(nacked.join().unwrap());
    let ticker = Ticker::new(Duration::from_millis(1));
    ticker.recv();
    ticker.recv();
}

/// What is left over is leaked, and in nobody's way.
fn leave_some_behind(runtime: &Runtime) {
    let dropped = Arc::new(AtomicUsize::new(0));
    runtime.run(|| {
        for _ in 0..10 {
            let dropped = dropped.clone();
            spawn(move || {
                let _count = defer(move || {
                    dropped.fetch_add(1, Ordering::Relaxed);
                });
                op::never::<()>().perform();
            });
        }
        fibers::sleep(Duration::from_millis(5));
    });
    assert_eq!(dropped.load(Ordering::Relaxed), 0);
}

fn main() {
    let runtime = Runtime::builder().workers(2).build().expect("there are threads");
    for _ in 0..3 {
        runtime.run(|| {
            sums();
            choices();
            assert_eq!(spawn_blocking(|| 6 * 7).join().unwrap(), 42);
            let shared = Rc::new(5);
            let theirs = shared.clone();
            assert_eq!(spawn_local(move || *theirs).join().unwrap(), 5);
            let thread = std::thread::spawn({
                let handle = fibers::Handle::current();
                move || handle.spawn(|| 7).join().unwrap()
            });
            assert_eq!(spawn_blocking(move || thread.join().unwrap()).join().unwrap(), 7);
        });
        leave_some_behind(&runtime);
    }
    println!("ok");
}
