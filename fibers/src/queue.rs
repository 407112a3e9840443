//! Queues, as in the ancestors: `put` and `get` on one object, where a channel has two ends.

use crate::channel::{self, Receiver, RecvError, RecvOp, SendError, SendOp, Sender, TryRecvError, TrySendError};
use crate::op::Receive;

/// A first-in-first-out queue between fibers and threads. Clones are the same queue.
///
/// The same as a channel whose two ends are kept together: nobody is told that the other side has gone, so whoever is done
/// [`close`](Queue::close)s it.
///
/// ```
/// use fibers::Queue;
/// let queue = Queue::unbounded();
/// queue.put(1).unwrap();
/// queue.put(2).unwrap();
/// queue.close();
/// assert_eq!((queue.get(), queue.get()), (Ok(1), Ok(2)));
/// assert!(queue.get().is_err());
/// ```
#[derive(Debug)]
pub struct Queue<T> {
    sender: Sender<T>,
    receiver: Receiver<T>,
}

impl<T> Queue<T> {
    /// A queue for at most `capacity` values; with 0, `put` waits for its `get`.
    ///
    /// # Panics
    /// If a buffer of `capacity` values cannot be allocated.
    #[track_caller]
    pub fn bounded(capacity: usize) -> Self {
        let (sender, receiver) = channel::channel(capacity);
        Queue { sender, receiver }
    }

    /// A queue that grows as needed.
    pub fn unbounded() -> Self {
        let (sender, receiver) = channel::unbounded();
        Queue { sender, receiver }
    }

    /// Appends a value, waiting for room.
    ///
    /// # Errors
    /// Gives the value back if the queue is closed.
    ///
    /// # Blocking
    /// Suspends the fiber, or blocks the thread, while the queue is full.
    pub fn put(&self, value: T) -> Result<(), SendError<T>> {
        self.sender.send(value)
    }

    /// Appends a value if there is room.
    ///
    /// # Errors
    /// Gives the value back if the queue is full or closed.
    pub fn try_put(&self, value: T) -> Result<(), TrySendError<T>> {
        self.sender.try_send(value)
    }

    /// The operation that appends `value`.
    pub fn put_op(&self, value: T) -> SendOp<'_, T> {
        self.sender.send_op(value)
    }

    /// Takes the oldest value, waiting for one.
    ///
    /// # Errors
    /// If the queue is closed and empty.
    ///
    /// # Blocking
    /// Suspends the fiber, or blocks the thread, while the queue is empty.
    pub fn get(&self) -> Result<T, RecvError> {
        self.receiver.recv()
    }

    /// Takes the oldest value if there is one.
    ///
    /// # Errors
    /// If the queue is empty, or closed and empty.
    pub fn try_get(&self) -> Result<T, TryRecvError> {
        self.receiver.try_recv()
    }

    /// The operation that takes the oldest value.
    pub fn get_op(&self) -> RecvOp<'_, T> {
        self.receiver.recv_op()
    }

    /// Closes it: nothing more can be put in, what is in it can be taken out.
    pub fn close(&self) {
        self.sender.close();
    }

    /// Whether it is closed.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// How many values it holds.
    pub fn len(&self) -> usize {
        self.receiver.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.receiver.is_empty()
    }

    /// How many values it can hold; `None` if it grows as needed.
    pub fn capacity(&self) -> Option<usize> {
        self.receiver.capacity()
    }
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Queue {
            sender: self.sender.clone(),
            receiver: self.receiver.clone(),
        }
    }
}

impl<T> Receive for Queue<T> {
    type Output = Result<T, RecvError>;
    type Op<'a>
        = RecvOp<'a, T>
    where
        Self: 'a;

    fn receive_op(&self) -> RecvOp<'_, T> {
        self.get_op()
    }
}
