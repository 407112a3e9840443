//! Committing many performs together, all of them or none: a barrier.
//!
//! The last to arrive claims the cells of all others before it decides any. It goes through them in the order of their addresses,
//! its own among them, so rule 3 holds for any number of cells: waits for claims run towards higher addresses. If one of them turns
//! out to be decided elsewhere, it gives back what it has claimed, and nothing has happened.
//!
//! They are decided at once, but there may be more of them than a [`Batch`] has room for. So their nodes go to a second queue, from
//! which they are woken batch by batch. That departs from rule 1 in one point: a choice may find itself decided while its node is
//! still linked there. Its performer has to unlink it then, under the lock ([`Node::retract_from`]), or waits until that has been
//! done when it is woken. A lone perform is decided only when it is unlinked, as rule 2 has it.

use super::{Batch, Cell, Inner, Links, Me, Node, Queue, Source, State};
use std::mem;
use std::ptr;

/// What became of a [`Queue::rally`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rally {
    Complete,
    /// There are not enough others.
    Short,
    /// Another branch of the own perform has been decided.
    Lost,
}

impl<P> Queue<P> {
    /// How many performs wait here, except for `own`. Sweeps out those that were decided elsewhere, and sorts the rest by the order
    /// in which their cells are claimed, so that several nodes of one perform lie together.
    pub(crate) fn performs(&mut self, own: Option<&Cell>) -> usize {
        let mut choices = false;
        self.walk(|queue, node, cell, lone| {
            choices |= !lone;
            if cell.is_final() {
                // SAFETY: it is linked here, and `&mut self` proves that the lock is held.
                unsafe { queue.unlink(node) };
            }
        });
        if choices {
            self.sort();
        }
        let (mut count, mut last) = (0, own.map_or(ptr::null(), ptr::from_ref));
        self.walk(|_, _, cell, _| {
            let counts = !ptr::eq(cell, last) && !own.is_some_and(|own| ptr::eq(own, cell));
            count += usize::from(counts);
            last = cell;
        });
        count
    }

    /// Commits `me` and exactly `others` waiting performs, or nobody. `exchange` gives each of the others what they get. Those who
    /// are decided move to `decided`, from which [`Queue::release`] wakes them.
    pub(crate) fn rally(&mut self, me: &Me<'_>, others: usize, decided: &mut Queue<P>, exchange: impl FnMut(&mut P)) -> Rally {
        if self.performs(Some(me.cell)) < others {
            return Rally::Short;
        }
        match self.claim_all(me) {
            Ok(()) => {
                self.decide_all(me, exchange);
                decided.append(self);
                Rally::Complete
            }
            Err(short) => short,
        }
    }

    /// Claims all performs that wait here and the own one; or nobody, and says why not.
    fn claim_all(&mut self, me: &Me<'_>) -> Result<(), Rally> {
        let mut mine = !me.shared; // an unshared cell needs no claim
        let mut last: *const Cell = me.cell;
        let mut failed = None;
        self.walk(|_, node, cell, lone| {
            if failed.is_some() || lone || ptr::eq(cell, last) || ptr::eq(cell, me.cell) {
                return;
            }
            last = cell;
            if !mine && me.cell.precedes(cell) {
                mine = me.cell.claim();
                if !mine {
                    failed = Some((node, Rally::Lost, false));
                    return;
                }
            }
            if !cell.claim() {
                failed = Some((node, Rally::Short, mine && me.shared));
            }
        });
        if failed.is_none() && !mine && !me.cell.claim() {
            failed = Some((ptr::null_mut(), Rally::Lost, false));
        }
        let Some((end, why, mine)) = failed else {
            return Ok(());
        };
        self.unclaim_up_to(end, me);
        if mine {
            me.cell.unclaim();
        }
        Err(why)
    }

    /// Gives back the claims of all performs before the node `end`, except for the own one.
    fn unclaim_up_to(&mut self, end: *mut Inner<P>, me: &Me<'_>) {
        let mut last: *const Cell = me.cell;
        let mut over = false;
        self.walk(|_, node, cell, lone| {
            over |= node == end;
            if !over && !lone && !ptr::eq(cell, last) && !ptr::eq(cell, me.cell) {
                last = cell;
                cell.unclaim();
            }
        });
    }

    /// Decides all performs, which are claimed, and leaves one node of each linked.
    fn decide_all(&mut self, me: &Me<'_>, mut exchange: impl FnMut(&mut P)) {
        let mut last: *const Cell = me.cell;
        self.walk(|queue, node, cell, lone| {
            // SAFETY: the node is linked here, and `&mut self` proves that the lock is held; the cell is alive, even after the
            // decision, since its performer needs the lock to unlink the node.
            unsafe {
                if ptr::eq(cell, last) || ptr::eq(cell, me.cell) {
                    return queue.unlink(node);
                }
                last = cell;
                exchange(&mut (*node).slot);
                if !lone {
                    let branch = Inner::links(node).branch;
                    cell.decide(branch);
                }
            }
        });
        if me.shared {
            me.cell.decide(me.branch as u32);
        }
    }

