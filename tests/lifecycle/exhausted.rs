//! When there is no memory for stacks, fibers wait for those of others. None is forgotten.

use super::within_a_minute;
use fibers::fault::{self, Call, Fault};
use fibers::{Cond, Op, Runtime, sleep, spawn, yield_now};
use std::time::Duration;

/// Fibers that were spawned before there was no memory any more start later, also if started ones keep the worker busy.
#[test]
fn none_is_forgotten() {
    // The first mapping is for the blocks of the fibers, the second one for two stacks.
    within_a_minute(|| start_later(2));
}

/// As above, when there is not one stack for them.
#[test]
fn none_is_forgotten_where_none_can_start() {
    within_a_minute(|| start_later(0));
}

/// So many mappings succeed.
fn start_later(mappings: u64) {
    let rt = Runtime::builder().workers(1).stack_size(8 << 20).build().unwrap();
    rt.run(|| {
        let over = Cond::new();
        let full = fault::scoped(
            Call::Mmap,
            Fault {
                after: mappings,
                times: u64::MAX,
                errno: 12,
            },
        );
        let all: Vec<_> = (0..8)
            .map(|_| {
                let over = over.clone();
                spawn(move || {
                    while !over.is_signalled() {
                        yield_now();
                    }
                })
            })
            .collect();
        sleep(Duration::from_millis(50));
        drop(full);
        over.signal();
        for fiber in all {
            let ended = fiber.join_op().timeout(Duration::from_secs(5)).perform();
            ended.expect("a fiber was forgotten").unwrap();
        }
    });
}
