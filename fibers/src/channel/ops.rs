//! Receiving from a channel and sending to it, as operations, and what happens at the channel when they meet.

use super::{ChannelState, Parcel, Receiver, RecvError, SendError, Sender};
use crate::op::cell::{Attempt, Cell, Me, Met, Queue, RX_READY, Source, TX_READY, Waiter};
use crate::op::leaf::{Leaf, Side};
use crate::op::{Branches, Graph, Op, Picker};
use crate::sched::WaitKind;
use std::fmt;

/// Receives from a channel; see [`Receiver::recv_op`].
#[must_use = "an operation does nothing until it is performed"]
pub struct RecvOp<'a, T> {
    pub(super) receiver: &'a Receiver<T>,
}

impl<T> Clone for RecvOp<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for RecvOp<'_, T> {}

impl<T> fmt::Debug for RecvOp<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RecvOp").field(self.receiver).finish()
    }
}

impl<'a, T> Op for RecvOp<'a, T> {
    type Output = Result<T, RecvError>;
    type Branches = Leaf<Receiving<'a, T>>;
    const IMMEDIATE: bool = true;

    #[inline]
    fn force(self) -> Self::Branches {
        Leaf::new(Receiving(self.receiver), None)
    }

    fn graph(&self) -> Graph {
        Receiving(self.receiver).graph()
    }
}

/// Receives from a channel that it owns an end of; see [`Receiver::into_recv_op`].
#[derive(Clone, Debug)]
#[must_use = "an operation does nothing until it is performed"]
pub struct IntoRecvOp<T> {
    pub(super) receiver: Receiver<T>,
}

impl<T> Op for IntoRecvOp<T> {
    type Output = Result<T, RecvError>;
    type Branches = Leaf<OwnReceiving<T>>;
    const IMMEDIATE: bool = true;

    fn force(self) -> Self::Branches {
        Leaf::new(OwnReceiving(self.receiver), None)
    }

    fn graph(&self) -> Graph {
        Receiving(&self.receiver).graph()
    }
}

/// Sends to a channel; see [`Sender::send_op`].
#[derive(Clone)]
#[must_use = "an operation does nothing until it is performed"]
pub struct SendOp<'a, T> {
    pub(super) sender: &'a Sender<T>,
    pub(super) value: T,
}

impl<T> fmt::Debug for SendOp<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SendOp").field(self.sender).finish()
    }
}

impl<'a, T> Op for SendOp<'a, T> {
    type Output = Result<(), SendError<T>>;
    type Branches = Leaf<Sending<'a, T>>;
    const IMMEDIATE: bool = true;

    #[inline]
    fn force(self) -> Self::Branches {
        sending(self.sender, Some(self.value))
    }

    fn graph(&self) -> Graph {
        Sending(self.sender).graph()
    }
}

/// Sends from a slot that keeps the value if the send does not happen; see [`Sender::send_slot_op`].
#[must_use = "an operation does nothing until it is performed"]
pub struct SendSlotOp<'a, T> {
    pub(super) sender: &'a Sender<T>,
    pub(super) slot: &'a mut Option<T>,
}

impl<T> fmt::Debug for SendSlotOp<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SendSlotOp").field(self.sender).finish()
    }
}

impl<'a, T> Op for SendSlotOp<'a, T> {
    type Output = Result<(), SendError<()>>;
    type Branches = SlotBranches<'a, T>;
    const IMMEDIATE: bool = true;

    fn force(self) -> Self::Branches {
        let value = self.slot.take();
        SlotBranches {
            empty: value.is_none(),
            leaf: sending(self.sender, value),
            slot: self.slot,
        }
    }

    fn graph(&self) -> Graph {
        Sending(self.sender).graph()
    }
}

/// The receiving side: takes from the buffer, or else from the first waiting sender.
#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct Receiving<'a, T>(&'a Receiver<T>);

impl<T> Side for Receiving<'_, T> {
    type State = ChannelState<T>;
    /// Filled by a sender; still empty when the channel was closed.
    type Slot = Option<T>;
    type Output = Result<T, RecvError>;

    const READY: u32 = RX_READY;
    const KIND: WaitKind = WaitKind::Receive;

    #[inline]
    fn source(&self) -> &Source<ChannelState<T>> {
        &self.0.channel().source
    }

    #[inline(always)]
    fn attempt(&self, state: &mut ChannelState<T>, slot: &mut Option<T>, me: &mut Me<'_>) -> Attempt {
        if !state.buffer.is_empty() {
            if !me.commit() {
                return Attempt::Lost;
            }
            *slot = state.buffer.pop_front();
            return Attempt::Done(state.refill(me.cell()));
        }
        match state.senders.meet(me, |parcel| parcel.value.take()) {
            Met::Someone(value, sender) => {
                *slot = value;
                Attempt::Done(Some(sender))
            }
            Met::Lost => Attempt::Lost,
            Met::Nobody if !state.closed => Attempt::Wait,
            Met::Nobody if me.commit() => Attempt::Done(None),
            Met::Nobody => Attempt::Lost,
        }
    }

    #[inline]
    fn queue(state: &mut ChannelState<T>) -> &mut Queue<Option<T>> {
        &mut state.receivers
    }

    #[inline]
    fn output(&mut self, slot: &mut Option<T>) -> Result<T, RecvError> {
        slot.take().ok_or(RecvError)
    }

    fn graph(&self) -> Graph {
        Graph::leaf(self.0.end.describe("receive from"))
    }
}

