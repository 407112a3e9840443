//! Stacks: overflows, guards that cannot be had, memory that runs out, and memory that is given back.

use crate::{child, child_with};
use fibers::fault::{self, Call, Fault};
use fibers::fiber::Builder;
use fibers::{Runtime, channel};
use fibers_tests::{HANG, watchdog};
use std::time::Duration;

#[test]
fn f01_stack_overflow_names_fiber_size_and_site() {
    let ended = child("overflow").by(libc::SIGABRT);
    ended.says(&[
        "'deep diver'",
        "has overflowed its stack of 131072 bytes",
        "faults/child/overflows.rs:",
    ]);
}

#[test]
fn f01_overflow_of_a_fiber_with_a_stack_of_its_own_size() {
    child("overflow_own_size")
        .by(libc::SIGABRT)
        .says(&["'wide diver'", "has overflowed its stack of 1048576 bytes"]);
}

#[test]
fn f01_overflow_on_a_worker_thread() {
    child("overflow_elsewhere")
        .by(libc::SIGABRT)
        .says(&["'far diver'", "has overflowed"]);
}

#[test]
fn f01_overflow_of_the_main_fiber() {
    child("overflow_main").by(libc::SIGABRT).says(&["(main)", "has overflowed"]);
}

#[test]
fn f01_a_null_dereference_is_no_overflow() {
    child("null").by(libc::SIGSEGV).never_says(&["overflowed"]);
}

#[test]
fn f01_a_foreign_fault_reaches_the_handler_that_was_there_before() {
    let ended = child("previous_handler").never_says(&["overflowed"]);
    assert_eq!(ended.code, Some(42), "{ended:#?}");
}

#[test]
fn f02_a_frame_of_48_kib_without_probes_faults_in_the_guard() {
    child("unprobed").by(libc::SIGABRT).says(&["'giant'", "has overflowed"]);
}

#[test]
fn f03_too_many_mappings_make_the_spawn_fail_and_name_the_limit() {
    child("too_many_mappings").well().never_says(&["panicked"]);
}

#[test]
fn f04_no_memory_for_guards() {
    watchdog(HANG, || {
        Runtime::builder().workers(1).build().unwrap().run(|| {
            let fault = Fault {
                after: 20,
                times: u64::MAX,
                errno: libc::ENOMEM,
            };
            let fault = fault::scoped(Call::MadviseGuard, fault);
            let (tx, rx) = channel::<()>(0);
            let spawned: Vec<_> = (0..100)
                .map(|_| {
                    let rx = rx.clone();
                    let spawned = Builder::new().spawn(move || rx.recv().is_err());
                    fibers::sleep(Duration::from_micros(200));
                    spawned
                })
                .collect();
            let failed = spawned.iter().filter_map(|spawned| spawned.as_ref().err());
            assert!(failed.clone().count() >= 70);
            for error in failed {
                assert_eq!(error.kind(), std::io::ErrorKind::OutOfMemory);
                assert!(error.to_string().contains("could not be guarded"), "{error}");
            }
            drop(fault);
            drop(tx);
            for handle in spawned.into_iter().flatten() {
                assert!(handle.join().unwrap());
            }
            assert_eq!(fibers::spawn(|| 1).join().unwrap(), 1);
        });
    });
}

#[test]
fn f04_no_memory_for_slabs() {
    watchdog(HANG, || {
        let runtime = Runtime::builder().workers(1).build().unwrap();
        runtime.run(|| {
            let fault = fault::scoped(Call::Mmap, Fault::always(libc::ENOMEM));
            // A first fiber finds out that there is no stack; it waits for one.
            let first = Builder::new().spawn(|| 1).unwrap();
            fibers::sleep(Duration::from_micros(200));
            let error = Builder::new().spawn(|| 2).unwrap_err();
            assert!(error.to_string().contains("no memory could be mapped"), "{error}");
            let error = Builder::new().stack_size(1 << 20).spawn(|| 3).unwrap_err();
            assert!(error.to_string().contains("no memory could be mapped"), "{error}");
            let panic = std::panic::catch_unwind(|| fibers::spawn(|| 4)).unwrap_err();
            let message = fibers_tests::panic_message(&*panic);
            assert!(
                message.starts_with("cannot spawn a fiber: no memory could be mapped"),
                "{message}"
            );
            assert!(!first.is_finished());
            drop(fault);
            assert_eq!(first.join().unwrap(), 1);
            assert_eq!(fibers::spawn(|| 5).join().unwrap(), 5);
        });
    });
}

#[test]
fn f04_no_memory_for_the_main_fiber() {
    watchdog(HANG, || {
        let runtime = Runtime::builder().workers(2).build().unwrap();
        let fault = fault::scoped(Call::Mmap, Fault::always(libc::ENOMEM));
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| runtime.run(|| 1))).unwrap_err();
        let message = fibers_tests::panic_message(&*panic);
        assert!(message.contains("there is no stack for the main fiber"), "{message}");
        drop(fault);
        assert_eq!(runtime.run(|| fibers::spawn(|| 7).join().unwrap()), 7);
    });
}

#[test]
fn f04_a_limited_address_space_is_named() {
    child("address_space").well().never_says(&["panicked"]);
}

#[test]
fn f04_a_fiber_that_waits_for_a_stack_is_in_the_deadlock_report() {
    child("stuck")
        .by_panic()
        .says(&["deadlock: all fibers are asleep", "no memory could be mapped"]);
}

#[test]
fn f05_after_a_burst_the_memory_is_given_back() {
    child("burst").well();
}

#[test]
fn stack_sizes_come_from_the_environment() {
    child_with("stack_size", &[("FIBERS_STACK_SIZE", "524288")]).well();
}
