//! Waiting until something holds: publish, then look; and the other way round for whoever changes it, change, then look who waits.
//!
//! What is waited for is a condition over a value that others change. The condition is code of the user, so it runs on the performer
//! alone, under no lock: whoever changes the value tells all who wait to look again (the protocol's `RETRY`).
//!
//! # Why no wake-up is lost
//! The performer links its node, and looks at the value after that. The changer changes the value, and looks for nodes after that.
//! One of the two comes later and finds what the other one did, provided that the looks cannot go ahead of what was done before
//! them: each [`Subject`] says how it makes sure of that.
//!
//! Being told to look again is nothing that could get lost with the one who was told: all who wait are told, and the value stays.

use crate::op::cell::{Attempt, Batch, Me, Queue, RX_READY, Source, State};
use crate::op::leaf::{Leaf, Side};
use crate::op::{Branches, Graph, Picker};
use crate::sched::{self, WaitKind};
use std::cell::{Cell, RefCell};

/// A value that changes, and those who wait for a change.
pub trait Subject {
    /// What the lock guards.
    type State: State;
    /// What a look yields.
    type View;

    fn source(&self) -> &Source<Self::State>;

    fn queue(state: &mut Self::State) -> &mut Queue<()>;

    /// Called under the lock, before the node is linked.
    fn announce(&self, state: &mut Self::State);

    /// Looks at the value, by the performer, under no lock. After an [`announce`](Subject::announce) by the same performer, it sees
    /// each change whose changer has found nobody waiting.
    fn look(&self) -> Self::View;

    fn graph(&self) -> Graph;
}

/// What is waited for.
pub trait Accept<View> {
    type Found;

    /// What the wait yields, if it is over. May run code of the user.
    fn accept(&mut self, view: View) -> Option<Self::Found>;
}

/// Tells everybody who waits now to look again. Those who come to wait meanwhile have looked by then.
pub(crate) fn tell_all<S: State, P>(source: &Source<S>, queue: fn(&mut S) -> &mut Queue<P>) {
    let mut batch = Batch::new();
    let mut left = None;
    loop {
        let mut state = source.lock();
        let waiting = queue(&mut state);
        let before = waiting.len();
        let more = waiting.retry_all(&mut batch);
        let told = before - waiting.len();
        drop(state);
        batch.wake(sched::here());
        let others = left.unwrap_or(before).saturating_sub(told);
        if !more || others == 0 {
            return;
        }
        left = Some(others);
    }
}

/// The node of a wait: it is never met, only told to look again.
struct Announced<S>(S);

impl<S: Subject> Side for Announced<S> {
    type State = S::State;
    type Slot = ();
    type Output = ();

    const READY: u32 = RX_READY;
    const KIND: WaitKind = WaitKind::Other;

    fn source(&self) -> &Source<S::State> {
        self.0.source()
    }

    fn attempt(&self, state: &mut S::State, (): &mut (), _: &mut Me<'_>) -> Attempt {
        self.0.announce(state);
        Attempt::Wait
    }

    fn queue(state: &mut S::State) -> &mut Queue<()> {
        S::queue(state)
    }

    fn output(&mut self, (): &mut ()) {}

    fn graph(&self) -> Graph {
        self.0.graph()
    }
}

/// A forced wait.
#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct Until<S: Subject, A: Accept<S::View>> {
    subject: S,
    leaf: Leaf<Announced<S>>,
    accept: RefCell<A>,
    /// What the last look has found.
    found: Cell<Option<A::Found>>,
}

impl<S: Subject + Clone, A: Accept<S::View>> Until<S, A> {
    pub(crate) fn new(subject: S, accept: A) -> Self {
        Until {
            leaf: Leaf::new(Announced(subject.clone()), ()),
            subject,
            accept: RefCell::new(accept),
            found: Cell::new(None),
        }
    }

    /// Whether the wait is over. Runs code of the user.
    fn look(&self) -> bool {
        let found = self.accept.borrow_mut().accept(self.subject.look());
        let over = found.is_some();
        self.found.set(found);
        over
    }
}

fn commit(me: &Me<'_>) -> Attempt {
    if me.commit() { Attempt::Done(None) } else { Attempt::Lost }
}

impl<S: Subject + Clone, A: Accept<S::View>> Branches for Until<S, A> {
    type Output = A::Found;

    fn leaves(&self) -> usize {
        1
    }

    fn pick(&self, picker: &mut Picker) {
        picker.leaf(self.look());
    }

    /// What the pick has found is good enough: it did hold, after the perform began.
    fn attempt(&self, _: usize, me: &mut Me<'_>) -> Attempt {
        commit(me)
    }

    /// A branch of a choice has been looked at before; a lone one has not.
    fn publish(&self, leaf: usize, me: &mut Me<'_>) -> Attempt {
        if me.is_lone() && self.look() {
            return commit(me);
        }
        let published = self.leaf.publish(leaf, me);
        let _no_suspension = me
            .here()
            .map(|here| here.forbid_suspend("the condition of a wait must not suspend"));
        if !self.look() {
            return published;
        }
        // Nobody decides this source's nodes, they are told to look again, by a CAS: so even a lone one may decide itself. If
        // somebody was faster, a wake is on its way.
        let committed = commit(me);
        self.leaf.retract(leaf);
        committed
    }

    fn retract(&self, leaf: usize) {
        self.leaf.retract(leaf);
    }

    fn abandon(&mut self, _: Option<usize>) {}

    fn finish(&mut self, _: usize) -> A::Found {
        self.found
            .take()
            .expect("a wait ends when its condition has been found to hold")
    }

    fn kind(&self) -> WaitKind {
        WaitKind::Other
    }

    fn graph(&self) -> Graph {
        self.subject.graph()
    }
}