/// The receiving side that owns its end.
#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct OwnReceiving<T>(Receiver<T>);

impl<T> Side for OwnReceiving<T> {
    type State = ChannelState<T>;
    type Slot = Option<T>;
    type Output = Result<T, RecvError>;

    const READY: u32 = RX_READY;
    const KIND: WaitKind = WaitKind::Receive;

    fn source(&self) -> &Source<ChannelState<T>> {
        &self.0.channel().source
    }

    fn attempt(&self, state: &mut ChannelState<T>, slot: &mut Option<T>, me: &mut Me<'_>) -> Attempt {
        Receiving(&self.0).attempt(state, slot, me)
    }

    fn queue(state: &mut ChannelState<T>) -> &mut Queue<Option<T>> {
        &mut state.receivers
    }

    fn output(&mut self, slot: &mut Option<T>) -> Result<T, RecvError> {
        Receiving(&self.0).output(slot)
    }

    fn graph(&self) -> Graph {
        Receiving(&self.0).graph()
    }
}

impl<T> ChannelState<T> {
    /// After a receive made room: lets the first waiting sender put its value into the buffer.
    #[inline]
    fn refill(&mut self, me: &Cell) -> Option<Waiter> {
        if self.senders.is_empty() {
            return None;
        }
        let (value, sender) = self.senders.admit(me, |parcel| parcel.value.take())?;
        if let Some(value) = value {
            self.buffer.push_back(value);
        }
        Some(sender)
    }
}

/// The sending side: hands over to the first waiting receiver, or else puts into the buffer.
#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct Sending<'a, T>(&'a Sender<T>);

fn sending<T>(sender: &Sender<T>, value: Option<T>) -> Leaf<Sending<'_, T>> {
    Leaf::new(Sending(sender), Parcel { value, refused: false })
}

impl<T> Side for Sending<'_, T> {
    type State = ChannelState<T>;
    type Slot = Parcel<T>;
    type Output = Result<(), SendError<T>>;

    const READY: u32 = TX_READY;
    const KIND: WaitKind = WaitKind::Send;

    #[inline]
    fn source(&self) -> &Source<ChannelState<T>> {
        &self.0.channel().source
    }

    #[inline(always)]
    fn attempt(&self, state: &mut ChannelState<T>, parcel: &mut Parcel<T>, me: &mut Me<'_>) -> Attempt {
        if state.closed {
            let committed = me.commit();
            parcel.refused = committed;
            return if committed { Attempt::Done(None) } else { Attempt::Lost };
        }
        match state.receivers.meet(me, |slot| *slot = parcel.value.take()) {
            Met::Someone((), receiver) => Attempt::Done(Some(receiver)),
            Met::Lost => Attempt::Lost,
            Met::Nobody if state.buffer.len() >= state.capacity => Attempt::Wait,
            Met::Nobody if me.commit() => {
                if let Some(value) = parcel.value.take() {
                    state.buffer.push_back(value);
                }
                Attempt::Done(None)
            }
            Met::Nobody => Attempt::Lost,
        }
    }

    #[inline]
    fn queue(state: &mut ChannelState<T>) -> &mut Queue<Parcel<T>> {
        &mut state.senders
    }

    #[inline]
    fn output(&mut self, parcel: &mut Parcel<T>) -> Result<(), SendError<T>> {
        match parcel.value.take() {
            Some(value) if parcel.refused => Err(SendError(value)),
            _ => Ok(()),
        }
    }

    fn graph(&self) -> Graph {
        Graph::leaf(self.0.end.describe("send to"))
    }
}

/// A forced [`SendSlotOp`]: puts the value back into its slot unless it was taken.
#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct SlotBranches<'a, T> {
    leaf: Leaf<Sending<'a, T>>,
    slot: &'a mut Option<T>,
    empty: bool,
}

impl<T> Branches for SlotBranches<'_, T> {
    type Output = Result<(), SendError<()>>;

    fn leaves(&self) -> usize {
        usize::from(!self.empty)
    }

    fn pick(&self, picker: &mut Picker) {
        if !self.empty {
            self.leaf.pick(picker);
        }
    }

    fn attempt(&self, leaf: usize, me: &mut Me<'_>) -> Attempt {
        self.leaf.attempt(leaf, me)
    }

    fn publish(&self, leaf: usize, me: &mut Me<'_>) -> Attempt {
        self.leaf.publish(leaf, me)
    }

    fn retract(&self, leaf: usize) {
        self.leaf.retract(leaf);
    }

    fn leave(&self, leaf: usize) {
        self.leaf.leave(leaf);
    }

    fn abandon(&mut self, _: Option<usize>) {}

    fn finish(&mut self, _: usize) -> Self::Output {
        if self.leaf.slot().refused {
            Err(SendError(()))
        } else {
            Ok(())
        }
    }

    fn kind(&self) -> WaitKind {
        WaitKind::Send
    }

    fn graph(&self) -> Graph {
        self.leaf.graph()
    }
}

impl<T> Drop for SlotBranches<'_, T> {
    fn drop(&mut self) {
        if let Some(value) = self.leaf.slot().value.take() {
            *self.slot = Some(value);
        }
    }
}
