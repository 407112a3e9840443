//! Acquiring permits, as an operation.

use super::permit::Owner;
use super::{AcquireError, LOOK, Semaphore, SemaphoreState};
use crate::op::cell::{Attempt, Me, Queue, RX_READY, Source};
use crate::op::leaf::{Leaf, Side};
use crate::op::{Branches, Graph, Op, Picker};
use crate::sched::WaitKind;
use std::fmt;
use std::sync::Arc;

/// Acquires permits; see [`Semaphore::acquire_op`].
#[derive(Clone, Copy)]
#[must_use = "an operation does nothing until it is performed"]
pub struct AcquireOp<'a> {
    pub(super) semaphore: &'a Semaphore,
    pub(super) permits: usize,
}

/// Acquires permits that keep their semaphore alive; see [`Semaphore::acquire_owned_op`].
#[derive(Clone)]
#[must_use = "an operation does nothing until it is performed"]
pub struct AcquireOwnedOp {
    pub(super) semaphore: Arc<Semaphore>,
    pub(super) permits: usize,
}

macro_rules! acquire {
    ($name:ident $(<$life:lifetime>)?, $owner:ty) => {
        impl $(<$life>)? Op for $name $(<$life>)? {
            type Output = Result<<$owner as Owner>::Permit, AcquireError>;
            type Branches = AcquireBranches<$owner>;
            const IMMEDIATE: bool = true;

            fn force(self) -> Self::Branches {
                let demand = Demand { permits: self.permits, granted: false };
                let side = Acquiring { owner: self.semaphore, permits: self.permits };
                AcquireBranches { leaf: Leaf::new(side, demand) }
            }

            fn graph(&self) -> Graph {
                describe(&self.semaphore, self.permits)
            }
        }

        impl $(<$life>)? fmt::Debug for $name $(<$life>)? {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).field("permits", &self.permits).finish_non_exhaustive()
            }
        }
    };
}

acquire!(AcquireOp<'a>, &'a Semaphore);
acquire!(AcquireOwnedOp, Arc<Semaphore>);

fn describe(semaphore: &Semaphore, permits: usize) -> Graph {
    let available = semaphore.available();
    Graph::leaf(format!("acquire {permits} of a semaphore ({available} available)"))
}

/// What a waiter wants, and whether it has it.
pub(super) struct Demand {
    pub(super) permits: usize,
    /// Still not so when the semaphore was closed.
    pub(super) granted: bool,
}

/// The side that takes permits.
pub(super) struct Acquiring<S> {
    owner: S,
    permits: usize,
}

impl<S: Owner> Side for Acquiring<S> {
    type State = SemaphoreState;
    type Slot = Demand;
    /// Whether the permits are there: the semaphore is closed otherwise.
    type Output = bool;

    const READY: u32 = RX_READY;
    const KIND: WaitKind = WaitKind::Other;

    fn source(&self) -> &Source<SemaphoreState> {
        &self.owner.0
    }

    fn attempt(&self, state: &mut SemaphoreState, demand: &mut Demand, me: &mut Me<'_>) -> Attempt {
        if !state.is_ready_for(self.permits, Some(me.cell())) {
            return Attempt::Wait;
        }
        if !me.commit() {
            return Attempt::Lost;
        }
        demand.granted = state.take(self.permits);
        Attempt::Done(None)
    }

    fn queue(state: &mut SemaphoreState) -> &mut Queue<Demand> {
        &mut state.waiters
    }

    /// Takes the permits out of the slot.
    fn output(&mut self, demand: &mut Demand) -> bool {
        std::mem::take(&mut demand.granted)
    }

    fn graph(&self) -> Graph {
        describe(&self.owner, self.permits)
    }
}

/// A forced acquire. If it is committed but never finished, because something unwinds first, it gives its permits back.
#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct AcquireBranches<S: Owner> {
    leaf: Leaf<Acquiring<S>>,
}

impl<S: Owner> Branches for AcquireBranches<S> {
    type Output = Result<S::Permit, AcquireError>;

    fn leaves(&self) -> usize {
        1
    }

    /// The lock word speaks for one permit, and for a queue that was empty; otherwise there is a look under the lock.
    fn pick(&self, picker: &mut Picker) {
        let Acquiring { owner, permits } = self.leaf.side();
        let ready = match permits {
            0 => true,
            _ if !owner.0.peek(RX_READY | LOOK) => false,
            1 if owner.0.peek(RX_READY) => true,
            _ => owner.0.lock().is_ready_for(*permits, None),
        };
        picker.leaf(ready);
    }

    fn attempt(&self, leaf: usize, me: &mut Me<'_>) -> Attempt {
        self.leaf.attempt(leaf, me)
    }

    fn publish(&self, leaf: usize, me: &mut Me<'_>) -> Attempt {
        self.leaf.publish(leaf, me)
    }

    /// Those who stood behind this demand may be served now.
    fn retract(&self, leaf: usize) {
        self.leaf.retract(leaf);
        let semaphore = &self.leaf.side().owner;
        if semaphore.0.peek(LOOK) {
            semaphore.hand_out(0);
        }
    }

    fn leave(&self, leaf: usize) {
        self.leaf.leave(leaf);
    }

    fn abandon(&mut self, _: Option<usize>) {}

    fn finish(&mut self, leaf: usize) -> Self::Output {
        let Acquiring { owner, permits } = self.leaf.side();
        let (owner, permits) = (owner.clone(), *permits);
        match self.leaf.finish(leaf) {
            true => Ok(owner.permit(permits)),
            false => Err(AcquireError),
        }
    }

    fn kind(&self) -> WaitKind {
        self.leaf.kind()
    }

    fn graph(&self) -> Graph {
        self.leaf.graph()
    }
}

impl<S: Owner> Drop for AcquireBranches<S> {
    fn drop(&mut self) {
        if std::mem::take(&mut self.leaf.slot().granted) {
            let Acquiring { owner, permits } = self.leaf.side();
            owner.give_back(*permits);
        }
    }
}
