//! Signals of the operating system, as something to receive.
//!
//! [`notify`] subscribes to signals and yields [`Signals`], from which they are received, in a `select!` arm as well. While anybody is
//! subscribed to a signal it does nothing else: SIGINT does not end the process any more. When the last subscriber goes, whatever
//! was in force before is in force again.
//!
//! # How it works
//! The handler does two things that a handler may do: it sets a bit, and if that was clear it writes to an eventfd. A thread of the
//! process (the caretaker) waits for that, hands the bit to all who have subscribed, and wakes those who wait. So signals of one kind that
//! come faster than they are received are one signal, as they are for the kernel, and a storm of them costs no memory.
//!
//! A handler, and not a signalfd: a signalfd reports only what is *blocked* in every thread of the process, also in those that
//! other libraries start, at any time; a blocked mask is inherited by child processes, which then cannot be interrupted; and a signal
//! that is sent to one thread is only seen by a reader in that thread. Handlers have none of these problems: the mask of no thread is
//! touched, and when a child becomes its program the kernel resets its handlers, so that it starts with a clean mask and
//! default dispositions for what is subscribed to here.
//!
//! A handler that another part of the program has installed is not called while there are subscribers. A process that was forked and
//! not become another program does not receive anything here; signals do to it what they do by default.
#![expect(unsafe_code, reason = "a signal handler is installed")]

mod number;

pub use number::Signal;

use crate::caretaker::{Ward, expect_more, look_after, look_again};
use crate::op::cell::{Attempt, Me, Queue, RX_READY, Source, State};
use crate::op::leaf::{Leaf, Side};
use crate::op::{Branches, Graph, Op, Picker, Receive};
use crate::prim::Arc;
use crate::prim::plain::{AtomicU64, Ordering};
use crate::sched::WaitKind;
use crate::sys::{self, SignalAction};
use std::borrow::Borrow;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, Weak};

/// Subscribes to signals.
///
/// Any number of subscriptions may exist, of any parts of the program; each receives every signal.
///
/// # Errors
/// `InvalidInput` for signals that cannot be handled (SIGKILL, SIGSTOP) or mean that the program is broken (SIGSEGV, SIGBUS, SIGFPE,
/// SIGILL, ..); what the system fails with.
///
/// ```
/// use fibers::signal::{self, Signal};
/// fibers::run(|| {
///     let signals = signal::notify(&[Signal::HUP, Signal::USR1]).unwrap();
///     Signal::USR1.raise().unwrap();
///     assert_eq!(signals.recv(), Signal::USR1);
/// });
/// ```
pub fn notify(signals: &[Signal]) -> io::Result<Signals> {
    let mut mask = 0;
    for signal in signals {
        if !signal.can_be_received() {
            let message = format!("{signal} cannot be received: it is not for programs to handle");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        mask |= signal.bit();
    }
    let subscriber = Arc::new(Source::new(Pending {
        bits: 0,
        last: 0,
        waiters: Queue::new(),
    }));
    let mut desk = desk();
    // What has come before this is not for the new one.
    let arrived = desk.take_arrived();
    let subscribed = desk.subscribe(mask, &subscriber);
    drop(desk);
    deliver_all(arrived);
    subscribed.map(|()| Signals { subscriber, mask })
}

/// The operation that is ready when the user has pressed Ctrl-C (SIGINT) since it was made.
///
/// From this call on, until the operation is performed or dropped, Ctrl-C does not end the program.
///
/// # Errors
/// As [`notify`].
///
/// ```
/// use fibers::{Op, signal};
/// use std::time::Duration;
/// fibers::run(|| {
///     let interrupted = signal::ctrl_c_op().unwrap().timeout(Duration::from_millis(1)).perform();
///     assert!(interrupted.is_err(), "nobody has pressed it");
/// });
/// ```
pub fn ctrl_c_op() -> io::Result<impl Op<Output = Signal>> {
    notify(&[Signal::INT]).map(OwnedSignalOp)
}

type Subscriber = Source<Pending>;

/// What has come for one subscriber.
#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct Pending {
    bits: u64,
    /// The bit that was taken last: the search for the next one starts behind it, so that no signal starves another.
    last: u32,
    waiters: Queue<Option<Signal>>,
}

impl State for Pending {
    fn readiness(&self) -> u32 {
        if self.bits == 0 { 0 } else { RX_READY }
    }
}

impl Pending {
    fn take(&mut self) -> Option<Signal> {
        if self.bits == 0 {
            return None;
        }
        let start = (self.last + 1) % 64;
        let bit = (self.bits.rotate_right(start).trailing_zeros() + start) % 64;
        self.bits &= !(1 << bit);
        self.last = bit;
        Some(Signal::of_bit(bit))
    }
}

/// A subscription to signals: see [`notify`]. Dropping it ends the subscription.
///
/// Several fibers may receive from one subscription; each signal goes to one of them.
pub struct Signals {
    subscriber: Arc<Subscriber>,
    mask: u64,
}

