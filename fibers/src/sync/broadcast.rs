//! Every subscriber receives every value that was sent after it subscribed. The ancestor is CML's `Multicast`, whose ports are lists
//! that a server extends; here the values lie in one ring, as in Tokio's `broadcast`, and a subscriber is a cursor in it.
//!
//! # Invariants (under the lock, see [`ring`])
//! - A value stays in the ring until each subscriber that was there when it was sent has read it, or has gone, or until it is dropped
//!   because the ring is full and lagging is allowed ([`Lag`]).
//! - To send costs the same however many subscribers there are, except for those that wait, each of which is woken.
//! - Senders wait only while the ring is full. Whoever takes the last claim on a value out lets the first waiting sender put in
//!   theirs, in the same step. Those who wait to receive are told to look again: each of them has its own cursor, so nobody can take
//!   from another what they were woken for.
//! - Values are shared, and copied by the subscribers outside of the lock; the last one gets the value itself.

use super::BroadcastRecvError;
use super::until::tell_all;
use crate::channel::error::SendError;
use crate::op::cell::{Batch, Source, Waiter};
use crate::op::{Op, Receive, Transmit};
use crate::prim::Arc;
use crate::sched;
use ring::{Position, Ring};
use std::fmt;
use std::mem;

pub use ops::{BroadcastRecvOp, BroadcastSendOp};

mod ops;
mod ring;

/// What becomes of a sender when a subscriber is slow. Capacities are in values, and at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lag {
    /// At most this many values are kept. When one more comes, the oldest is dropped, and those who had not read it are told how
    /// many they missed ([`BroadcastRecvError::Lagged`]). A send never waits.
    DropOldest(usize),
    /// At most this many values are kept. When one more comes, its sender waits until the slowest subscriber has read the oldest.
    Block(usize),
    /// All values are kept until everybody has read them. A send never waits, and a subscriber that stops reading costs memory
    /// without bound.
    Unbounded,
}

/// The sending end. Clones send to the same subscribers; when the last one is dropped, subscribers read what is left and then see
/// the end.
///
/// ```
/// use fibers::sync::{Broadcast, BroadcastRecvError, Lag};
/// let news = Broadcast::new(Lag::Unbounded);
/// news.send("nobody listens yet").unwrap();
/// let (a, b) = (news.subscribe(), news.subscribe());
/// news.send("hello").unwrap();
/// drop(news);
/// assert_eq!((a.recv(), b.recv()), (Ok("hello"), Ok("hello")));
/// assert_eq!(a.recv(), Err(BroadcastRecvError::Closed));
/// ```
pub struct Broadcast<T>(Arc<Senders<T>>);

/// Counts the sending ends: its drop is that of the last one.
struct Senders<T>(Arc<Shared<T>>);

/// A receiving end: it sees every value that was sent after it subscribed. A clone goes on from where the original is.
///
/// May be shared between fibers and threads as well; then each value goes to one of them.
pub struct Subscriber<T> {
    shared: Arc<Shared<T>>,
    /// Of the cursor in the ring.
    key: usize,
}

struct Shared<T>(Source<Ring<T>>);

impl<T> Shared<T> {
    /// After a value came, or the end.
    fn tell_receivers(&self) {
        tell_all(&self.0, |ring| &mut ring.receivers);
    }

    /// Subscribers read what is there, and then see the end. Senders that wait get their value back.
    fn close(&self) {
        let mut batch = Batch::new();
        loop {
            let mut ring = self.0.lock();
            ring.closed = true;
            let more = ring.senders.drain(&mut batch, |letter| letter.refused = true);
            drop(ring);
            batch.wake(sched::here());
            if !more {
                break;
            }
        }
        self.tell_receivers();
    }

    /// Takes a cursor out, and then what nobody else claims.
    fn unsubscribe(&self, key: usize) {
        self.0.lock().unsubscribe(key);
        let unwinding = Tidying(self);
        self.tidy();
        mem::forget(unwinding);
    }

    /// Takes out what nobody claims: one value at a time, each dropped outside of the lock, and with each the first waiting sender
    /// comes in. Without subscribers there is room for all of those.
    fn tidy(&self) {
        loop {
            let mut ring = self.0.lock();
            let unclaimed = ring.pop_unclaimed();
            let sender = ring.refill_for_nobody();
            drop(ring);
            if unclaimed.is_none() && sender.is_none() {
                return;
            }
            self.welcome(sender);
            drop(unclaimed);
        }
    }

    fn waiting(&self) -> (usize, usize) {
        let ring = self.0.lock();
        (ring.receivers.len(), ring.senders.len())
    }

    /// Wakes a sender whose value has gone in, and those who wait for it.
    fn welcome(&self, sender: Option<Waiter>) {
        if let Some(sender) = sender {
            sender.wake(sched::here());
            self.tell_receivers();
        }
    }
}

/// While it exists, a value whose drop panics keeps neither the others in the ring nor the senders out of it.
struct Tidying<'a, T>(&'a Shared<T>);

impl<T> Drop for Tidying<'_, T> {
    fn drop(&mut self) {
        self.0.tidy();
    }
}

impl<T> Drop for Senders<T> {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl<T> Broadcast<T> {
    /// Without subscribers yet.
    ///
    /// # Panics
    /// If the capacity is 0.
    #[track_caller]
    pub fn new(lag: Lag) -> Self {
        assert!(
            !matches!(lag, Lag::DropOldest(0) | Lag::Block(0)),
            "a broadcast needs room for at least 1 value, got {lag:?}"
        );
        Broadcast(Arc::new(Senders(Arc::new(Shared(Source::new(Ring::new(lag)))))))
    }

