//! The values that belong to a fiber: what `fiber_local!` keeps.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

/// A fiber's values, by the address of the static that names them. Few, so they are searched from the front.
#[derive(Default)]
pub(super) struct Locals {
    values: RefCell<Vec<(usize, Rc<dyn Any>)>>,
}

impl Locals {
    /// How many times a destructor may create new values before they are left alone.
    const ROUNDS: usize = 8;

    pub(super) const fn new() -> Locals {
        Locals {
            values: RefCell::new(Vec::new()),
        }
    }

    pub(super) fn get(&self, key: usize) -> Option<Rc<dyn Any>> {
        self.values
            .borrow()
            .iter()
            .find(|(k, _)| *k == key)
            .map(|(_, value)| value.clone())
    }

    /// The old value, if there was one, is dropped by the caller.
    pub(super) fn set(&self, key: usize, value: Rc<dyn Any>) -> Option<Rc<dyn Any>> {
        let mut values = self.values.borrow_mut();
        match values.iter_mut().find(|(k, _)| *k == key) {
            Some((_, old)) => Some(std::mem::replace(old, value)),
            None => {
                values.push((key, value));
                None
            }
        }
    }

    /// Drops the values, the last one first. A panic of a destructor has been reported by the hook and ends there.
    #[inline(always)]
    pub(super) fn end(&self) {
        if self.values.borrow().capacity() != 0 {
            self.drop_all();
        }
    }

    #[cold]
    fn drop_all(&self) {
        for _ in 0..Self::ROUNDS {
            let mut values = self.values.take();
            if values.is_empty() {
                return;
            }
            while let Some((_, value)) = values.pop() {
                let _ = catch_unwind(AssertUnwindSafe(|| drop(value)));
            }
        }
    }
}
