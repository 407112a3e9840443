//! The timer wheel against a sorted map, over operation sequences that shrink. The wheel is private to the library and
//! needs nothing of it, so its file is included as it is.

#[path = "../../fibers/src/timer.rs"]
mod timer;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseResult, TestError, TestRng, TestRunner};
use std::collections::BTreeMap;
use timer::{Key, NEVER, Wheel};

/// One step. Where a tick is needed it is given relative to the present, so that a shrunk sequence keeps its meaning.
#[derive(Clone, Debug)]
enum Step {
    Insert {
        ahead: i64,
    },
    InsertNever,
    /// Its delay counts from the next advance.
    InsertUnsettled {
        delay: u64,
    },
    /// Removes one of the entries inserted so far, gone or not.
    Remove {
        nth: prop::sample::Index,
    },
    Advance {
        by: u64,
    },
    /// Advances to what `next` says.
    AdvanceToNext,
    Pop {
        at_most: usize,
    },
}

/// A distance of any magnitude, often right beside a power of two, where digits carry.
fn distance(bits: u32) -> impl Strategy<Value = u64> {
    let around = (0..bits).prop_flat_map(|k| {
        let power = 1u64 << k;
        prop_oneof![Just(power - 1), Just(power), Just(power + 1), power..=power * 2 - 1]
    });
    prop_oneof![1 => 0..200u64, 3 => around]
}

fn step(bits: u32) -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => distance(bits).prop_map(|d| Step::Insert { ahead: d as i64 }),
        1 => distance(bits).prop_map(|d| Step::Insert { ahead: -(d as i64) }),
        1 => Just(Step::InsertNever),
        4 => distance(bits).prop_map(|delay| Step::InsertUnsettled { delay }),
        5 => any::<prop::sample::Index>().prop_map(|nth| Step::Remove { nth }),
        3 => distance(bits).prop_map(|by| Step::Advance { by }),
        4 => Just(Step::AdvanceToNext),
        5 => (1..10usize).prop_map(|at_most| Step::Pop { at_most }),
    ]
}

/// A start, and steps whose distances stay below a power of two that differs from run to run.
fn script() -> impl Strategy<Value = (u64, Vec<Step>)> {
    (distance(60), 4..50u32).prop_flat_map(|(start, bits)| (Just(start), prop::collection::vec(step(bits), 0..200)))
}

/// The wheel, and beside it what it promises to be: entries sorted by deadline, then by when that was set.
struct Pair {
    now: u64,
    wheel: Wheel<usize>,
    model: BTreeMap<(u64, usize), usize>,
    /// How many deadlines have been set.
    settled: usize,
    /// Delay and value of those whose deadline is not set.
    unsettled: Vec<(u64, usize)>,
    /// What was ever inserted, by value, and where the model has it.
    inserted: Vec<(Key, Option<(u64, usize)>)>,
}

impl Pair {
    fn new(now: u64) -> Self {
        Pair {
            now,
            wheel: Wheel::new(now),
            model: BTreeMap::new(),
            settled: 0,
            unsettled: Vec::new(),
            inserted: Vec::new(),
        }
    }

    fn take(&mut self, step: &Step) -> TestCaseResult {
        match *step {
            Step::Insert { ahead } => self.insert(self.now.saturating_add_signed(ahead)),
            Step::InsertNever => self.insert(NEVER),
            Step::InsertUnsettled { delay } => {
                self.unsettled.push((delay, self.inserted.len()));
                let key = self.wheel.insert_unsettled(delay, self.inserted.len());
                self.inserted.push((key, None));
            }
            Step::Remove { nth } => self.remove(nth)?,
            Step::Advance { by } => self.advance(self.now.saturating_add(by).min(NEVER - 1)),
            Step::AdvanceToNext => self.advance(self.wheel.next().unwrap_or(0).min(NEVER - 1)),
            Step::Pop { at_most } => self.pop(at_most)?,
        }
        let first = self.model.keys().next().map(|&(deadline, _)| deadline);
        if self.unsettled.is_empty() {
            prop_assert_eq!(self.wheel.next().is_some(), first.is_some());
            prop_assert!(self.wheel.next() <= first, "would sleep past {:?}", first);
        } else {
            prop_assert_eq!(self.wheel.next(), Some(self.now));
        }
        let len = self.model.len() + self.unsettled.len();
        prop_assert_eq!((self.wheel.len(), self.wheel.is_empty()), (len, len == 0));
        if let Some((value, &(key, place))) = self.inserted.iter().enumerate().next_back() {
            let there = place.filter(|place| self.model.get(place) == Some(&value));
            prop_assert_eq!(self.wheel.deadline(key), there.map(|(deadline, _)| deadline));
        }
        Ok(())
    }

