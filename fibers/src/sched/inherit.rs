//! What a fiber has from its spawner: one value, of which the floors above say what it is.
//!
//! It is a fiber-local that a spawn copies. A fiber that inherits something has it in the extras of its block until it runs, so
//! the others pay nothing but one load for each spawn, of a flag that says whether anybody in the process has a value.

use std::any::Any;
use std::ptr;
use std::rc::Rc;
use std::sync::Arc;

use super::current::here;
use super::outside;
use crate::prim::plain::{AtomicBool, Ordering};

/// What is inherited.
pub(crate) type Inherited = Arc<dyn Any + Send + Sync>;

/// Somebody has had a value. Relaxed: who has one has set it, or was started after that.
static IN_USE: AtomicBool = AtomicBool::new(false);

/// Whether anybody may have a value.
#[inline(always)]
pub(super) fn in_use() -> bool {
    IN_USE.load(Ordering::Relaxed)
}

/// What the caller has, and what it spawns inherits.
pub(crate) fn inherited() -> Option<Inherited> {
    if in_use() { held() } else { None }
}

fn held() -> Option<Inherited> {
    match here() {
        Some(here) => value_of(&here.local(key())?),
        None => outside::inherited(),
    }
}

fn key() -> usize {
    ptr::from_ref(&IN_USE).addr()
}

fn value_of(local: &Rc<dyn Any>) -> Option<Inherited> {
    local.downcast_ref::<Option<Inherited>>()?.clone()
}

/// Gives the caller another value until the guard is dropped, by the same fiber or thread.
pub(crate) fn enter(value: Inherited) -> Entered {
    IN_USE.store(true, Ordering::Relaxed);
    Entered {
        before: replace(Some(value)),
    }
}

fn replace(value: Option<Inherited>) -> Option<Inherited> {
    match here() {
        Some(here) => value_of(&here.set_local(key(), Rc::new(value))?),
        None => outside::replace_inherited(value),
    }
}

/// While it lives, another value is inherited.
#[must_use]
pub(crate) struct Entered {
    before: Option<Inherited>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        drop(replace(self.before.take()));
    }
}
