//! What the fault tests run in processes of its own. The first argument names the scenario; a scenario that is to go well
//! returns, and its process succeeds. Under loom there are no fibers, and nothing to be run.

#[cfg(not(loom))]
mod asleep;
#[cfg(not(loom))]
mod limits;
#[cfg(not(loom))]
mod overflows;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicI64, Ordering};

/// The system's allocator, until it has no more to give.
struct Limited;

/// How many allocations succeed.
static LEFT: AtomicI64 = AtomicI64::new(i64::MAX);

// SAFETY: every call is that of the system's allocator, or fails as allocators may.
unsafe impl GlobalAlloc for Limited {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if LEFT.load(Ordering::Relaxed) != i64::MAX && LEFT.fetch_sub(1, Ordering::Relaxed) <= 0 {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Limited = Limited;

#[cfg(loom)]
fn main() {}

#[cfg(not(loom))]
fn main() {
    let scenario = std::env::args().nth(1).expect("the name of a scenario");
    match scenario.as_str() {
        "overflow" => overflows::overflow(),
        "overflow_own_size" => overflows::overflow_own_size(),
        "overflow_elsewhere" => overflows::overflow_elsewhere(),
        "overflow_main" => overflows::overflow_main(),
        "null" => overflows::null(),
        "previous_handler" => overflows::previous_handler(),
        "unprobed" => overflows::unprobed(),
        "too_many_mappings" => limits::too_many_mappings(),
        "address_space" => limits::address_space(),
        "stuck" => limits::stuck(),
        "burst" => limits::burst(),
        "stack_size" => limits::stack_size(),
        "failing_allocator" => limits::failing_allocator(),
        "panic" => limits::panic(),
        "build" => limits::build(),
        "asleep" => asleep::asleep(),
        "asleep_workers" => asleep::asleep_workers(),
        "asleep_drain" => asleep::asleep_drain(),
        "asleep_report" => asleep::asleep_report(),
        "asleep_caught" => asleep::asleep_caught(),
        "asleep_destructors" => asleep::asleep_destructors(),
        "asleep_timer" => asleep::asleep_timer(),
        "asleep_blocking" => asleep::asleep_blocking(),
        "asleep_thread" => asleep::asleep_thread(),
        "asleep_again" => asleep::asleep_again(),
        "asleep_descriptor" => asleep::asleep_descriptor(),
        "asleep_beside_the_driver" => asleep::asleep_beside_the_driver(),
        "asleep_two_runtimes" => asleep::asleep_two_runtimes(),
        other => panic!("no scenario is named {other}"),
    }
}
