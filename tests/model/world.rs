//! Scenarios as data: parties that perform, try, close and signal, and what must hold whenever all of them are through.

use fibers::{Cond, Op, Receiver, Sender, channel, op, time};
use loom::thread;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What a party is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    Thread,
    Fiber,
    /// A fiber whose runtime ends while it waits.
    Ending,
}
pub use Who::{Ending, Fiber, Thread};

/// One branch of an operation; channels are numbered.
#[derive(Clone, Copy, Debug)]
pub enum Arm {
    Give(usize),
    Take(usize),
    /// Waits for the cond of the scenario.
    Wait,
    /// A deadline, which may pass at any time.
    Late,
}
pub use Arm::{Give, Late, Take, Wait};

/// What a party does, one after the other.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    Perform(&'static [Arm]),
    Try(&'static [Arm]),
    Close(usize),
    Signal,
}
pub use Step::{Close, Perform, Signal, Try};

pub type Party = (Who, &'static [Step]);

/// What came of a step. Values are named `10 * party + step`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Done {
    Gave(usize, u32),
    Got(usize, u32),
    /// The channel was closed; the value came back.
    Refused(usize, u32),
    /// The channel was closed.
    End(usize),
    Signalled,
    TimeOver,
    /// The try found nothing.
    Nothing,
    /// The shutdown unwound it.
    Unwound,
    Closed,
}
pub use Done::*;

/// A value that is counted while it lives.
#[derive(Debug)]
pub struct Token(pub u32, Arc<AtomicIsize>);

impl Token {
    fn new(name: u32, alive: &Arc<AtomicIsize>) -> Self {
        alive.fetch_add(1, Relaxed);
        Token(name, alive.clone())
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        self.1.fetch_sub(1, Relaxed);
    }
}

/// What the parties share. Not counted by loom, so that the counting is not explored.
pub struct World {
    channels: Vec<(Sender<Token>, Receiver<Token>)>,
    cond: Cond,
    alive: Arc<AtomicIsize>,
}

impl World {
    fn new(capacities: &[usize]) -> Self {
        World {
            channels: capacities.iter().map(|capacity| channel(*capacity)).collect(),
            cond: Cond::new(),
            alive: Arc::default(),
        }
    }

    fn arm(&self, arm: Arm, name: u32) -> op::BoxOp<'_, Done> {
        match arm {
            Give(c) => self.channels[c]
                .0
                .send_op(Token::new(name, &self.alive))
                .wrap(move |sent| sent.map_or_else(|refused| Refused(c, refused.0.0), |()| Gave(c, name)))
                .boxed(),
            Take(c) => self.channels[c]
                .1
                .recv_op()
                .wrap(move |got| got.map_or(End(c), |token| Got(c, token.0)))
                .boxed(),
            Wait => self.cond.wait_op().wrap(|()| Signalled).boxed(),
            Late => time::sleep_op(Duration::from_millis(1)).wrap(|()| TimeOver).boxed(),
        }
    }

    fn step(&self, step: Step, name: u32) -> Done {
        let choice = |arms: &[Arm]| op::choice(arms.iter().map(|arm| self.arm(*arm, name)).collect::<Vec<_>>());
        match step {
            Perform(arms) => choice(arms).perform(),
            Try(arms) => choice(arms).try_perform().unwrap_or(Nothing),
            Close(c) => {
                self.channels[c].0.close();
                Closed
            }
            Signal => {
                self.cond.signal();
                Closed
            }
        }
    }

    fn party(&self, number: usize, (who, steps): Party) -> Vec<Done> {
        let mut done = Vec::new();
        for (i, step) in steps.iter().enumerate() {
            let run = || self.step(*step, (10 * number + i) as u32);
            done.push(match who {
                Thread => run(),
                Fiber => fibers::run(run),
                Ending => fibers::shut_down(run).unwrap_or(Unwound),
            });
        }
        done
    }

    /// What must hold in any case: nobody waits, each value was received as often as it was sent, none is lost or doubled.
    fn check(&self, done: &[Vec<Done>]) {
        for (c, (tx, rx)) in self.channels.iter().enumerate() {
            assert_eq!(
                (rx.waiting_receivers(), tx.waiting_senders()),
                (0, 0),
                "nodes left in channel {c}"
            );
            let all = || done.iter().flatten();
            let mut sent: Vec<u32> = all()
                .filter_map(|d| if let Gave(at, v) = d { (*at == c).then_some(*v) } else { None })
                .collect();
            let mut got: Vec<u32> = all()
                .filter_map(|d| if let Got(at, v) = d { (*at == c).then_some(*v) } else { None })
                .collect();
            while let Ok(token) = rx.try_recv() {
                got.push(token.0);
            }
            sent.sort_unstable();
            got.sort_unstable();
            assert_eq!(sent, got, "what was sent and received over channel {c}");
        }
        assert_eq!(self.alive.load(Relaxed), 0, "values left");
    }
}

/// Every schedule.
pub const ALL: Option<usize> = None;
/// Schedules in which threads are interrupted at most once, not counting where they wait or end.
pub const AT_MOST_1: Option<usize> = Some(1);
pub const AT_MOST_2: Option<usize> = Some(2);
pub const AT_MOST_3: Option<usize> = Some(3);

/// The second party has the value of the first.
pub fn met(done: &[Vec<Done>]) -> bool {
    matches!((done[0].as_slice(), done[1].as_slice()), ([Gave(c, v)], [Got(d, w)]) if (c, v) == (d, w))
}

/// One value was handed over.
pub fn one_pair(done: &[Vec<Done>]) -> bool {
    done.iter().flatten().filter(|done| matches!(done, Gave(..))).count() == 1
}

pub fn counts(done: &[Vec<Done>], what: Done, times: usize) -> bool {
    done.iter().flatten().filter(|done| **done == what).count() == times
}

/// Runs `scenario` under every schedule, or under those with at most `preemptions`, and says how many there were.
pub fn explore(name: &str, preemptions: Option<usize>, scenario: impl Fn() + Sync + Send + 'static) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let mut builder = loom::model::Builder::new();
    builder.max_branches = 5_000;
    builder.preemption_bound = builder.preemption_bound.or(preemptions);
    let bound = builder
        .preemption_bound
        .map_or("exhaustive".into(), |n| format!("up to {n} preemptions"));
    let start = Instant::now();
    let scenario = move || {
        counted.fetch_add(1, Relaxed);
        scenario();
    };
    match builder.log {
        true => loom::model(scenario),
        false => builder.check(scenario),
    }
    eprintln!(
        "{name}: {} schedules in {:.1?}, {bound}",
        count.load(Relaxed),
        start.elapsed()
    );
}

/// Explores a scenario made of parties over channels of these capacities. `expect` is asked about every outcome.
pub fn meet(
    name: &str,
    preemptions: Option<usize>,
    capacities: &'static [usize],
    parties: &'static [Party],
    expect: impl Fn(&[Vec<Done>]) -> bool + Sync + Send + 'static,
) {
    let outcomes = Arc::new(Mutex::new(BTreeSet::new()));
    let seen = outcomes.clone();
    explore(name, preemptions, move || {
        let world = Arc::new(World::new(capacities));
        let threads: Vec<_> = (0..parties.len())
            .map(|number| {
                let world = world.clone();
                thread::spawn(move || world.party(number, parties[number]))
            })
            .collect();
        let done: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        world.check(&done);
        assert!(expect(&done), "{done:?}");
        seen.lock().unwrap().insert(done);
    });
    eprintln!("    {} outcomes", outcomes.lock().unwrap().len());
}
