//! Handing out in order of arrival what waiters want more or less of: permits.
//!
//! Whoever stands at the head is served first. If there is not enough for them, all others wait behind them, so that a large
//! demand is not starved by small ones. Two kinds of nodes hold nobody up: those of performs that were decided elsewhere (they are
//! swept out), and those of one's own perform, since it commits only one of its branches.

use super::{Batch, CLAIMED, Cell, Inner, Links, PENDING, Queue};
use crate::prim::Ordering;
use std::ptr;

impl Cell {
    /// Whether its perform is over with certainty. A `false` may be outdated: who claims the cell will learn it.
    pub(super) fn is_final(&self) -> bool {
        !matches!(self.state().load(Ordering::Acquire), PENDING | CLAIMED)
    }
}

impl<P> Queue<P> {
    /// Whether nobody waits here, but perhaps branches of `own`.
    pub(crate) fn is_empty_but_for(&mut self, own: Option<&Cell>) -> bool {
        let mut node = self.head;
        while !node.is_null() {
            // SAFETY: a linked node and its cell are alive while the lock is held, which `&mut self` proves (rule 1).
            unsafe {
                let &mut Links { next, cell, .. } = Inner::links(node);
                if (*cell).is_final() {
                    self.unlink(node);
                } else if !own.is_some_and(|own| ptr::eq(own, cell)) {
                    return false;
                }
                node = next;
            }
        }
        true
    }

    /// Decides performs in order of arrival, for as long as the one at the head has a `wanted` node, up to a batch; `exchange`
    /// gives each what it is granted. Returns whether there may be more to decide.
    pub(crate) fn grant(&mut self, batch: &mut Batch, wanted: impl Fn(&P) -> bool, mut exchange: impl FnMut(&mut P)) -> bool {
        while let Some(node) = self.first_wanted(&wanted) {
            if batch.is_full() {
                return true;
            }
            // SAFETY: a linked node and its cell are alive while the lock is held, which `&mut self` proves (rule 1); the decision
            // is the last access to either, and the claim (or loneliness) excludes every other decider.
            unsafe {
                self.unlink(node);
                let &mut Links { cell, branch, lone, .. } = Inner::links(node);
                let cell = &*cell;
                let waiter = cell.waiter();
                if lone || cell.claim() {
                    exchange(&mut (*node).slot);
                    cell.decide(branch);
                    batch.push(waiter);
                }
            }
        }
        false
    }

    /// The first node that is wanted, among those at the head that belong to one perform.
    fn first_wanted(&mut self, wanted: impl Fn(&P) -> bool) -> Option<*mut Inner<P>> {
        let mut node = self.head;
        while !node.is_null() {
            // SAFETY: as above; the head is linked.
            unsafe {
                let &mut Links { next, cell, .. } = Inner::links(node);
                if (*cell).is_final() {
                    self.unlink(node);
                } else if !ptr::eq(Inner::links(self.head).cell, cell) {
                    return None;
                } else if wanted(&(*node).slot) {
                    return Some(node);
                }
                node = next;
            }
        }
        None
    }
}
