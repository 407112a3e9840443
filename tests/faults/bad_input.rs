//! What cannot be done: each message says what to write instead.

use crate::{child, child_with};
use fibers::fiber::Builder;
use fibers::time::Ticker;
use fibers::{Handle, Queue, Runtime, RuntimeBuilder, WaitGroup, channel};
use fibers_tests::{HANG, panics_with, runtime, watchdog};
use std::io::ErrorKind;
use std::time::Duration;

/// Building this fails, and the message holds all these words.
#[track_caller]
fn refused(builder: RuntimeBuilder, words: &[&str]) {
    let error = builder.build().expect_err("it should have been refused");
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    let message = error.to_string();
    for word in words {
        assert!(message.contains(word), "{word:?} is missing in {message:?}");
    }
}

fn builder() -> RuntimeBuilder {
    Runtime::builder().workers(1)
}

#[test]
fn channels_that_do_not_fit_into_memory() {
    const INSTEAD: &str = "does not fit into memory; use a smaller capacity or `unbounded()`";
    for capacity in [usize::MAX, usize::MAX / 4096, isize::MAX as usize / 4096 + 1] {
        let message = format!("a channel with room for {capacity} values of 4096 bytes {INSTEAD}");
        panics_with(&message, || drop(channel::<[u8; 4096]>(capacity)));
        panics_with(&message, || drop(Queue::<[u8; 4096]>::bounded(capacity)));
    }
    let message = format!("a channel with room for {} values of 1 bytes {INSTEAD}", usize::MAX);
    panics_with(&message, || drop(channel::<u8>(usize::MAX)));
}

#[test]
fn a_channel_of_nothing_may_hold_any_number() {
    let (tx, rx) = channel::<()>(usize::MAX);
    assert_eq!(tx.capacity(), Some(usize::MAX));
    (0..1000).for_each(|_| tx.send(()).unwrap());
    assert_eq!(rx.len(), 1000);
}

#[test]
fn numbers_of_workers() {
    refused(
        Runtime::builder().workers(0),
        &["at least one worker", "workers(..)", "1 or more"],
    );
    refused(Runtime::builder().workers(usize::MAX), &["workers", "at most"]);
    refused(builder().blocking_threads(0), &["at least one thread", "blocking_threads(1)"]);
    refused(builder().blocking_queue(0), &["room", "blocking_queue(1)"]);
}

#[test]
fn sizes_of_stacks() {
    refused(builder().stack_size(0), &["0 bytes is too small", "81920"]);
    refused(builder().stack_size(1), &["1 bytes is too small", "guard of 65536", "81920"]);
    refused(builder().stack_size(64 << 10), &["too small"]);
    refused(builder().stack_size(usize::MAX), &["too large", "at most"]);
    refused(builder().stack_size(1 << 40), &["too large", "at most"]);
    refused(builder().guard_size(0), &["needs a guard", "one page of 4096"]);
    refused(builder().guard_size(256 << 10), &["too small", "guard of 262144"]);
    refused(builder().guard_size(usize::MAX), &["too large", "at most"]);
    // What is odd is rounded up, and what is small but possible works.
    for (size, guard) in [((80 << 10) + 1, 1), (20 << 10, 4096), (1 << 30, 1 << 20)] {
        let runtime = builder().stack_size(size).guard_size(guard).build().unwrap();
        assert_eq!(runtime.run(|| fibers::spawn(|| 3).join().unwrap()), 3);
    }
}

#[test]
fn sizes_of_a_fibers_own_stack() {
    watchdog(HANG, || {
        runtime(1).run(|| {
            for (bytes, word) in [
                (usize::MAX, "too large"),
                (1 << 50, "too large"),
                (0, "too small"),
                (1, "too small"),
            ] {
                let error = Builder::new().stack_size(bytes).spawn(|| ()).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
                let message = error.to_string();
                assert!(message.contains(word), "{message}");
                // The size that was asked for, not one that the guard was added to.
                assert!(message.contains(&format!("a stack of {bytes} bytes")), "{message}");
            }
            assert_eq!(Builder::new().stack_size(16 << 10).spawn(|| 1).unwrap().join().unwrap(), 1);
        });
    });
}

#[test]
fn variables_that_are_no_numbers() {
    for name in ["FIBERS_WORKERS", "FIBERS_STACK_SIZE"] {
        for value in ["", "many", "-1", "1.5", "0x10", "99999999999999999999999"] {
            let ended = child_with("build", &[(name, value)]).well();
            assert!(ended.out.starts_with("InvalidInput: "), "{ended:#?}");
            assert!(ended.out.contains(name) && ended.out.contains("whole number"), "{ended:#?}");
            assert!(ended.out.contains(&format!("{value:?}")), "{ended:#?}");
        }
    }
    // The message must lead to the variable, since the program does not mention the number.
    let ended = child_with("build", &[("FIBERS_WORKERS", "0")]).well();
    assert!(
        ended.out.starts_with("InvalidInput: ") && ended.out.contains("FIBERS_WORKERS"),
        "{ended:#?}"
    );
    let ended = child_with("build", &[("FIBERS_STACK_SIZE", "100")]).well();
    assert!(
        ended.out.starts_with("InvalidInput: ") && ended.out.contains("FIBERS_STACK_SIZE"),
        "{ended:#?}"
    );
    let ended = child_with("build", &[("FIBERS_WORKERS", " 3 ")]).well();
    assert!(ended.out.contains("workers: 3"), "{ended:#?}");
    assert!(child("build").well().out.starts_with("Runtime"));
}

