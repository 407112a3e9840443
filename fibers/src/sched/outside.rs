//! What a plain thread keeps where a fiber has its locals: no fiber ever looks in here.

use std::cell::Cell;
use std::panic::Location;

use super::inherit::Inherited;

thread_local! {
    static OUTSIDE: Outside = const { Outside { inherited: Cell::new(None), region: Cell::new(None) } };
}

struct Outside {
    /// What fibers that are spawned from here inherit.
    inherited: Cell<Option<Inherited>>,
    /// The region that must not block.
    region: Cell<Option<&'static Location<'static>>>,
}

/// Sets what is inherited; `None` at the end of the thread.
#[inline(never)]
pub(super) fn replace_inherited(value: Option<Inherited>) -> Option<Inherited> {
    OUTSIDE.try_with(|outside| outside.inherited.replace(value)).ok().flatten()
}

/// What is inherited.
pub(super) fn inherited() -> Option<Inherited> {
    let held = replace_inherited(None);
    let copy = held.clone();
    replace_inherited(held);
    copy
}

/// Sets the region, and returns the one around it.
#[inline(never)]
pub(super) fn replace_region(region: Option<&'static Location<'static>>) -> Option<&'static Location<'static>> {
    OUTSIDE.try_with(|outside| outside.region.replace(region)).ok().flatten()
}

/// The region that the thread is in.
#[inline(never)]
pub(super) fn region() -> Option<&'static Location<'static>> {
    OUTSIDE.try_with(|outside| outside.region.get()).ok().flatten()
}
