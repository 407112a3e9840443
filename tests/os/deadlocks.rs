//! Who waits for the world is in no deadlock; the thread that looks after the world does not hide one.

use fibers_tests::finish;
use std::process::Command;

fn run(scenario: &str) -> (bool, String) {
    let output = finish(Command::new(env!("CARGO_BIN_EXE_os-child")).arg(scenario));
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into())
}

#[test]
fn f26_signals_children_and_alarms_are_no_deadlock() {
    for scenario in ["signal", "child", "alarm"] {
        let (success, err) = run(scenario);
        assert!(success && !err.contains("deadlock"), "{scenario}: {err}");
    }
}

#[test]
fn f26_the_caretaker_hides_no_deadlock() {
    let (success, err) = run("nothing");
    assert!(!success && err.contains("deadlock: all fibers are asleep"), "{err}");
}
