//! A deadlock is told to the main fiber. If that waits for the children of a scope it cannot leave before they have ended: they are
//! unwound, as they would be at the end of the run.

use fibers_tests::finish;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

const PANIC: &str = "deadlock: all fibers are asleep";
const GIVING_UP: &str = "nobody will ever wake it: giving up";

/// Exit code or signal, what was printed, and what was reported.
fn child(scenario: &str) -> (Option<i32>, Option<i32>, String, String) {
    let output = finish(Command::new(env!("CARGO_BIN_EXE_scope-child")).arg(scenario));
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code(),
        output.status.signal(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn children_are_unwound_and_the_panic_leaves_the_run() {
    let (code, _, out, err) = child("asleep");
    assert_eq!(code, Some(101), "{err}");
    assert_eq!(out, "child dropped\nframe dropped\nrun again\n");
    assert!(err.contains(PANIC) && err.contains("the children of a scope"), "{err}");
}

#[test]
fn children_that_listen_end_by_themselves() {
    let (code, _, out, err) = child("asleep_listening");
    assert_eq!((code, out.as_str()), (Some(101), "child dropped\nrun again\n"), "{err}");
    assert_eq!(err.matches("(main)").count(), 1, "{err}");
}

#[test]
fn where_they_cannot_be_unwound_the_process_gives_up() {
    for scenario in ["asleep_stubborn", "asleep_leak"] {
        let (_, signal, out, err) = child(scenario);
        assert_eq!((signal, out.as_str()), (Some(libc::SIGABRT), ""), "{scenario}: {err}");
        assert!(err.contains(PANIC) && err.contains(GIVING_UP), "{scenario}: {err}");
    }
}

#[test]
fn whoever_catches_the_panic_may_wait_again() {
    let (code, _, out, err) = child("asleep_twice");
    assert_eq!((code, out.as_str()), (Some(101), "woken: Ok(7)\nrun again\n"), "{err}");
    // In the scope, in its destructor, and after it.
    assert_eq!(err.matches("fiber 1 'main' (main)").count(), 3, "{err}");
}
