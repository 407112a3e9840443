//! What ends a process, or is only seen in one without other threads: deadlock reports, stack overflows.
//!
//! The harness always has threads of its own, which rules a deadlock out. So a child runs its scenario before `main`.

use std::process::{Command, Output};

use super::basics::nap;
use super::*;

const SCENARIO: &str = "FIBERS_TEST_SCENARIO";

#[used]
// SAFETY: a function that the loader calls before `main`; by then the standard library works, but for the arguments.
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = play;

extern "C" fn play() {
    let Ok(scenario) = std::env::var(SCENARIO) else {
        return;
    };
    let result = catch_unwind(|| match &*scenario {
        "deadlock" => deadlocked(1, Deadlock::Panic),
        "deadlock2" => deadlocked(2, Deadlock::Panic),
        "drain" => Runtime::builder()
            .workers(2)
            .shutdown(Shutdown::Drain)
            .build()
            .unwrap()
            .run(|| {
                go(|| Event::default().wait());
            }),
        "recover" => recovered(),
        "timer" => timer_pending(),
        "thread" => thread_pending(),
        "job" => job_pending(),
        "overflow" => overflowing(),
        "null" => runtime(1).run(|| {
            // SAFETY: none, that is the point.
            unsafe { std::ptr::null_mut::<u8>().write_volatile(1) }
        }),
        _ => panic!("no such scenario"),
    });
    std::process::exit(if result.is_ok() { 0 } else { 3 });
}

fn child(scenario: &str) -> (Output, String) {
    let output = Command::new(std::env::current_exe().unwrap())
        .env(SCENARIO, scenario)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, text)
}

fn deadlocked(workers: usize, policy: Deadlock) {
    Runtime::builder().workers(workers).deadlock(policy).build().unwrap().run(|| {
        let named = Spec {
            name: Some("sleeper".into()),
            ..spec(Place::Worker(workers - 1))
        };
        // SAFETY: the closure is `Send`.
        drop(unsafe { spawn(named, job(|| Event::default().wait())) });
        (0..100).for_each(|_| yield_now());
        Event::default().wait();
    });
}

fn recovered() {
    runtime(2).run(|| {
        let caught = catch_unwind(|| Event::default().wait());
        assert!(caught.unwrap_err().downcast_ref::<&str>().unwrap().contains("deadlock"));
        go(yield_now).event.wait();
    });
}

fn timer_pending() {
    runtime(2).run(|| {
        let event = Arc::new(Event::default());
        let e = event.clone();
        go(move || {
            nap(100_000_000);
            e.signal();
        });
        event.wait();
    });
}

fn thread_pending() {
    runtime(2).run(|| {
        let event = Arc::new(Event::default());
        let e = event.clone();
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(200));
            e.signal();
        });
        event.wait();
    });
}

fn job_pending() {
    runtime(2).run(|| {
        let here = here().unwrap();
        let job = here.job(spec(Place::Auto), job(|| std::thread::sleep(Duration::from_millis(200))));
        // SAFETY: the closure is `Send`.
        unsafe { here.pool().submit(&job) }.unwrap();
        job.done.event.wait();
    });
}

fn overflowing() {
    #[expect(unconditional_recursion, reason = "that is the point")]
    fn recurse(n: u64) -> u64 {
        let here = std::hint::black_box([n; 64]);
        recurse(n + 1) + here[0]
    }
    runtime(2).run(|| {
        let named = Spec {
            name: Some("deep".into()),
            ..spec(Place::Auto)
        };
        let body = job(|| {
            recurse(0);
        });
        let done = body.done.clone();
        // SAFETY: the closure is `Send`.
        drop(unsafe { spawn(named, body) });
        done.event.wait();
    });
}

#[test]
fn deadlocks_are_reported_and_panic_in_main() {
    let _dog = watchdog(60);
    for scenario in ["deadlock", "deadlock2"] {
        let (output, text) = child(scenario);
        assert_eq!(output.status.code(), Some(3), "{text}");
        assert!(text.contains("deadlock: all fibers are asleep\n"), "{text}");
        assert!(text.contains("'sleeper', spawned at"), "{text}");
        assert!(text.contains("(main)\n    an event of a test"), "{text}");
    }
}

#[test]
fn what_is_still_expected_is_no_deadlock() {
    let _dog = watchdog(60);
    for scenario in ["timer", "thread", "job"] {
        let (output, text) = child(scenario);
        assert_eq!(output.status.code(), Some(0), "{scenario}: {text}");
        assert!(!text.contains("deadlock"), "{scenario}: {text}");
    }
}

#[test]
fn a_deadlock_can_be_survived() {
    let (output, text) = child("recover");
    assert_eq!(output.status.code(), Some(0), "{text}");
}

#[test]
fn draining_for_ever_is_a_deadlock() {
    let _dog = watchdog(60);
    let (output, text) = child("drain");
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("an event of a test"), "{text}");
}

#[test]
fn overflows_name_the_fiber() {
    let (output, text) = child("overflow");
    assert!(output.status.code().is_none(), "{text}");
    assert!(
        text.contains("'deep', spawned at") && text.contains("has overflowed its stack of 196608 bytes"),
        "{text}"
    );
    if cfg!(fibers_asan) {
        return; // it has a handler of its own
    }
    let (output, text) = child("null");
    assert!(output.status.code().is_none(), "{text}");
    assert!(!text.contains("overflowed"), "{text}");
}