    fn insert(&mut self, deadline: u64) {
        let value = self.inserted.len();
        let key = self.wheel.insert(deadline, value);
        self.inserted.push((key, None));
        self.place(value, deadline);
    }

    fn place(&mut self, value: usize, deadline: u64) {
        let place = (deadline.max(self.now), self.settled);
        self.settled += 1;
        self.model.insert(place, value);
        self.inserted[value].1 = Some(place);
    }

    fn remove(&mut self, nth: prop::sample::Index) -> TestCaseResult {
        if !self.inserted.is_empty() {
            let value = nth.index(self.inserted.len());
            let (key, place) = self.inserted[value];
            let there = match place {
                Some(place) => self.model.remove(&place),
                None => {
                    let at = self.unsettled.iter().position(|&(_, unsettled)| unsettled == value);
                    at.map(|at| self.unsettled.remove(at).1)
                }
            };
            prop_assert_eq!(self.wheel.remove(key), there);
        }
        Ok(())
    }

    fn advance(&mut self, now: u64) {
        self.wheel.settle(|delay| now.saturating_add(delay));
        for (delay, value) in std::mem::take(&mut self.unsettled) {
            self.place(value, now.saturating_add(delay));
        }
        self.now = self.now.max(now);
        self.wheel.advance(now);
    }

    /// What the wheel shows beforehand is how its due entries begin.
    fn peek(&self) -> TestCaseResult {
        let due = self.model.iter().take_while(|((deadline, _), _)| *deadline <= self.now);
        let ahead: Vec<_> = self.wheel.peek_due().copied().collect();
        prop_assert_eq!(&ahead, &due.map(|(_, value)| *value).take(ahead.len()).collect::<Vec<_>>());
        Ok(())
    }

    fn pop(&mut self, at_most: usize) -> TestCaseResult {
        self.peek()?;
        for _ in 0..at_most {
            let due = self.model.first_entry().filter(|e| e.key().0 <= self.now).map(|e| e.remove());
            prop_assert_eq!(self.wheel.pop_due(), due);
            if due.is_none() && self.unsettled.is_empty() {
                prop_assert!(
                    self.wheel.next().is_none_or(|tick| tick > self.now),
                    "a sleep that ends at once"
                );
            }
        }
        Ok(())
    }

    /// Sleeps until nothing is left: every second sleep at the latest ends with something due.
    fn finish(mut self) -> TestCaseResult {
        self.advance(self.now);
        self.pop(self.model.len() + 1)?;
        let mut sleeps = 0;
        while let Some(tick) = self.wheel.next() {
            sleeps += 1;
            prop_assert!(sleeps <= 2);
            self.advance(tick);
            let before = self.model.len();
            self.pop(before + 1)?;
            if self.model.len() < before {
                sleeps = 0;
            }
        }
        prop_assert!(self.model.is_empty());
        Ok(())
    }
}

/// The seed of this run: `FIBERS_TEST_SEED`, or the time.
fn seed() -> u64 {
    let given = std::env::var("FIBERS_TEST_SEED").ok().and_then(|s| s.parse().ok());
    let seed = given.unwrap_or_else(|| std::time::UNIX_EPOCH.elapsed().map_or(0, |d| d.as_nanos() as u64));
    println!("FIBERS_TEST_SEED={seed}");
    seed
}

#[test]
fn any_script_goes_as_in_a_sorted_map() {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed().to_le_bytes());
    // The seed repeats a failure, and a shrunk script belongs in a test of its own: no files are left behind.
    // PROPTEST_CASES asks for more scripts than the usual 256.
    let config = Config {
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let result = runner.run(&script(), |(start, steps)| {
        let mut pair = Pair::new(start);
        steps.iter().try_for_each(|step| pair.take(step))?;
        pair.finish()
    });
    if let Err(TestError::Fail(why, (start, steps))) = result {
        panic!("{why}\nstart: {start}\nsteps: {steps:#?}");
    }
    result.expect("the scripts are generated without rejection");
}
