//! A one-shot event: unset, then set for ever. Nacks, conds and the ends of fibers are events.

use super::cell::{Batch, Queue, RX_READY, Source, State};
use crate::sched::Here;

/// What an event's lock guards.
#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct EventState {
    set: bool,
    pub(crate) waiters: Queue<()>,
}

impl EventState {
    pub(crate) fn is_set(&self) -> bool {
        self.set
    }
}

impl State for EventState {
    fn readiness(&self) -> u32 {
        if self.set { RX_READY } else { 0 }
    }
}

/// A source that becomes ready once and stays so.
#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct Event(Source<EventState>);

impl Event {
    pub(crate) fn new() -> Self {
        Event(Source::new(EventState {
            set: false,
            waiters: Queue::new(),
        }))
    }

    pub(crate) fn source(&self) -> &Source<EventState> {
        &self.0
    }

    /// Acquire: whoever sees the event set sees what happened before it was set.
    pub(crate) fn is_set(&self) -> bool {
        self.0.peek(RX_READY)
    }

    /// Sets the event and wakes all that wait for it, a batch at a time. Later calls do nothing.
    pub(crate) fn set(&self, here: Option<Here>) {
        let mut batch = Batch::new();
        loop {
            let mut state = self.0.lock();
            state.set = true;
            let more = state.waiters.drain(&mut batch, |()| {});
            drop(state);
            batch.wake(here);
            if !more {
                return;
            }
        }
    }
}
