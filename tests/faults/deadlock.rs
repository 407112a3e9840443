//! When all fibers are asleep.

use crate::child;
const PANIC: &str = "deadlock: all fibers are asleep";

#[test]
fn f26_the_report_lists_each_wait_with_its_graph_and_spawn_site() {
    let ended = child("asleep").by_panic();
    ended.says(&[
        PANIC,
        "(main)",
        "'reader', spawned at",
        "'chooser', spawned at",
        "faults/child/asleep.rs:",
        "receive",
        "choice",
        "send",
        "the way out",
    ]);
}

#[test]
fn f26_fibers_of_other_workers_are_in_the_report() {
    let ended = child("asleep_workers").by_panic();
    ended.says(&[PANIC, "'far reader'", "'reader'", "'chooser'", "(main)"]);
}

#[test]
fn f26_what_a_drain_waits_for_in_vain() {
    child("asleep_drain").by_panic().says(&[PANIC, "'left behind'"]);
}

#[test]
fn f26_a_report_alone_leaves_the_runtime_as_it_is() {
    child("asleep_report")
        .by(libc::SIGALRM)
        .says(&[PANIC])
        .never_says(&["panicked"]);
}

#[test]
fn f26_main_may_catch_the_panic() {
    child("asleep_caught").well().says(&[PANIC]);
}

#[test]
fn f26_destructors_run() {
    child("asleep_destructors").well();
}

#[test]
fn f26_each_run_has_its_own_report() {
    let ended = child("asleep_again").well();
    assert_eq!(ended.err.matches("'chooser', spawned at").count(), 3, "{ended:#?}");
}

#[test]
fn f26_the_driver_of_descriptors_is_no_hope_when_it_watches_none() {
    let ended = child("asleep_beside_the_driver").by_panic();
    ended.says(&[PANIC, "read from duplex"]);
}

#[test]
fn f26_timers_descriptors_blocking_jobs_and_threads_are_no_deadlock() {
    for scenario in [
        "asleep_timer",
        "asleep_descriptor",
        "asleep_blocking",
        "asleep_thread",
        "asleep_two_runtimes",
    ] {
        child(scenario).well().never_says(&[PANIC]);
    }
}
