//! Children whose handle was dropped before they had ended: somebody has to ask for their status, or they stay as zombies.

use super::child::Process;
use crate::caretaker::{Ward, look_after};
use crate::prim::Arc;
use std::os::fd::BorrowedFd;
use std::sync::{Mutex, PoisonError};

/// Those that the caretaker could not take, for want of memory, a thread or a descriptor. Looked at whenever a child is spawned.
static LEFT: Mutex<Vec<Orphan>> = Mutex::new(Vec::new());

struct Orphan(Arc<Process>);

impl Ward for Orphan {
    fn fd(&self) -> BorrowedFd<'_> {
        self.0.end()
    }

    fn tend(&mut self) -> bool {
        // An error says that it is not ours to wait for any more.
        matches!(self.0.try_wait(), Ok(None))
    }
}

/// Takes a child over, to be reaped when it has ended.
pub(super) fn adopt(process: Arc<Process>) {
    let mut orphan = Orphan(process);
    if !orphan.tend() {
        return;
    }
    let process = orphan.0.clone();
    if look_after(Box::new(orphan)).is_err() {
        LEFT.lock().unwrap_or_else(PoisonError::into_inner).push(Orphan(process));
    }
}

/// Reaps those of whom nobody is told that they have ended.
pub(super) fn reap_left() {
    LEFT.lock().unwrap_or_else(PoisonError::into_inner).retain_mut(Ward::tend);
}
