//! Performs that meet over channels: lone ones and choices, on threads and fibers, through buffers, and while a channel closes.

use crate::world::*;

#[test]
fn lone_meets_lone() {
    meet(
        "two threads",
        ALL,
        &[0],
        &[(Thread, &[Perform(&[Give(0)])]), (Thread, &[Perform(&[Take(0)])])],
        met,
    );
    meet(
        "two fibers",
        ALL,
        &[0],
        &[(Fiber, &[Perform(&[Give(0)])]), (Fiber, &[Perform(&[Take(0)])])],
        met,
    );
    meet(
        "fiber, thread",
        ALL,
        &[0],
        &[(Fiber, &[Perform(&[Give(0)])]), (Thread, &[Perform(&[Take(0)])])],
        met,
    );
}

#[test]
fn lone_meets_choice() {
    meet(
        "threads, take",
        ALL,
        &[0, 0],
        &[(Thread, &[Perform(&[Give(0)])]), (Thread, &[Perform(&[Take(1), Take(0)])])],
        met,
    );
    meet(
        "threads, give",
        ALL,
        &[0, 0],
        &[(Thread, &[Perform(&[Give(1), Give(0)])]), (Thread, &[Perform(&[Take(0)])])],
        met,
    );
    meet(
        "fibers, take",
        ALL,
        &[0, 0],
        &[(Fiber, &[Perform(&[Give(0)])]), (Fiber, &[Perform(&[Take(1), Take(0)])])],
        met,
    );
    meet(
        "fibers, give",
        ALL,
        &[0, 0],
        &[(Fiber, &[Perform(&[Give(1), Give(0)])]), (Fiber, &[Perform(&[Take(0)])])],
        met,
    );
}

/// A published choice is met, and meets another party itself, at the same time.
#[test]
fn choice_between_two() {
    let between: &[Party] = &[
        (Thread, &[Perform(&[Give(0), Take(1)]), Perform(&[Give(0), Take(1)])]),
        (Thread, &[Perform(&[Take(0)])]),
        (Fiber, &[Perform(&[Give(1)])]),
    ];
    meet("two lone ones", AT_MOST_2, &[0, 0], between, |done| {
        done[0].contains(&Got(1, 20)) && done[1] != [Got(0, 20)]
    });
}

#[test]
fn choices_cross() {
    let crossed: &[Party] = &[
        (Thread, &[Perform(&[Give(0), Take(1)])]),
        (Thread, &[Perform(&[Give(1), Take(0)])]),
    ];
    meet("threads", AT_MOST_3, &[0, 0], crossed, one_pair);
    let crossed: &[Party] = &[
        (Fiber, &[Perform(&[Take(1), Give(0)])]),
        (Fiber, &[Perform(&[Give(1), Take(0)])]),
    ];
    meet("fibers", AT_MOST_3, &[0, 0], crossed, one_pair);
    let crossed: &[Party] = &[
        (Fiber, &[Perform(&[Give(0), Take(1)])]),
        (Thread, &[Perform(&[Take(0), Give(1)])]),
    ];
    meet("same order", AT_MOST_3, &[0, 0], crossed, one_pair);
}

/// A choice that sends and receives on one channel meets another such choice, and never itself.
#[test]
fn both_sides_of_one_channel() {
    let both: &[Party] = &[
        (Thread, &[Perform(&[Give(0), Take(0)])]),
        (Fiber, &[Perform(&[Give(0), Take(0)])]),
    ];
    meet("two", AT_MOST_3, &[0], both, one_pair);
    let alone: &[Party] = &[
        (Thread, &[Perform(&[Give(0), Take(0), Late])]),
        (Fiber, &[Perform(&[Take(0), Give(0), Late])]),
    ];
    meet("two with deadlines", AT_MOST_2, &[0], alone, |done| {
        one_pair(done) || counts(done, TimeOver, 2)
    });
    meet(
        "alone",
        ALL,
        &[0],
        &[(Fiber, &[Perform(&[Give(0), Take(0), Late])])],
        |done| done[0] == [TimeOver],
    );
    let twice: &[Party] = &[
        (Thread, &[Perform(&[Take(0), Take(0)])]),
        (Fiber, &[Perform(&[Give(0), Give(0)])]),
    ];
    meet("the same arm twice", AT_MOST_3, &[0], twice, |done| done[0] == [Got(0, 10)]);
}

