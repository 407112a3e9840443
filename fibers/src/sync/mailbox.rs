//! A mailbox, as in CML: buffered without bound, so that a send never waits.

use crate::channel::{self, Receiver, RecvError, RecvOp, SendOp, Sender};
use crate::op::{Graph, Op, Receive, Transmit, Wrap};
use std::fmt;

/// An unbounded first-in-first-out buffer between any number of fibers and threads: a send never waits. Clones are the same
/// mailbox.
///
/// What CML's `Mailbox` is: `send`, `recv`, `recvEvt`, `recvPoll`. It never closes; where the end of one side must be seen by the
/// other, take [`unbounded`](crate::unbounded).
///
/// ```
/// use fibers::sync::Mailbox;
/// let mailbox = Mailbox::new();
/// mailbox.send(1);
/// mailbox.send(2);
/// assert_eq!((mailbox.recv(), mailbox.recv(), mailbox.try_recv()), (1, 2, None));
/// ```
pub struct Mailbox<T> {
    sender: Sender<T>,
    receiver: Receiver<T>,
}

impl<T> Mailbox<T> {
    /// An empty one.
    pub fn new() -> Self {
        let (sender, receiver) = channel::unbounded();
        Mailbox { sender, receiver }
    }

    /// Puts a value in. Never waits.
    pub fn send(&self, value: T) {
        let sent = self.sender.send(value);
        debug_assert!(sent.is_ok(), "each handle has both ends, so neither side ever ends");
    }

    /// The operation that puts `value` in: always ready. If it is not chosen, the value is dropped with it.
    pub fn send_op(&self, value: T) -> SendOp<'_, T> {
        self.sender.send_op(value)
    }

    /// Takes the oldest value, waiting for one.
    ///
    /// # Blocking
    /// Suspends the fiber, or blocks the thread, while the mailbox is empty.
    pub fn recv(&self) -> T {
        self.recv_op().perform()
    }

    /// Takes the oldest value if there is one.
    pub fn try_recv(&self) -> Option<T> {
        self.recv_op().try_perform()
    }

    /// The operation that takes the oldest value.
    pub fn recv_op(&self) -> MailboxOp<'_, T> {
        MailboxOp(self)
    }

    /// How many values are in it.
    pub fn len(&self) -> usize {
        self.receiver.len()
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.receiver.is_empty()
    }

    /// Whether both are the same mailbox.
    pub fn same(&self, other: &Self) -> bool {
        self.sender.same_channel(&other.sender)
    }
}

impl<T> Clone for Mailbox<T> {
    fn clone(&self) -> Self {
        Mailbox {
            sender: self.sender.clone(),
            receiver: self.receiver.clone(),
        }
    }
}

impl<T> Default for Mailbox<T> {
    fn default() -> Self {
        Mailbox::new()
    }
}

/// Holds the values of the iterator, the first one in front.
impl<T> FromIterator<T> for Mailbox<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        let mailbox = Mailbox::new();
        values.into_iter().for_each(|value| mailbox.send(value));
        mailbox
    }
}

impl<T> fmt::Debug for Mailbox<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox").field("len", &self.len()).finish()
    }
}

impl<T> Receive for Mailbox<T> {
    type Output = T;
    type Op<'a>
        = MailboxOp<'a, T>
    where
        Self: 'a;

    fn receive_op(&self) -> MailboxOp<'_, T> {
        self.recv_op()
    }
}

impl<T> Transmit<T> for Mailbox<T> {
    type Op<'a>
        = SendOp<'a, T>
    where
        Self: 'a;

    fn transmit_op(&self, value: T) -> SendOp<'_, T> {
        self.send_op(value)
    }
}

/// See [`Mailbox::recv_op`].
#[must_use = "an operation does nothing until it is performed"]
pub struct MailboxOp<'a, T>(&'a Mailbox<T>);

impl<T> Clone for MailboxOp<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for MailboxOp<'_, T> {}

impl<T> fmt::Debug for MailboxOp<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MailboxOp").field(self.0).finish()
    }
}

/// A receive that knows of no end.
type Endless<'a, T> = Wrap<RecvOp<'a, T>, fn(Result<T, RecvError>) -> T>;

impl<'a, T> Op for MailboxOp<'a, T> {
    type Output = T;
    type Branches = <Endless<'a, T> as Op>::Branches;
    const IMMEDIATE: bool = true;

    fn force(self) -> Self::Branches {
        let endless: Endless<'a, T> = self.0.receiver.recv_op().wrap(|got| got.expect("it never closes"));
        endless.force()
    }

    fn graph(&self) -> Graph {
        self.0.receiver.recv_op().graph().labelled("mailbox")
    }
}
