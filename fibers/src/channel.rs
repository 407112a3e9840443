//! Channels: values change hands directly, from a sender to a receiver.
//!
//! # Invariants (under the lock)
//! - Receivers wait only while the buffer is empty and no sender waits that they could meet. Senders wait only while the buffer
//!   is full (a rendezvous channel's always is) and no receiver waits that they could meet. The exception is a choice that waits
//!   on both sides: it does not meet itself.
//! - The buffer never holds more than the capacity. Waiting senders come after the buffer in the order of values: a receive from
//!   a full buffer takes the head and admits one waiting sender in the same step.
//! - A closed channel has no waiters: closing gives parked senders their value back and tells parked receivers.
//!
//! What a channel does not do: it never wakes a fiber to let it try again; whoever is woken holds its value.

use crate::op::cell::{Batch, Locked, Queue, RX_READY, Source, State, TX_READY};
use crate::op::{Op, Receive, Transmit};
use crate::sched;
use std::collections::VecDeque;
use std::fmt;
use std::mem;
use std::ptr;
use std::time::Duration;

mod ends;
pub(crate) mod error;
mod iter;
mod ops;

use ends::{Close, End};
pub use error::{RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError};
pub use iter::{IntoIter, Iter, TryIter};
pub use ops::{IntoRecvOp, RecvOp, SendOp, SendSlotOp};

/// Makes a channel whose buffer holds `capacity` values; 0 makes a rendezvous channel, whose send waits for its receive.
///
/// Both ends can be cloned. When the last sender is dropped, receivers take what is buffered and then see the end; when the last
/// receiver is dropped, sends give their value back.
///
/// # Panics
/// If a buffer of `capacity` values cannot be allocated.
///
/// ```
/// use fibers::channel;
/// let (tx, rx) = channel(2);
/// tx.send("hello").unwrap();
/// drop(tx);
/// assert_eq!(rx.recv(), Ok("hello"));
/// assert!(rx.recv().is_err());
/// ```
#[track_caller]
pub fn channel<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let mut buffer = VecDeque::new();
    let reserved = buffer.try_reserve_exact(capacity);
    assert!(
        reserved.is_ok(),
        "a channel with room for {capacity} values of {} bytes does not fit into memory; use a smaller capacity or `unbounded()`",
        size_of::<T>()
    );
    ends(buffer, Some(capacity))
}

/// Makes a channel whose buffer grows as needed: a send never waits.
///
/// ```
/// use fibers::unbounded;
/// let (tx, rx) = unbounded();
/// for i in 0..1000 {
///     tx.send(i).unwrap();
/// }
/// assert_eq!(rx.len(), 1000);
/// ```
pub fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    ends(VecDeque::new(), None)
}

fn ends<T>(buffer: VecDeque<T>, capacity: Option<usize>) -> (Sender<T>, Receiver<T>) {
    let state = ChannelState {
        buffer,
        capacity: capacity.unwrap_or(usize::MAX),
        closed: false,
        receivers: Queue::new(),
        senders: Queue::new(),
    };
    let (sender, receiver) = ends::ends(Channel {
        source: Source::new(state),
        capacity,
    });
    (Sender { end: sender }, Receiver { end: receiver })
}

/// The sides of a channel, as [`End`] counts them.
const SENDING: usize = 0;
const RECEIVING: usize = 1;

struct Channel<T> {
    source: Source<ChannelState<T>>,
    capacity: Option<usize>,
}

#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct ChannelState<T> {
    buffer: VecDeque<T>,
    capacity: usize,
    closed: bool,
    receivers: Queue<Option<T>>,
    senders: Queue<Parcel<T>>,
}

/// What a sender brings: the value while nobody has taken it.
#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct Parcel<T> {
    value: Option<T>,
    /// The channel was closed before anybody took it.
    refused: bool,
}

impl<T> State for ChannelState<T> {
    #[inline]
    fn readiness(&self) -> u32 {
        // Without branches: each unlock computes this, and what comes next is anyone's guess.
        let rx = !self.buffer.is_empty() | !self.senders.is_empty() | self.closed;
        let tx = (self.buffer.len() < self.capacity) | !self.receivers.is_empty() | self.closed;
        (u32::from(rx) * RX_READY) | (u32::from(tx) * TX_READY)
    }
}

impl<T> Close for Channel<T> {
    /// With the last receiver goes what is buffered: nobody can receive it any more, and it may hold what others wait for, such
    /// as the sender of a reply.
    fn close(&self, side: usize) {
        self.close();
        if side == RECEIVING {
            // Nothing is put into the buffer of a closed channel. Its values are dropped after the unlock.
            let unreceived = mem::take(&mut self.lock().buffer);
            drop(unreceived);
        }
    }
}

