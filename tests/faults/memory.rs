//! When the global allocator has no more memory: the process ends, and nothing is done by halves before.

use crate::child_with;

#[test]
fn f07_a_failing_allocator_ends_the_process_cleanly() {
    // The first failing allocation is somewhere in the building, spawning, waiting, or sending.
    for first in [0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610] {
        let ended = child_with("failing_allocator", &[("FAIL_AFTER", &first.to_string())]);
        if ended.code == Some(0) {
            continue; // it got by without that allocation
        }
        let ended = ended.by(libc::SIGABRT).says(&["memory allocation of"]);
        // What was received had been sent, once and in order, until the last moment.
        let numbers: Vec<u32> = ended.out.lines().map(|line| line.parse().expect("a number")).collect();
        assert!(numbers.iter().copied().eq(0..numbers.len() as u32), "{numbers:?}");
    }
}
