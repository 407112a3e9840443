//! Sending to all subscribers and receiving as one of them, as operations.

use super::ring::{Letter, Position, Ring};
use super::{Broadcast, BroadcastRecvError, Shared, Subscriber};
use crate::channel::error::SendError;
use crate::op::cell::{Attempt, Me, Queue, RX_READY, Source, TX_READY};
use crate::op::leaf::{Leaf, Side};
use crate::op::{Branches, Graph, Op, Picker, forward_branches};
use crate::sched::WaitKind;
use std::fmt;
use std::mem;
use std::sync::Arc as Value;

/// Sends to all subscribers; see [`Broadcast::send_op`].
#[derive(Clone)]
#[must_use = "an operation does nothing until it is performed"]
pub struct BroadcastSendOp<'a, T> {
    pub(super) broadcast: &'a Broadcast<T>,
    pub(super) value: T,
}

impl<T> fmt::Debug for BroadcastSendOp<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BroadcastSendOp").field(self.broadcast).finish()
    }
}

impl<'a, T> Op for BroadcastSendOp<'a, T> {
    type Output = Result<(), SendError<T>>;
    type Branches = Telling<'a, T, Sending<'a, T>>;
    const IMMEDIATE: bool = true;

    fn force(self) -> Self::Branches {
        Telling {
            shared: self.broadcast.shared(),
            leaf: Leaf::new(Sending(self.broadcast), Letter::new(Some(self.value))),
        }
    }

    fn graph(&self) -> Graph {
        Sending(self.broadcast).graph()
    }
}

/// Receives the next value; see [`Subscriber::recv_op`].
#[must_use = "an operation does nothing until it is performed"]
pub struct BroadcastRecvOp<'a, T>(pub(super) &'a Subscriber<T>);

impl<T> Clone for BroadcastRecvOp<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for BroadcastRecvOp<'_, T> {}

impl<T> fmt::Debug for BroadcastRecvOp<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BroadcastRecvOp").field(self.0).finish()
    }
}

impl<'a, T: Clone> Op for BroadcastRecvOp<'a, T> {
    type Output = Result<T, BroadcastRecvError>;
    type Branches = Reading<'a, T>;
    const IMMEDIATE: bool = true;

    fn force(self) -> Self::Branches {
        Reading {
            subscriber: self.0,
            telling: Telling {
                shared: &self.0.shared,
                leaf: Leaf::new(Receiving(self.0), Letter::new(None)),
            },
        }
    }

    fn graph(&self) -> Graph {
        Receiving(self.0).graph()
    }
}

/// The sending side: puts the value into the ring.
#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct Sending<'a, T>(&'a Broadcast<T>);

impl<T> Side for Sending<'_, T> {
    type State = Ring<T>;
    type Slot = Letter<T>;
    type Output = Result<(), SendError<T>>;

    const READY: u32 = TX_READY;
    const KIND: WaitKind = WaitKind::Send;

    fn source(&self) -> &Source<Ring<T>> {
        &self.0.shared().0
    }

    fn attempt(&self, ring: &mut Ring<T>, letter: &mut Letter<T>, me: &mut Me<'_>) -> Attempt {
        if !ring.closed && !ring.has_room() {
            return Attempt::Wait;
        }
        if !me.commit() {
            return Attempt::Lost;
        }
        match ring.closed {
            true => letter.refused = true,
            false => ring.push(letter),
        }
        Attempt::Done(None)
    }

    fn queue(ring: &mut Ring<T>) -> &mut Queue<Letter<T>> {
        &mut ring.senders
    }

    fn output(&mut self, letter: &mut Letter<T>) -> Result<(), SendError<T>> {
        let unread = letter.value.take().filter(|_| letter.refused);
        let value = unread.and_then(Value::into_inner);
        value.map_or(Ok(()), |value| Err(SendError(value)))
    }

    fn graph(&self) -> Graph {
        let ring = self.0.shared().0.lock();
        Graph::leaf(format!(
            "broadcast ({} kept, {} subscribers, {} send)",
            ring.len(),
            ring.subscribers(),
            ring.senders.len()
        ))
    }
}

/// The receiving side: moves the cursor past the next value.
struct Receiving<'a, T>(&'a Subscriber<T>);