#[test]
fn a_worker_that_does_not_exist() {
    watchdog(HANG, || {
        let runtime = runtime(2);
        let expect = |spawned: std::io::Result<fibers::JoinHandle<()>>| {
            let error = spawned.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            let message = error.to_string();
            assert!(message.contains("worker 2") && message.contains("2 workers"), "{message}");
        };
        runtime.run(|| {
            expect(Builder::new().worker(2).spawn(|| ()));
            assert_eq!(Builder::new().worker(1).spawn(|| 1).unwrap().join().unwrap(), 1);
            assert!(Builder::new().worker(usize::MAX).spawn(|| 1).is_err());
        });
        expect(Builder::new().worker(2).spawn_on(&runtime.handle(), || ()));
    });
}

#[test]
fn a_local_fiber_on_another_worker() {
    runtime(2).run(|| {
        let message = "a local fiber starts on the current worker: leave `spread` and `worker` away, or use `spawn`";
        assert_eq!(Builder::new().worker(1).spawn_local(|| ()).unwrap_err().to_string(), message);
        assert_eq!(Builder::new().spread().spawn_local(|| ()).unwrap_err().to_string(), message);
    });
}

#[test]
fn outside_of_a_runtime() {
    const SPAWN: &str =
        "a fiber was spawned outside of a runtime: call it inside fibers::run(..) or Runtime::run(..), or spawn through a Handle";
    panics_with(SPAWN, || drop(fibers::spawn(|| ())));
    panics_with(SPAWN, || drop(fibers::spawn_local(|| ())));
    panics_with(SPAWN, || drop(Builder::new().name("x").spawn(|| ())));
    panics_with(
        "spawn_blocking was called outside of a runtime: call it inside fibers::run(..) or Runtime::run(..)",
        || drop(fibers::spawn_blocking(|| ())),
    );
    panics_with(
        "Handle::current() is for fibers: outside of a runtime, keep the result of Runtime::handle()",
        || drop(Handle::current()),
    );
    assert!(Handle::try_current().is_none());
    panics_with("fibers::current() is for fibers: this is a plain thread", || {
        drop(fibers::current())
    });
    // What makes sense on a thread works there.
    fibers::yield_now();
    fibers::sleep(Duration::from_millis(1));
}

fibers::fiber_local! { static VALUE: u32 = 5; }

#[test]
fn fiber_locals_outside_of_a_fiber() {
    let message = "a fiber-local was used outside of a fiber; use it inside `fibers::run`, or use `thread_local!`";
    panics_with(message, || VALUE.with(|_| ()));
    assert_eq!(VALUE.try_with(|v| *v).unwrap_err().to_string(), message);
    runtime(1).run(|| {
        assert_eq!(VALUE.with(|v| *v), 5);
        let blocking = fibers::spawn_blocking(|| VALUE.try_with(|v| *v).is_err());
        assert!(blocking.join().unwrap());
    });
}

#[test]
fn blocking_jobs_are_no_fibers() {
    runtime(1).run(|| {
        let job = fibers::spawn_blocking(|| Handle::try_current().is_none());
        assert!(job.join().unwrap());
    });
}

#[test]
fn a_period_of_zero() {
    let message = "a ticker needs a period longer than zero; for a loop without pauses, use `yield_now`";
    panics_with(message, || drop(Ticker::new(Duration::ZERO)));
    let ticker = Ticker::new(Duration::from_secs(1));
    panics_with(message, || ticker.reset(Duration::ZERO));
    // The ticker is as it was.
    assert!(ticker.stop());
}

#[test]
fn more_done_than_added() {
    let group = WaitGroup::new();
    group.add(1);
    group.done();
    panics_with("WaitGroup: `done` was called more often than `add` announced", || {
        group.done()
    });
    group.add(1);
    group.done();
    group.wait();
    panics_with("WaitGroup: `done` was called more often than `add` announced", || {
        group.add(-1)
    });
    group.add(isize::MAX);
    panics_with("WaitGroup: `add` has overflowed its counter", || group.add(1));
    assert_eq!(group.count(), isize::MAX.unsigned_abs());
}

#[test]
fn names_of_any_kind() {
    watchdog(HANG, || {
        runtime(1).run(|| {
            for name in ["", "\0\n\t", "name \u{1F980}", &"x".repeat(100_000)] {
                let fiber = Builder::new()
                    .name(name)
                    .spawn(|| fibers::current().name().map(str::len))
                    .unwrap();
                assert_eq!(fiber.name(), Some(name));
                assert_eq!(fiber.join().unwrap(), Some(name.len()));
            }
        });
    });
}

#[test]
fn a_join_that_comes_twice() {
    use fibers::Op;
    runtime(1).run(|| {
        let fiber = fibers::spawn(|| 5);
        assert_eq!(fiber.join_op().perform().unwrap(), 5);
        let error = fiber.join().unwrap_err();
        assert_eq!(error.to_string(), "the result of the fiber has been taken by an earlier join");
        assert!(!error.is_panic() && !error.is_cancelled());
        let payload = error.try_into_panic();
        assert!(payload.is_err());
    });
}

#[test]
fn a_fiber_that_joins_itself_can_be_helped() {
    use fibers::Op;
    runtime(1).run(|| {
        let (tx, rx) = channel::<fibers::JoinHandle<bool>>(0);
        let (done, end) = channel(0);
        let fiber = fibers::spawn(move || {
            let own = rx.recv().unwrap();
            let waited = own.join_op().timeout(Duration::from_millis(5)).perform();
            done.send(waited.is_err()).unwrap();
            true
        });
        tx.send(fiber).unwrap();
        assert_eq!(end.recv(), Ok(true));
    });
}
