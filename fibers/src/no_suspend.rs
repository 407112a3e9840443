//! Regions in which nobody else may get the worker.

use crate::sched;
use std::panic::Location;

/// Runs `f`, in which nothing may suspend the fiber: if something would, it panics instead and names the line of this call, and
/// what it would have waited for. Operations that are possible at once are performed, and nobody else goes first, as now and then
/// [elsewhere](crate::Op::perform).
///
/// For code that relies on having its worker to itself: that holds the guard of a lock that is none of ours, or is in the middle
/// of a change to thread-locals. On a plain thread the same holds for blocking in our operations (not for what else blocks threads).
///
/// In the middle of a panic nothing is refused, since a second panic out of a destructor would end the process: a destructor that
/// has to wait does so. (A fiber that has caught its panic may be taken for one that panics, for as long as another fiber of its
/// worker is suspended in the middle of one.)
///
/// # Panics
/// In `f`, where something would suspend.
///
/// ```should_panic
/// fibers::run(|| {
///     let (_tx, rx) = fibers::channel::<u32>(0);
///     let lock = std::sync::Mutex::new(0);
///     fibers::no_suspend(|| *lock.lock().unwrap() += rx.recv().unwrap());
/// });
/// ```
#[track_caller]
pub fn no_suspend<R>(f: impl FnOnce() -> R) -> R {
    let _region = sched::forbid_in(sched::here(), Location::caller());
    f()
}