impl Signals {
    /// Waits for a signal.
    ///
    /// # Blocking
    /// Suspends the fiber, or blocks the thread.
    pub fn recv(&self) -> Signal {
        self.recv_op().perform()
    }

    /// The operation that receives a signal. If it loses, nothing is taken.
    pub fn recv_op(&self) -> SignalOp<'_> {
        SignalOp(self)
    }

    /// A signal that has come, if one has.
    pub fn try_recv(&self) -> Option<Signal> {
        self.recv_op().try_perform()
    }

    /// The signals that are subscribed to, ascending.
    pub fn subscribed(&self) -> impl Iterator<Item = Signal> + use<> {
        let mask = self.mask;
        (0..64).filter(move |bit| mask >> bit & 1 == 1).map(Signal::of_bit)
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        desk().unsubscribe(self.mask, &self.subscriber);
    }
}

impl fmt::Debug for Signals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Signals")
            .field(&self.subscribed().collect::<Vec<_>>())
            .finish()
    }
}

impl Receive for Signals {
    type Output = Signal;
    type Op<'a> = SignalOp<'a>;

    fn receive_op(&self) -> SignalOp<'_> {
        self.recv_op()
    }
}

/// See [`Signals::recv_op`].
#[derive(Clone, Copy, Debug)]
#[must_use = "an operation does nothing until it is performed"]
pub struct SignalOp<'a>(&'a Signals);

impl<'a> Op for SignalOp<'a> {
    type Output = Signal;
    type Branches = SignalBranches<&'a Signals>;
    const IMMEDIATE: bool = true;

    fn force(self) -> Self::Branches {
        SignalBranches::new(self.0)
    }

    fn graph(&self) -> Graph {
        Graph::leaf("signal")
    }
}

/// An operation with a subscription of its own.
struct OwnedSignalOp(Signals);

impl Op for OwnedSignalOp {
    type Output = Signal;
    type Branches = SignalBranches<Signals>;
    const IMMEDIATE: bool = true;

    fn force(self) -> Self::Branches {
        SignalBranches::new(self.0)
    }

    fn graph(&self) -> Graph {
        Graph::leaf("signal")
    }
}

/// Takes a signal that is pending. Nobody is ever handed one: who waits is told to look again, so all who wait are told.
#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct Receiving<S>(S);

impl<S: Borrow<Signals>> Side for Receiving<S> {
    type State = Pending;
    type Slot = Option<Signal>;
    type Output = Signal;

    const READY: u32 = RX_READY;
    const KIND: WaitKind = WaitKind::Io;

    fn source(&self) -> &Subscriber {
        &self.0.borrow().subscriber
    }

    fn attempt(&self, state: &mut Pending, slot: &mut Option<Signal>, me: &mut Me<'_>) -> Attempt {
        if state.bits == 0 {
            return Attempt::Wait;
        }
        if !me.commit() {
            return Attempt::Lost;
        }
        *slot = state.take();
        Attempt::Done(None)
    }

    fn queue(state: &mut Pending) -> &mut Queue<Option<Signal>> {
        &mut state.waiters
    }

    fn output(&mut self, slot: &mut Option<Signal>) -> Signal {
        slot.take().expect("an attempt that succeeds takes a signal")
    }

    fn graph(&self) -> Graph {
        Graph::leaf(format!("signal of {:?}", self.0.borrow()))
    }
}

/// Gives back what was taken, if the perform ends before anybody has it (an abort action has panicked).
#[expect(missing_debug_implementations, reason = "users cannot name it")]
pub struct SignalBranches<S: Borrow<Signals>> {
    leaf: Leaf<Receiving<S>>,
    subscriber: Arc<Subscriber>,
}

impl<S: Borrow<Signals>> SignalBranches<S> {
    fn new(signals: S) -> Self {
        SignalBranches {
            subscriber: signals.borrow().subscriber.clone(),
            leaf: Leaf::new(Receiving(signals), None),
        }
    }
}

impl<S: Borrow<Signals>> Branches for SignalBranches<S> {
    type Output = Signal;

    fn leaves(&self) -> usize {
        1
    }