impl<T: Clone> Side for Receiving<'_, T> {
    type State = Ring<T>;
    type Slot = Letter<T>;
    type Output = Result<T, BroadcastRecvError>;

    const READY: u32 = RX_READY;
    const KIND: WaitKind = WaitKind::Receive;

    fn source(&self) -> &Source<Ring<T>> {
        &self.0.shared.0
    }

    fn attempt(&self, ring: &mut Ring<T>, letter: &mut Letter<T>, me: &mut Me<'_>) -> Attempt {
        if ring.position(self.0.key) == Position::Nothing {
            return Attempt::Wait;
        }
        if !me.commit() {
            return Attempt::Lost;
        }
        ring.advance(self.0.key, letter);
        let sender = ring.refill(me.cell());
        letter.untold = sender.is_some() && !ring.receivers.is_empty();
        Attempt::Done(sender)
    }

    fn queue(ring: &mut Ring<T>) -> &mut Queue<Letter<T>> {
        &mut ring.receivers
    }

    fn output(&mut self, letter: &mut Letter<T>) -> Result<T, BroadcastRecvError> {
        match letter.error.take() {
            Some(error) => Err(error),
            None => {
                let value = letter.value.take().expect("a receive that was decided has its result");
                Ok(Value::unwrap_or_clone(value))
            }
        }
    }

    fn graph(&self) -> Graph {
        Graph::leaf(format!("subscriber ({} unread)", self.0.len()))
    }
}

/// A forced send or receive. When it has put a value into the ring, it tells those who wait, whatever becomes of it afterwards.
#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct Telling<'a, T, S: Side<State = Ring<T>, Slot = Letter<T>>> {
    shared: &'a Shared<T>,
    leaf: Leaf<S>,
}

impl<T, S: Side<State = Ring<T>, Slot = Letter<T>>> Telling<'_, T, S> {
    fn tell(&mut self) {
        if mem::take(&mut self.leaf.slot().untold) {
            self.shared.tell_receivers();
        }
    }
}

impl<T, S: Side<State = Ring<T>, Slot = Letter<T>>> Branches for Telling<'_, T, S> {
    type Output = S::Output;

    forward_branches!(leaf);

    fn abandon(&mut self, _: Option<usize>) {
        // Not only once the abort actions of the losers are through.
        self.tell();
    }

    fn finish(&mut self, leaf: usize) -> S::Output {
        self.leaf.finish(leaf)
    }

    fn graph(&self) -> Graph {
        self.leaf.graph()
    }
}

impl<T, S: Side<State = Ring<T>, Slot = Letter<T>>> Drop for Telling<'_, T, S> {
    fn drop(&mut self) {
        self.tell();
    }
}

/// A forced receive: the ring may not be empty, and this subscriber have read all of it nevertheless.
#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct Reading<'a, T: Clone> {
    subscriber: &'a Subscriber<T>,
    telling: Telling<'a, T, Receiving<'a, T>>,
}

impl<T: Clone> Branches for Reading<'_, T> {
    type Output = Result<T, BroadcastRecvError>;

    fn leaves(&self) -> usize {
        1
    }

    fn pick(&self, picker: &mut Picker) {
        let shared = &self.subscriber.shared;
        picker.leaf(shared.0.peek(RX_READY) && self.subscriber.position() != Position::Nothing);
    }

    fn attempt(&self, leaf: usize, me: &mut Me<'_>) -> Attempt {
        self.telling.attempt(leaf, me)
    }

    fn publish(&self, leaf: usize, me: &mut Me<'_>) -> Attempt {
        self.telling.publish(leaf, me)
    }

    fn retract(&self, leaf: usize) {
        self.telling.retract(leaf);
    }

    fn leave(&self, leaf: usize) {
        self.telling.leave(leaf);
    }

    fn abandon(&mut self, winner: Option<usize>) {
        self.telling.abandon(winner);
    }

    fn finish(&mut self, leaf: usize) -> Self::Output {
        self.telling.finish(leaf)
    }

    fn kind(&self) -> WaitKind {
        self.telling.kind()
    }

    fn graph(&self) -> Graph {
        self.telling.graph()
    }
}