    /// Takes up to a batch of those out that a rally has decided; returns whether there are more.
    pub(crate) fn release(&mut self, batch: &mut Batch) -> bool {
        while !self.is_empty() {
            if batch.is_full() {
                return true;
            }
            let node = self.head;
            // SAFETY: a linked node and its cell are alive while the lock is held, which `&mut self` proves: a lone perform is
            // undecided until here, and a choice needs the lock to unlink its node.
            unsafe {
                self.unlink(node);
                let &mut Links { cell, branch, lone, .. } = Inner::links(node);
                batch.push((*cell).waiter());
                if lone {
                    (*cell).decide(branch);
                }
            }
        }
        false
    }

    /// Calls `visit` with each node, its cell, and whether it is lone. `visit` may unlink that node.
    fn walk(&mut self, mut visit: impl FnMut(&mut Self, *mut Inner<P>, &Cell, bool)) {
        let mut node = self.head;
        while !node.is_null() {
            // SAFETY: a linked node and its cell are alive while the lock is held, which `&mut self` proves (rule 1).
            let (next, cell, lone) = unsafe {
                let &mut Links { next, cell, lone, .. } = Inner::links(node);
                (next, &*cell, lone)
            };
            visit(self, node, cell, lone);
            node = next;
        }
    }

    /// Moves all nodes of `other` to the end of this queue.
    fn append(&mut self, other: &mut Self) {
        let other = mem::replace(other, Queue::new());
        if other.is_empty() {
            return;
        }
        // SAFETY: the ends are linked, hence alive, and both queues are under the same lock (rule 1).
        unsafe {
            Inner::links(other.head).prev = self.tail;
            match self.tail.is_null() {
                true => self.head = other.head,
                false => Inner::links(self.tail).next = other.head,
            }
        }
        self.tail = other.tail;
        self.len += other.len;
    }

    /// Sorts the nodes by the order of their cells.
    fn sort(&mut self) {
        // SAFETY: all nodes are linked here, hence alive, and `&mut self` proves that the lock is held.
        unsafe {
            self.head = sorted(self.head, self.len);
            let (mut prev, mut node) = (ptr::null_mut(), self.head);
            while !node.is_null() {
                Inner::links(node).prev = prev;
                let next = Inner::links(node).next;
                prev = mem::replace(&mut node, next);
            }
            self.tail = prev;
        }
    }
}

/// Merge sort of the first `len` nodes, linked by `next` alone: in place, and no deeper than the logarithm of `len`.
///
/// # Safety
/// The lock is held of the source in which `len` nodes from `head` on are linked.
unsafe fn sorted<P>(head: *mut Inner<P>, len: usize) -> *mut Inner<P> {
    // SAFETY: the caller's contract, for each half of the nodes.
    unsafe {
        if len < 2 {
            if len == 1 {
                Inner::links(head).next = ptr::null_mut();
            }
            return head;
        }
        let middle = (0..len / 2).fold(head, |node, _| Inner::links(node).next);
        let (mut left, mut right) = (sorted(head, len / 2), sorted(middle, len - len / 2));
        let (mut first, mut last) = (ptr::null_mut::<Inner<P>>(), ptr::null_mut::<Inner<P>>());
        while !left.is_null() || !right.is_null() {
            let from_right =
                left.is_null() || !right.is_null() && (*Inner::links(right).cell).precedes(&*Inner::links(left).cell);
            let side = if from_right { &mut right } else { &mut left };
            let next = Inner::links(*side).next;
            let node = mem::replace(side, next);
            match last.is_null() {
                true => first = node,
                false => Inner::links(last).next = node,
            }
            last = node;
        }
        first
    }
}

impl<P> Node<P> {
    /// As [`Node::retract`], where the slot tells in which queue the node is.
    pub(crate) fn retract_from<S: State>(
        &self,
        source: &Source<S>,
        queue: impl for<'s> FnOnce(&'s mut S, &P) -> &'s mut Queue<P>,
    ) {
        if !self.published.replace(false) {
            return;
        }
        let mut state = source.lock();
        let inner = self.inner.get();
        // SAFETY: links and slots are read and changed under the lock of the node's source, at which it has been published.
        unsafe {
            if Inner::links(inner).linked {
                queue(&mut state, &(*inner).slot).unlink(inner);
            }
        }
    }
}