impl<T> Channel<T> {
    /// Closes the channel: batch by batch, so that the lock is never held for long, and no more waiters come once it is closed.
    fn close(&self) {
        let here = sched::here();
        let mut batch = Batch::new();
        loop {
            let mut state = self.source.lock();
            state.closed = true;
            let more =
                state.receivers.drain(&mut batch, |_| ()) || state.senders.drain(&mut batch, |parcel| parcel.refused = true);
            drop(state);
            batch.wake(here);
            if !more {
                return;
            }
        }
    }

    fn lock(&self) -> Locked<'_, ChannelState<T>> {
        self.source.lock()
    }

    fn describe(&self, what: &str) -> String {
        let state = self.lock();
        let capacity = self
            .capacity
            .map_or("unbounded".into(), |capacity| format!("capacity {capacity}"));
        let closed = if state.closed { ", closed" } else { "" };
        let address = ptr::from_ref(self).addr();
        format!(
            "{what} channel {address:#x} ({capacity}, {} buffered{closed})",
            state.buffer.len()
        )
    }

    fn debug(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        let (len, closed) = (state.buffer.len(), state.closed);
        drop(state);
        f.debug_struct(name)
            .field("len", &len)
            .field("capacity", &self.capacity)
            .field("closed", &closed)
            .finish()
    }
}

macro_rules! end {
    ($End:ident) => {
        impl<T> $End<T> {
            #[inline]
            fn channel(&self) -> &Channel<T> {
                &self.end
            }

            /// How many values are buffered.
            pub fn len(&self) -> usize {
                self.channel().lock().buffer.len()
            }

            /// Whether no value is buffered. A rendezvous channel is always empty.
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// Whether the buffer has no room. A rendezvous channel is always full.
            pub fn is_full(&self) -> bool {
                self.capacity().is_some_and(|capacity| self.len() >= capacity)
            }

            /// How many values the buffer can hold; `None` if it is unbounded.
            pub fn capacity(&self) -> Option<usize> {
                self.channel().capacity
            }

            /// How many performs wait to receive from this channel now: fibers and threads, lone or in a choice.
            pub fn waiting_receivers(&self) -> usize {
                self.channel().lock().receivers.len()
            }

            /// How many performs wait to send to this channel now: fibers and threads, lone or in a choice.
            pub fn waiting_senders(&self) -> usize {
                self.channel().lock().senders.len()
            }

            /// Closes the channel for both sides. Receivers drain the buffer first; parked senders get their value back.
            /// Closing again does nothing.
            pub fn close(&self) {
                self.channel().close();
            }

            /// Whether the channel is closed: explicitly, or because all ends of a side are gone.
            pub fn is_closed(&self) -> bool {
                self.channel().lock().closed
            }

            /// Whether both are ends of the same channel.
            pub fn same_channel(&self, other: &Self) -> bool {
                self.end.same(&other.end)
            }
        }

        impl<T> Clone for $End<T> {
            fn clone(&self) -> Self {
                $End { end: self.end.clone() }
            }
        }

        impl<T> fmt::Debug for $End<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.end.debug(stringify!($End), f)
            }
        }
    };
}

/// The sending end of a channel. Clones send to the same channel; when the last one is dropped, the channel closes.
pub struct Sender<T> {
    end: End<Channel<T>, SENDING>,
}

end!(Sender);

