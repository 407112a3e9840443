//! What an operation becomes when it is performed: a tree whose leaves can be tried, published and retracted by number.
//!
//! Leaves are numbered from left to right, nested choices spliced, so that a choice of choices is one flat choice. The trait is
//! what combinators implement; only [`super::perform`] calls it.

use super::cell::{Attempt, Me};
use super::graph::Graph;
use crate::prim::plain;
use crate::sched::{self, WaitKind};

/// A forced operation: guards have run, nacks exist, and the whole stays in place until the perform is over.
///
/// Methods take `&self` while nodes may be linked: other threads reach into the nodes meanwhile.
pub trait Branches {
    /// What a commit of any leaf yields.
    type Output;

    /// How many leaves there are.
    fn leaves(&self) -> usize;

    /// Offers each leaf that looks ready to `picker`, and tells it to go past every leaf. Locks nothing.
    fn pick(&self, picker: &mut Picker);

    /// Tries to commit one leaf without publishing it.
    fn attempt(&self, leaf: usize, me: &mut Me<'_>) -> Attempt;

    /// Tries to commit one leaf and publishes it if nobody is there ([`Attempt::Wait`]).
    fn publish(&self, leaf: usize, me: &mut Me<'_>) -> Attempt;

    /// Takes a leaf back, so that nobody decides it from now on. Nothing happens if it is not published, or decided already.
    fn retract(&self, leaf: usize);

    /// Settles nacks and abort actions once the outcome is known; `None`: no leaf of this subtree was chosen.
    /// The subtree of the winner is settled before any loser is told, so that a panic in an abort action cannot nack the winner.
    fn abandon(&mut self, winner: Option<usize>);

    /// Takes the value of the committed leaf and applies its wraps. Called once, after everything else was retracted and settled.
    fn finish(&mut self, leaf: usize) -> Self::Output;

    /// What kind of wait this is, for placement.
    fn kind(&self) -> WaitKind;

    /// The forced operation as a graph, for reports.
    fn graph(&self) -> Graph;
}

/// Chooses one ready leaf, each with equal probability, in one pass (reservoir sampling).
#[derive(Debug, Default)]
pub struct Picker {
    next: usize,
    ready: usize,
    chosen: usize,
}

impl Picker {
    pub(crate) fn chosen(&self) -> Option<usize> {
        (self.ready > 0).then_some(self.chosen)
    }

    /// Goes past one leaf, offering it if it is `ready`.
    #[inline]
    pub(crate) fn leaf(&mut self, ready: bool) {
        if ready {
            self.offer(self.next, 1);
        }
        self.next += 1;
    }

    /// Lets `group` pick among its own leaves and offers what it has chosen, with the weight of all its ready leaves.
    ///
    /// A group that finds a ready branch skips the rest of its own leaves, so it says how many there are.
    pub(crate) fn group(&mut self, leaves: usize, group: impl FnOnce(&mut Picker)) {
        let mut inner = Picker {
            next: self.next,
            ..Picker::default()
        };
        group(&mut inner);
        if let Some(chosen) = inner.chosen() {
            self.offer(chosen, inner.ready);
        }
        self.next += leaves;
    }

    pub(crate) fn found(&self) -> bool {
        self.ready > 0
    }

    fn offer(&mut self, leaf: usize, weight: usize) {
        self.ready += weight;
        if self.ready == weight || random_below(self.ready) < weight {
            self.chosen = leaf;
        }
    }
}

/// Uniform in `0..n`: from the runtime's seeded generator on a fiber, from a shared sequence on a plain thread.
#[cold]
fn random_below(n: usize) -> usize {
    let random = sched::here().map_or_else(thread_random, sched::Here::random);
    // Multiply and shift instead of a remainder (Lemire 2019); the bias is below n / 2^64.
    ((u128::from(random) * n as u128) >> 64) as usize
}

/// SplitMix64 (Steele, Lea and Flood 2014) over one process-wide counter.
fn thread_random() -> u64 {
    static COUNTER: plain::AtomicU64 = plain::AtomicU64::new(0x9E37_79B9_7F4A_7C15);
    let mut z = COUNTER.fetch_add(0x9E37_79B9_7F4A_7C15, plain::Ordering::Relaxed);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