    fn shared(&self) -> &Arc<Shared<T>> {
        &self.0.0
    }

    /// Sends `value` to all who subscribe now. If nobody does, it is dropped.
    ///
    /// # Errors
    /// Gives the value back if the broadcast was [closed](Broadcast::close).
    ///
    /// # Blocking
    /// With [`Lag::Block`], suspends the fiber, or blocks the thread, while there is no room. Otherwise never.
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        self.send_op(value).perform()
    }

    /// The operation that sends `value`. If it is not chosen, the value is dropped with it.
    pub fn send_op(&self, value: T) -> BroadcastSendOp<'_, T> {
        BroadcastSendOp { broadcast: self, value }
    }

    /// A subscriber to what is sent from now on.
    pub fn subscribe(&self) -> Subscriber<T> {
        Subscriber::new(self.shared())
    }

    /// How many subscribers there are.
    pub fn subscribers(&self) -> usize {
        self.shared().0.lock().subscribers()
    }

    /// How many values are kept for somebody who has not read them.
    pub fn len(&self) -> usize {
        self.shared().0.lock().len()
    }

    /// Whether everybody has read everything.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Closes it, as the drop of the last sending end does. Closing again does nothing.
    pub fn close(&self) {
        self.shared().close();
    }

    /// Whether it is closed.
    pub fn is_closed(&self) -> bool {
        self.shared().0.lock().closed
    }

    /// How many performs wait now: to receive, and to send.
    pub fn waiting(&self) -> (usize, usize) {
        self.shared().waiting()
    }
}

impl<T> Subscriber<T> {
    fn new(shared: &Arc<Shared<T>>) -> Self {
        let key = shared.0.lock().subscribe();
        Subscriber {
            shared: shared.clone(),
            key,
        }
    }

    /// Receives the next value, waiting for one.
    ///
    /// # Errors
    /// If values were dropped before they were read here, or if the broadcast is closed and everything has been read.
    ///
    /// # Blocking
    /// Suspends the fiber, or blocks the thread, until a value comes.
    pub fn recv(&self) -> Result<T, BroadcastRecvError>
    where
        T: Clone,
    {
        self.recv_op().perform()
    }

    /// Receives the next value if there is one; `None` if there is none yet.
    ///
    /// # Errors
    /// As [`recv`](Subscriber::recv).
    pub fn try_recv(&self) -> Option<Result<T, BroadcastRecvError>>
    where
        T: Clone,
    {
        self.recv_op().try_perform()
    }

    /// The operation that receives the next value.
    ///
    /// ```
    /// use fibers::{Op, sync::{Broadcast, BroadcastRecvError::Lagged, Lag}};
    /// let ticks = Broadcast::new(Lag::DropOldest(2));
    /// let slow = ticks.subscribe();
    /// (1..=5).for_each(|tick| ticks.send(tick).unwrap());
    /// assert_eq!(slow.recv_op().perform(), Err(Lagged(3)));
    /// assert_eq!((slow.recv(), slow.recv()), (Ok(4), Ok(5)));
    /// assert_eq!(slow.recv_op().try_perform(), None);
    /// ```
    pub fn recv_op(&self) -> BroadcastRecvOp<'_, T>
    where
        T: Clone,
    {
        BroadcastRecvOp(self)
    }

    /// Another subscriber, to what is sent from now on.
    pub fn resubscribe(&self) -> Self {
        Subscriber::new(&self.shared)
    }

    /// How many values there are to read.
    pub fn len(&self) -> usize {
        self.shared.0.lock().unread(self.key)
    }

    /// Whether there is nothing to read yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether no more values will come, apart from those that are there.
    pub fn is_closed(&self) -> bool {
        self.shared.0.lock().closed
    }

    fn position(&self) -> Position {
        self.shared.0.lock().position(self.key)
    }
}

/// A subscriber that has read what this one has read.
impl<T> Clone for Subscriber<T> {
    fn clone(&self) -> Self {
        let key = self.shared.0.lock().follow(self.key);
        Subscriber {
            shared: self.shared.clone(),
            key,
        }
    }
}

impl<T> Drop for Subscriber<T> {
    fn drop(&mut self) {
        self.shared.unsubscribe(self.key);
    }
}

impl<T> Clone for Broadcast<T> {
    fn clone(&self) -> Self {
        Broadcast(self.0.clone())
    }
}

impl<T> fmt::Debug for Broadcast<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broadcast")
            .field("len", &self.len())
            .field("subscribers", &self.subscribers())
            .field("closed", &self.is_closed())
            .finish()
    }
}

impl<T> fmt::Debug for Subscriber<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscriber")
            .field("len", &self.len())
            .field("closed", &self.is_closed())
            .finish()
    }
}

impl<T: Clone> Receive for Subscriber<T> {
    type Output = Result<T, BroadcastRecvError>;
    type Op<'a>
        = BroadcastRecvOp<'a, T>
    where
        Self: 'a;

    fn receive_op(&self) -> BroadcastRecvOp<'_, T> {
        self.recv_op()
    }
}

impl<T> Transmit<T> for Broadcast<T> {
    type Op<'a>
        = BroadcastSendOp<'a, T>
    where
        Self: 'a;

    fn transmit_op(&self, value: T) -> BroadcastSendOp<'_, T> {
        self.send_op(value)
    }
}
