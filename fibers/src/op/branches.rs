//! What an operation becomes when it is performed: a tree whose leaves can be tried, published and retracted by number.
//!
//! Leaves are numbered from left to right, nested choices spliced, so that a choice of choices is one flat choice. The trait is
//! what combinators implement; only [`super::perform`] calls it.

use super::cell::{Attempt, Me};
use super::graph::Graph;
use crate::prim;
use crate::sched::{self, Here, WaitKind};

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

    /// As `retract`, for the leaf that somebody else has committed: where that party has taken it out of the source, there is
    /// nothing to do.
    #[inline]
    fn leave(&self, leaf: usize) {
        self.retract(leaf);
    }

    /// Passes on what the leaves that have lost owe to others who wait: before [`abandon`](Self::abandon), in which code of the user
    /// may take its time. Called only if the perform has been told to look again, and with the same `winner`.
    #[inline]
    fn concede(&mut self, _winner: Option<usize>) {}

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
#[derive(Debug)]
pub struct Picker {
    here: Option<Here>,
    next: usize,
    ready: usize,
    chosen: usize,
    /// What the draws so far have left of a random number; 0: nothing.
    random: u64,
}

impl Picker {
    /// One that starts at leaf 0. `here` saves a look for the current worker, if the caller knows it.
    #[inline]
    pub(crate) fn new(here: Option<Here>) -> Self {
        Picker {
            here,
            next: 0,
            ready: 0,
            chosen: 0,
            random: 0,
        }
    }

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
            ready: 0,
            chosen: 0,
            ..*self
        };
        group(&mut inner);
        self.random = inner.random;
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
        if self.ready == weight || self.below(self.ready) < weight {
            self.chosen = leaf;
        }
    }

    /// Uniform in `0..n`: multiply and shift instead of a remainder (Lemire 2019).
    ///
    /// The low half of the product is as random as the number was, less the bits that the result has taken. All draws up to
    /// n = 8 take less than 16 bits, so one number serves a choice of that many ready leaves; the bias is below 2^-48.
    fn below(&mut self, n: usize) -> usize {
        if self.random == 0 || n > 8 {
            self.random = random(self.here);
        }
        let product = u128::from(self.random) * n as u128;
        self.random = product as u64;
        (product >> 64) as usize
    }
}

/// From the runtime's seeded generator on a fiber, from a shared sequence on a plain thread.
#[cold]
fn random(here: Option<Here>) -> u64 {
    here.or_else(sched::here).map_or_else(prim::random, Here::random)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// Each of `n` ready leaves is chosen equally often, whether one random number serves all draws or not.
    #[test]
    fn fair_over_ready_leaves() {
        let rounds = if cfg!(miri) { 100 } else { 20_000 };
        for n in 1..=12 {
            let mut chosen = vec![0_usize; n];
            for _ in 0..rounds * n {
                let mut picker = Picker::new(None);
                (0..2 * n).for_each(|leaf| picker.leaf(leaf % 2 == 1));
                chosen[picker.chosen().unwrap() / 2] += 1;
            }
            // Six standard deviations of a binomial with mean `rounds`.
            let tolerance = 6.0 * f64::from(rounds as u32).sqrt();
            for times in chosen {
                assert!(
                    (times as f64 - rounds as f64).abs() <= tolerance,
                    "{times} of {rounds} for one of {n}"
                );
            }
        }
    }

    /// A group counts with the weight of all its ready leaves, and its own choice among them is fair.
    #[test]
    fn groups_weigh_as_much_as_their_ready_leaves() {
        let rounds = if cfg!(miri) { 100 } else { 20_000 };
        let mut chosen = [0_usize; 4];
        for _ in 0..4 * rounds {
            let mut picker = Picker::new(None);
            picker.leaf(true);
            picker.group(3, |group| (0..3).for_each(|_| group.leaf(true)));
            chosen[picker.chosen().unwrap()] += 1;
        }
        let tolerance = 6.0 * f64::from(rounds as u32).sqrt();
        assert!(
            chosen.iter().all(|times| (*times as f64 - rounds as f64).abs() <= tolerance),
            "{chosen:?}"
        );
    }
}
