//! Running, spawning, parking, yielding, alarms.

use std::sync::atomic::AtomicUsize;

use super::*;

#[test]
fn run_returns_and_borrows() {
    let text = String::from("borrowed");
    assert_eq!(runtime(1).run(|| text.len()), 8);
    assert_eq!(runtime(2).run(|| text.len()), 8);
}

#[test]
fn panic_of_main_passes_through() {
    let rt = runtime(1);
    let result = catch_unwind(AssertUnwindSafe(|| rt.run(|| panic!("from main"))));
    assert_eq!(result.unwrap_err().downcast_ref::<&str>(), Some(&"from main"));
    assert_eq!(rt.run(|| 3), 3);
}

#[test]
fn spawned_fibers_run() {
    let _dog = watchdog(60);
    for workers in [1, 2, 4] {
        let count = Arc::new(AtomicUsize::new(0));
        runtime(workers).run(|| {
            let all: Vec<_> = (0..1000)
                .map(|_| {
                    let count = count.clone();
                    go(move || {
                        count.fetch_add(1, Ordering::Relaxed);
                    })
                })
                .collect();
            all.iter().for_each(|done| done.event.wait());
        });
        assert_eq!(count.load(Ordering::Relaxed), 1000);
    }
}

#[test]
fn ping_pong() {
    let _dog = watchdog(60);
    for workers in [1, 2] {
        runtime(workers).run(|| {
            let (a, b) = (Arc::new(Event::default()), Arc::new(Event::default()));
            let (a2, b2) = (a.clone(), b.clone());
            go(move || {
                for _ in 0..10_000 {
                    a2.wait();
                    b2.signal();
                }
            });
            for _ in 0..10_000 {
                a.signal();
                b.wait();
            }
        });
    }
}

#[test]
fn yields_take_turns() {
    runtime(1).run(|| {
        let log = Arc::new(Mutex::new(Vec::new()));
        let all: Vec<_> = (0..3)
            .map(|i| {
                let log = log.clone();
                go(move || {
                    for _ in 0..3 {
                        log.lock().unwrap().push(i);
                        yield_now();
                    }
                })
            })
            .collect();
        all.iter().for_each(|done| done.event.wait());
        assert_eq!(log.lock().unwrap().iter().filter(|&&i| i == 2).count(), 3);
    });
}

/// Sleeps through the wheel.
pub(super) fn nap(ns: u64) {
    let here = here().expect("on a fiber");
    let task = here.task();
    /// Wakes the fiber whose reference `data` points to.
    unsafe fn wake(data: *const ()) {
        // SAFETY: the sleeping fiber keeps its reference, and is woken by nobody else.
        unsafe { ready(*data.cast::<TaskRef>()) }
    }
    let alarm = Alarm {
        data: std::ptr::from_ref(&task).cast(),
        fire: wake,
    };
    let key = here.arm(here.now_ns().saturating_add(ns), alarm);
    while park_as(WaitKind::Time) != Resumed::Ready {
        if here.disarm(key) {
            unwind();
        }
    }
}

#[test]
fn alarms_fire_in_order_and_never_early() {
    let _dog = watchdog(60);
    for workers in [1, 2] {
        runtime(workers).run(|| {
            let log = Arc::new(Mutex::new(Vec::new()));
            let all: Vec<_> = [30, 10, 20]
                .map(|ms| {
                    let log = log.clone();
                    go_to(Place::Local, move || {
                        let began = Instant::now();
                        nap(ms * 1_000_000);
                        assert!(began.elapsed() >= Duration::from_millis(ms));
                        log.lock().unwrap().push(ms);
                    })
                })
                .into();
            all.iter().for_each(|done| done.event.wait());
            assert!(all.iter().all(|done| !done.panicked.load(Ordering::SeqCst)));
            assert_eq!(*log.lock().unwrap(), [10, 20, 30]);
        });
    }
}

/// Each one spawns the next, so the newest batch is always newer than what waits.
fn chain(place: Place, stop: Arc<AtomicBool>) {
    if !stop.load(Ordering::SeqCst) {
        go_to(place, move || chain(place, stop));
    }
}

#[test]
fn none_that_waits_for_its_first_turn_is_forgotten_over_newer_ones() {
    let _dog = watchdog(60);
    for waiting in [Place::Auto, Place::Local] {
        for newer in [Place::Auto, Place::Local] {
            runtime(1).run(|| {
                let stop = Arc::new(AtomicBool::new(false));
                let flag = stop.clone();
                let last = go_to(waiting, move || flag.store(true, Ordering::SeqCst));
                yield_now();
                chain(newer, stop);
                last.event.wait();
            });
        }
    }
}

/// Bursts of a few more fibers than a worker keeps stacks for, with pauses in between.
#[test]
fn a_short_pause_gives_back_one_batch_of_stacks_in_a_millisecond() {
    const BURST: usize = 80;
    let _dog = watchdog(60);
    runtime(1).run(|| {
        let stacks = here().unwrap().core().shared.stacks.clone();
        let (began, mut trims) = (Instant::now(), 0);
        for _ in 0..100 {
            let (gate, arrived) = (Arc::new(Event::default()), Arc::new(Event::default()));
            let all: Vec<_> = (0..BURST)
                .map(|_| {
                    let (gate, arrived) = (gate.clone(), arrived.clone());
                    go(move || {
                        arrived.signal();
                        gate.wait();
                    })
                })
                .collect();
            (0..BURST).for_each(|_| arrived.wait());
            (0..BURST).for_each(|_| gate.signal());
            all.iter().for_each(|done| done.event.wait());
            let before = stacks.in_use();
            nap(100_000);
            trims += u128::from(stacks.in_use() < before);
        }
        assert!(trims <= began.elapsed().as_millis() + 1, "{trims} in {:?}", began.elapsed());
    });
}