impl<T> Sender<T> {
    /// Sends `value`, waiting for room in the buffer or, on a rendezvous channel, for a receiver.
    ///
    /// # Errors
    /// Gives the value back if the channel is closed.
    ///
    /// # Blocking
    /// Suspends the fiber, or blocks the thread, until the value is handed over.
    #[inline(always)]
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        self.send_op(value).perform()
    }

    /// Sends `value` if that is possible at once.
    ///
    /// # Errors
    /// Gives the value back if there is neither room nor a receiver, or if the channel is closed.
    pub fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        let mut slot = Some(value);
        match (self.send_slot_op(&mut slot).try_perform(), slot) {
            (Some(Ok(())), _) => Ok(()),
            (Some(Err(_)), Some(value)) => Err(TrySendError::Disconnected(value)),
            (_, value) => Err(TrySendError::Full(
                value.expect("a send that did not happen leaves its value"),
            )),
        }
    }

    /// Like [`send`](Sender::send), but gives up after `timeout`.
    ///
    /// # Errors
    /// Gives the value back if the time is over, or if the channel is closed.
    #[inline]
    pub fn send_timeout(&self, value: T, timeout: Duration) -> Result<(), SendTimeoutError<T>> {
        let mut slot = Some(value);
        match (self.send_slot_op(&mut slot).timeout(timeout).perform(), slot) {
            (Ok(Ok(())), _) => Ok(()),
            (Ok(Err(_)), Some(value)) => Err(SendTimeoutError::Disconnected(value)),
            (_, value) => Err(SendTimeoutError::Timeout(
                value.expect("a send that did not happen leaves its value"),
            )),
        }
    }

    /// The operation that sends `value`. If it is not chosen, the value is dropped with it (see [`Sender::send_slot_op`]).
    #[inline]
    pub fn send_op(&self, value: T) -> SendOp<'_, T> {
        SendOp { sender: self, value }
    }

    /// The operation that sends the value in `slot` and leaves it there if it is not chosen, or if the channel is closed (then it
    /// yields an error without the value). An empty slot is never ready.
    ///
    /// ```
    /// use fibers::{Op, channel};
    /// let (tx, rx) = channel(0);
    /// let mut slot = Some(5);
    /// assert_eq!(tx.send_slot_op(&mut slot).try_perform(), None); // nobody receives
    /// assert_eq!(slot, Some(5));
    /// # drop(rx);
    /// ```
    pub fn send_slot_op<'a>(&'a self, slot: &'a mut Option<T>) -> SendSlotOp<'a, T> {
        SendSlotOp { sender: self, slot }
    }
}

/// The receiving end of a channel. Clones receive from the same channel, each value going to one of them.
pub struct Receiver<T> {
    end: End<Channel<T>, RECEIVING>,
}

end!(Receiver);

impl<T> Receiver<T> {
    /// Receives a value, waiting for one.
    ///
    /// # Errors
    /// If the channel is closed and its buffer is empty.
    ///
    /// # Blocking
    /// Suspends the fiber, or blocks the thread, until a value comes.
    #[inline(always)]
    pub fn recv(&self) -> Result<T, RecvError> {
        self.recv_op().perform()
    }

    /// Receives a value if there is one at once.
    ///
    /// # Errors
    /// If there is none, or if the channel is closed and its buffer is empty.
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        match self.recv_op().try_perform() {
            Some(received) => received.map_err(|RecvError| TryRecvError::Disconnected),
            None => Err(TryRecvError::Empty),
        }
    }

    /// Like [`recv`](Receiver::recv), but gives up after `timeout`.
    ///
    /// # Errors
    /// If the time is over, or if the channel is closed and its buffer is empty.
    #[inline]
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        match self.recv_op().timeout(timeout).perform() {
            Ok(received) => received.map_err(|RecvError| RecvTimeoutError::Disconnected),
            Err(_) => Err(RecvTimeoutError::Timeout),
        }
    }

    /// The operation that receives a value.
    #[inline]
    pub fn recv_op(&self) -> RecvOp<'_, T> {
        RecvOp { receiver: self }
    }

    /// The operation that receives a value and owns its receiver: for an operation that is built around a channel of its own,
    /// such as one that waits for a reply. When it has been performed, or is dropped, so is the receiver.
    ///
    /// ```
    /// use fibers::{Op, Sender, channel, op};
    /// fn call_op(requests: &Sender<Sender<u32>>) -> impl Op<Output = u32> {
    ///     op::guard(|| {
    ///         let (reply, answer) = channel(1);
    ///         requests.send(reply).unwrap();
    ///         answer.into_recv_op().wrap(|answer| answer.unwrap())
    ///     })
    /// }
    /// let (requests, incoming) = channel::<Sender<u32>>(1);
    /// std::thread::spawn(move || incoming.recv().unwrap().send(42));
    /// assert_eq!(call_op(&requests).perform(), 42);
    /// ```
    pub fn into_recv_op(self) -> IntoRecvOp<T> {
        IntoRecvOp { receiver: self }
    }
}

impl<T> Receive for Receiver<T> {
    type Output = Result<T, RecvError>;
    type Op<'a>
        = RecvOp<'a, T>
    where
        Self: 'a;

    fn receive_op(&self) -> RecvOp<'_, T> {
        self.recv_op()
    }
}

impl<T> Transmit<T> for Sender<T> {
    type Op<'a>
        = SendOp<'a, T>
    where
        Self: 'a;

    fn transmit_op(&self, value: T) -> SendOp<'_, T> {
        self.send_op(value)
    }
}
