//! The threads of the workers but the first.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use super::affinity::{Pinned, Punctual};
use super::enter::Current;
use super::shared::Shared;
use super::worker::Core;
use crate::stack::AltStack;
use crate::sys;

/// Starts the thread of worker `index`. It takes part in every run until the runtime is dropped.
pub(super) fn start(shared: &Arc<Shared>, index: usize) -> io::Result<JoinHandle<()>> {
    let shared = shared.clone();
    sys::spawn_thread(format!("fibers-{index}"), move || {
        let _stack = AltStack::install().ok(); // without it an overflow ends in a plain SIGSEGV
        let _punctual = Punctual::new();
        let mut run = 0;
        while let Some(next) = await_run(&shared, run) {
            run = next;
            take_part(&shared, index);
            shared.lifecycle().present -= 1;
            shared.announce();
        }
    })
}

/// Waits for the run after this one; `None` when there will be none.
fn await_run(shared: &Shared, last: u64) -> Option<u64> {
    let lifecycle = shared.wait_until(shared.lifecycle(), |l| l.stop || l.run != last);
    (!lifecycle.stop).then_some(lifecycle.run)
}

fn take_part(shared: &Arc<Shared>, index: usize) {
    let _pinned = Pinned::new(shared, index);
    let core = Core::new(shared.clone(), index);
    let _current = Current::new(&core);
    core.work();
}
