//! The pool for blocking calls: what it reports, how it shrinks, and calls as operations.

use fibers::{Handle, Op, Runtime, blocking_op, channel, op, select, sleep, spawn, spawn_blocking, yield_now};
use fibers_tests::{Drops, HANG, everywhere, on_workers, panic_message, quiet_panic, rounds, watchdog};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::time::Duration;

#[test]
fn it_grows_reports_its_queue_and_shrinks() {
    watchdog(HANG, || {
        let builder = Runtime::builder().workers(1).blocking_threads(2);
        let runtime = builder.blocking_idle(Duration::from_millis(5)).build().unwrap();
        assert_eq!(runtime.blocking_pool().threads, 0);
        runtime.run(|| {
            let handle = Handle::current();
            let (end, ended) = mpsc::channel::<()>();
            let ended = std::sync::Arc::new(std::sync::Mutex::new(ended));
            let jobs: Vec<_> = (0..5)
                .map(|_| {
                    let ended = ended.clone();
                    spawn_blocking(move || ended.lock().unwrap().recv().unwrap())
                })
                .collect();
            while handle.blocking_pool().running < 2 {
                yield_now();
            }
            let busy = handle.blocking_pool();
            assert_eq!((busy.threads, busy.idle, busy.running, busy.queued), (2, 0, 2, 3), "{busy:?}");
            (0..5).for_each(|_| end.send(()).unwrap());
            jobs.into_iter().for_each(|job| job.join().unwrap());
            while handle.blocking_pool().threads > 0 {
                sleep(Duration::from_millis(1));
            }
            let rest = handle.blocking_pool();
            assert_eq!((rest.threads, rest.idle, rest.running, rest.queued), (0, 0, 0, 0), "{rest:?}");
            assert_eq!(spawn_blocking(|| 3).join().unwrap(), 3, "it grows again");
        });
    });
}

#[test]
fn a_call_is_an_operation_everywhere() {
    everywhere(|on| {
        let tasks: Vec<_> = (0..20)
            .map(|i| on.spawn(move || blocking_op(move || i * i).perform().unwrap()))
            .collect();
        let squares: Vec<_> = tasks.into_iter().map(|task| task.join()).collect();
        assert_eq!(squares, (0..20).map(|i| i * i).collect::<Vec<_>>());
    });
}

#[test]
fn on_a_plain_thread_it_blocks_the_thread() {
    let me = std::thread::current().id();
    assert_eq!(
        blocking_op(move || std::thread::current().id() == me)
            .try_perform()
            .map(Result::unwrap),
        Some(true)
    );
}

#[test]
fn a_call_that_loses_before_it_begins_never_does() {
    on_workers(&[1], |_| {
        let runtime = Handle::current();
        let (free, freed) = mpsc::channel::<()>();
        let drops = Drops::default();
        let threads = 64;
        let freed = std::sync::Arc::new(std::sync::Mutex::new(freed));
        let blockers: Vec<_> = (0..threads)
            .map(|_| {
                let freed = freed.clone();
                spawn_blocking(move || freed.lock().unwrap().recv().unwrap())
            })
            .collect();
        for _ in 0..rounds(20, 1000) {
            let kept = drops.make(());
            let late = blocking_op(move || drop(kept)).timeout(Duration::from_micros(100)).perform();
            assert!(late.is_err());
        }
        let pool = runtime.blocking_pool();
        assert_eq!(pool.queued + pool.running, threads, "{pool:?}");
        assert_eq!(drops.live(), 0, "what never begins is dropped");
        (0..threads).for_each(|_| free.send(()).unwrap());
        blockers.into_iter().for_each(|job| job.join().unwrap());
    });
}

#[test]
fn a_call_that_loses_under_way_drops_its_result() {
    on_workers(&[1, 2], |on| {
        let drops = Drops::default();
        for _ in 0..rounds(10, 200) {
            let (began, begun) = channel::<()>(0);
            let (end, ended) = mpsc::channel::<()>();
            let theirs = drops.clone();
            let call = blocking_op(move || {
                began.send(()).unwrap();
                ended.recv().unwrap();
                theirs.make(())
            });
            let other = select! {
                value = call => Err(value),
                r = <-begun => Ok(r),
            };
            other.expect("the call cannot win").unwrap();
            end.send(()).unwrap();
        }
        let made = drops.made();
        on.eventually(|| Handle::current().blocking_pool().running == 0);
        assert!(drops.made() >= made);
        on.eventually(|| drops.live() == 0);
    });
}

#[test]
fn its_panic_is_the_performers() {
    everywhere(|_| {
        let payload = catch_unwind(AssertUnwindSafe(|| blocking_op(|| quiet_panic("in the call")).perform())).unwrap_err();
        assert_eq!(panic_message(&*payload), "in the call");
        assert_eq!(blocking_op(|| 2).perform().unwrap(), 2);
    });
}

#[test]
fn a_full_queue_makes_performers_wait() {
    watchdog(HANG, || {
        let builder = Runtime::builder().workers(2).blocking_threads(1).blocking_queue(1);
        builder.build().unwrap().run(|| {
            let calls: Vec<_> = (0..50)
                .map(|i| spawn(move || blocking_op(move || i).perform().unwrap()))
                .collect();
            assert_eq!(calls.into_iter().map(|call| call.join().unwrap()).sum::<i32>(), 49 * 25);
        });
    });
}

#[test]
fn a_ready_branch_wins_against_a_slow_call() {
    on_workers(&[1], |_| {
        let (end, ended) = mpsc::channel::<()>();
        let won = blocking_op(move || ended.recv().is_err())
            .wrap(|_| "call")
            .or(op::always("other"))
            .perform();
        assert_eq!(won, "other");
        drop(end);
    });
}