    fn pick(&self, picker: &mut Picker) {
        self.leaf.pick(picker);
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

    fn finish(&mut self, leaf: usize) -> Signal {
        self.leaf.finish(leaf)
    }

    fn kind(&self) -> WaitKind {
        self.leaf.kind()
    }

    fn graph(&self) -> Graph {
        self.leaf.graph()
    }
}

impl<S: Borrow<Signals>> Drop for SignalBranches<S> {
    fn drop(&mut self) {
        if let Some(signal) = self.leaf.slot().take() {
            deliver(&self.subscriber, signal.bit());
        }
    }
}

/// Signals that have come and not been handed out: all that the handler and the caretaker share, beside the eventfd.
static ARRIVED: AtomicU64 = AtomicU64::new(0);
static EVENTFD: OnceLock<OwnedFd> = OnceLock::new();
/// The process that has subscribed. A forked one has the handlers as well, until it becomes another program.
static PROCESS: OnceLock<i32> = OnceLock::new();

/// Runs between any two instructions of the process, and so does nothing but this.
unsafe extern "C" fn on_signal(signal: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {
    sys::keep_errno(|| {
        if PROCESS.get() != Some(&sys::process_id()) {
            return sys::default_again(signal);
        }
        let bit = 1 << (signal - 1);
        // AcqRel: pairs with the caretaker's swap. Whoever finds the bit set leaves the write to the one who has set it.
        if ARRIVED.fetch_or(bit, Ordering::AcqRel) & bit == 0
            && let Some(eventfd) = EVENTFD.get()
        {
            sys::poke(eventfd.as_fd());
        }
    });
}

/// Who has subscribed to what.
struct Desk {
    subscribers: Vec<(u64, Weak<Subscriber>)>,
    /// Per signal: how many subscribers, and what was in force before the first one.
    handled: Vec<Handled>,
    /// The caretaker looks after the eventfd.
    attended: bool,
}

struct Handled {
    signal: Signal,
    subscribers: usize,
    before: SignalAction,
}

fn desk() -> MutexGuard<'static, Desk> {
    static DESK: Mutex<Desk> = Mutex::new(Desk {
        subscribers: Vec::new(),
        handled: Vec::new(),
        attended: false,
    });
    DESK.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Desk {
    fn subscribe(&mut self, mask: u64, subscriber: &Arc<Subscriber>) -> io::Result<()> {
        self.attend()?;
        expect_more(true)?;
        self.subscribers.push((mask, Arc::downgrade(subscriber)));
        for bit in (0..64).filter(|bit| mask >> bit & 1 == 1) {
            if let Err(error) = self.handle(Signal::of_bit(bit)) {
                let installed = mask & ((1 << bit) - 1);
                self.unsubscribe(installed, subscriber);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Has the eventfd looked after, once.
    fn attend(&mut self) -> io::Result<()> {
        if self.attended {
            return Ok(());
        }
        if EVENTFD.get().is_none() {
            let _ = EVENTFD.set(sys::eventfd()?);
        }
        PROCESS.get_or_init(sys::process_id);
        look_after(Box::new(Arrivals)).map_err(|(error, _)| error)?;
        self.attended = true;
        Ok(())
    }

    /// What the handler has noted, for those who have subscribed to it: to be delivered when the desk is free again. Taken under its
    /// lock, so that who subscribes later is not handed what has come before.
    fn take_arrived(&self) -> Vec<(u64, Arc<Subscriber>)> {
        let bits = ARRIVED.swap(0, Ordering::AcqRel);
        self.subscribers
            .iter()
            .filter(|(mask, _)| mask & bits != 0)
            .filter_map(|(mask, subscriber)| Some((mask & bits, subscriber.upgrade()?)))
            .collect()
    }

    /// Counts a subscriber of `signal`; the first one installs the handler.
    fn handle(&mut self, signal: Signal) -> io::Result<()> {
        if let Some(handled) = self.handled.iter_mut().find(|h| h.signal == signal) {
            handled.subscribers += 1;
            return Ok(());
        }
        let before = sys::signal_action(signal.as_raw())?;
        // SAFETY: `on_signal` makes async-signal-safe calls alone, and touches nothing but atomics.
        unsafe { sys::set_action(signal.as_raw(), &SignalAction::restarting(on_signal))? };
        self.handled.push(Handled {
            signal,
            subscribers: 1,
            before,
        });
        Ok(())
    }

    /// `mask`: what it is counted for.
    fn unsubscribe(&mut self, mask: u64, subscriber: &Arc<Subscriber>) {
        self.subscribers
            .retain(|(_, other)| other.as_ptr() != Arc::as_ptr(subscriber));
        self.handled.retain_mut(|handled| {
            if handled.signal.bit() & mask != 0 {
                handled.subscribers -= 1;
            }
            if handled.subscribers == 0 {
                // SAFETY: it was in force before, so whoever has installed it vouches for it.
                let _ = unsafe { sys::set_action(handled.signal.as_raw(), &handled.before) };
            }
            handled.subscribers > 0
        });
        let _ = expect_more(false);
    }
}

/// Hands out what the handler has noted.
struct Arrivals;

impl Ward for Arrivals {
    fn fd(&self) -> BorrowedFd<'_> {
        EVENTFD.get().expect("made before this").as_fd()
    }

    fn tend(&mut self) -> bool {
        // The counter is emptied, so that it never fills; each write to it is an event, whether it was empty or not.
        let _ = sys::read(self.fd(), &mut [0; 8]);
        let arrived = desk().take_arrived();
        deliver_all(arrived);
        true
    }
}

fn deliver_all(arrived: Vec<(u64, Arc<Subscriber>)>) {
    for (bits, subscriber) in arrived {
        deliver(&subscriber, bits);
    }
}

fn deliver(subscriber: &Subscriber, bits: u64) {
    subscriber.lock().bits |= bits;
    look_again(subscriber, |state| &mut state.waiters);
}