/// Each could meet either of the others; one pair does, and its signal releases the third.
#[test]
fn three_in_a_cycle() {
    let cycle: &[Party] = &[
        (Thread, &[Perform(&[Give(0), Take(2), Late])]),
        (Thread, &[Perform(&[Give(1), Take(0), Late])]),
        (Thread, &[Perform(&[Give(2), Take(1), Late])]),
    ];
    meet("deadlines", AT_MOST_1, &[0, 0, 0], cycle, |done| {
        counts(done, TimeOver, 1) || counts(done, TimeOver, 3)
    });
    let cycle: &[Party] = &[
        (Fiber, &[Perform(&[Give(0), Take(2), Wait]), Signal]),
        (Fiber, &[Perform(&[Give(1), Take(0), Wait]), Signal]),
        (Fiber, &[Perform(&[Give(2), Take(1), Wait]), Signal]),
    ];
    meet("the third is released", AT_MOST_1, &[0, 0, 0], cycle, one_pair);
}

/// Two choices that receive, and one that sends to whoever comes, twice.
#[test]
fn three_over_two_channels() {
    let parties: &[Party] = &[
        (Thread, &[Perform(&[Give(0), Give(1)]), Perform(&[Give(1), Give(0)])]),
        (Thread, &[Perform(&[Take(0), Take(1)])]),
        (Fiber, &[Perform(&[Take(1), Take(0)])]),
    ];
    meet("choices", AT_MOST_1, &[0, 0], parties, |done| {
        done.iter().flatten().count() == 4
    });
}

/// A receive from a full buffer admits one waiting sender, in order, unless that one has been decided elsewhere.
#[test]
fn buffers() {
    let steps: &[Party] = &[
        (Thread, &[Perform(&[Give(0)]), Perform(&[Give(0)])]),
        (Thread, &[Perform(&[Take(0)]), Perform(&[Take(0)])]),
    ];
    meet("lone", ALL, &[1], steps, |done| done[1] == [Got(0, 0), Got(0, 1)]);
    let steps: &[Party] = &[
        (Fiber, &[Perform(&[Give(0)]), Perform(&[Give(0), Give(1)])]),
        (Thread, &[Perform(&[Take(0), Take(1)]), Perform(&[Take(1), Take(0)])]),
    ];
    meet("choices", AT_MOST_2, &[1, 0], steps, |done| !counts(done, Nothing, 1));
    let steps: &[Party] = &[
        (Thread, &[Perform(&[Give(0)]), Perform(&[Give(0), Late])]),
        (Fiber, &[Perform(&[Take(0)]), Try(&[Take(0)])]),
        (Fiber, &[Perform(&[Give(0), Late])]),
    ];
    meet("admission against deadlines", AT_MOST_2, &[1], steps, |_| true);
}

#[test]
fn closing() {
    let race: &[Party] = &[
        (Thread, &[Perform(&[Give(0)])]),
        (Fiber, &[Perform(&[Take(0)])]),
        (Thread, &[Close(0)]),
    ];
    meet("lone", AT_MOST_3, &[0], race, |done| {
        met(done) || (done[0] == [Refused(0, 0)] && done[1] == [End(0)])
    });
    let race: &[Party] = &[
        (Fiber, &[Perform(&[Give(0), Take(1)])]),
        (Thread, &[Perform(&[Take(0), Give(1)])]),
        (Thread, &[Close(0)]),
    ];
    meet("choices", AT_MOST_2, &[0, 0], race, |done| {
        one_pair(done) || !counts(done, Nothing, 1)
    });
    let drained: &[Party] = &[
        (Thread, &[Perform(&[Give(0)]), Close(0)]),
        (Fiber, &[Perform(&[Take(0)]), Perform(&[Take(0)])]),
    ];
    meet("drained first", ALL, &[1], drained, |done| done[1] == [Got(0, 0), End(0)]);
}

/// A try sees a source that is ready throughout, whatever happens to the others.
#[test]
fn tries() {
    let ready: &[Party] = &[
        (Thread, &[Perform(&[Give(0)]), Try(&[Take(1), Take(0)])]),
        (Fiber, &[Perform(&[Give(1)])]),
        (Thread, &[Try(&[Take(1)])]),
    ];
    meet("one ready throughout", AT_MOST_3, &[1, 1], ready, |done| {
        done[0][1] != Nothing
    });
    let race: &[Party] = &[
        (Thread, &[Try(&[Take(0), Give(1)])]),
        (Fiber, &[Perform(&[Give(0), Take(1), Late])]),
    ];
    meet("against a choice", AT_MOST_3, &[0, 0], race, |done| {
        one_pair(done) || (done[0] == [Nothing] && done[1] == [TimeOver])
    });
}
