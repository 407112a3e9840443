//! Whole graphs of operations under load: conservation, one winner each, quiet at the end (cases 66, 68 and 69).

use crate::under_stress;
use fibers::op::{BoxOp, Nack, biased, choice, guard, never, with_nack};
use fibers::{Op, Receiver, Sender, channel, time};
use fibers_tests::{Counter, Drops, On, Rng, rounds};
use std::sync::{Arc, Mutex};
use std::time::Duration;

type Value = fibers_tests::Counted<u64>;

/// What one perform of a random operation did.
#[derive(Debug)]
enum Deed {
    Sent,
    Received(Value),
    Nothing,
}

/// The channels of a graph, and what its performers count.
#[derive(Clone)]
struct World {
    channels: Arc<Vec<(Sender<Value>, Receiver<Value>)>>,
    drops: Drops,
    /// Every leaf that was committed says so in its wrap.
    commits: Counter,
    nacks: Counter,
    fired: Counter,
}

impl World {
    fn new() -> Self {
        let capacities = [0, 0, 1, 3];
        World {
            channels: Arc::new(capacities.map(channel).into()),
            drops: Drops::default(),
            commits: Counter::default(),
            nacks: Counter::default(),
            fired: Counter::default(),
        }
    }

    /// A leaf that sends, receives or gives up.
    fn leaf<'a>(&'a self, rng: &mut Rng) -> BoxOp<'a, Deed> {
        let (tx, rx) = &self.channels[rng.below(self.channels.len() as u64) as usize];
        let commit = move |deed| (self.commits.add(), deed).1;
        match rng.below(8) {
            0..3 => {
                let value = self.drops.make(rng.next());
                tx.send_op(value)
                    .wrap(move |sent| (sent.unwrap(), commit(Deed::Sent)).1)
                    .boxed()
            }
            3..6 => rx.recv_op().wrap(move |v| commit(Deed::Received(v.unwrap()))).boxed(),
            6 => time::sleep_op(Duration::from_micros(rng.below(200)))
                .wrap(move |()| commit(Deed::Nothing))
                .boxed(),
            _ => never().boxed(),
        }
    }

    /// A tree of operations, with its nacks left in `nacks`.
    fn tree<'a>(&'a self, depth: u32, rng: &mut Rng, nacks: &'a Mutex<Vec<Nack>>) -> BoxOp<'a, Deed> {
        match rng.below(5) {
            0 => self.leaf(rng),
            _ if depth == 0 => self.leaf(rng),
            1 => choice((0..3).map(|_| self.tree(depth - 1, rng, nacks)).collect::<Vec<_>>()).boxed(),
            _ => self.decorated(depth, rng, nacks),
        }
    }

    fn decorated<'a>(&'a self, depth: u32, rng: &mut Rng, nacks: &'a Mutex<Vec<Nack>>) -> BoxOp<'a, Deed> {
        let mut under = || self.tree(depth - 1, rng, nacks);
        let (a, b) = (under(), under());
        match rng.below(6) {
            0 => biased((a, b)).boxed(),
            1 => choice([a, b]).wrap(|deed| deed).label("wrapped").boxed(),
            2 => guard(move || a.or(b)).boxed(),
            3 => {
                let fired = &self.fired;
                a.on_abort(move || fired.add()).or(b.on_abort(move || fired.add())).boxed()
            }
            4 => {
                let commits = &self.commits;
                let patience = Duration::from_micros(rng.below(100));
                let deed = move |done: Result<_, _>| done.unwrap_or_else(|_| (commits.add(), Deed::Nothing).1);
                a.or(b).timeout(patience).wrap(deed).boxed()
            }
            _ => with_nack(move |nack| {
                self.nacks.add();
                nacks.lock().unwrap().push(nack);
                a.or(b)
            })
            .boxed(),
        }
    }
}

/// Performs random trees; returns how many values it has sent and received.
fn play(world: World, mut rng: Rng, n: u64) -> (u64, u64) {
    let (mut sent, mut received) = (0, 0);
    for _ in 0..n {
        let nacks = Mutex::new(vec![]);
        let commits = world.commits.clone();
        let tree = world.tree(1 + rng.below(3) as u32, &mut rng, &nacks);
        // Something else always ends the wait: nobody may stay behind without a partner.
        let end = time::sleep_op(Duration::from_micros(rng.below(300))).wrap(move |()| (commits.add(), Deed::Nothing).1);
        match choice((tree, end)).perform() {
            Deed::Sent => sent += 1,
            Deed::Received(value) => (received += 1, drop(value)).1,
            Deed::Nothing => {}
        }
        // A nack that has not fired by now never will: its subtree was chosen.
        let kept = nacks
            .into_inner()
            .unwrap()
            .into_iter()
            .filter(|nack| !nack.is_fired())
            .count();
        assert!(kept <= 3, "{kept} nested subtrees were chosen");
    }
    (sent, received)
}

#[test]
fn c66_c69_random_graphs_conserve_values_and_decide_once() {
    under_stress(|on: On| {
        let n = rounds(400, 100_000);
        let world = World::new();
        let players: Vec<_> = (0..6)
            .map(|i| {
                let (world, rng) = (world.clone(), Rng::new(6600 + i));
                on.spawn(move || play(world, rng, n))
            })
            .collect();
        let (mut sent, mut received) = (0, 0);
        for player in players {
            let (s, r) = player.join();
            (sent, received) = (sent + s, received + r);
        }
        // Decisions = performs, one winner each.
        assert_eq!(world.commits.get(), 6 * n);
        // Quiet: nobody waits anywhere, and what was sent and not received is buffered.
        let buffered: usize = world.channels.iter().map(|(_, rx)| rx.len()).sum();
        assert!(
            world
                .channels
                .iter()
                .all(|(tx, _)| tx.waiting_senders() + tx.waiting_receivers() == 0)
        );
        assert_eq!(sent, received + buffered as u64);
        assert_eq!(world.drops.live(), buffered as isize);
        let World { channels, drops, .. } = world;
        drop(channels);
        assert_eq!(drops.live(), 0);
    });
}

#[test]
fn c66_every_value_arrives_once() {
    // Numbered values through a mesh of selects.
    under_stress(|on| {
        let n = rounds(1_500, 300_000);
        let ends: Vec<_> = [0, 1, 0, 2].map(channel::<u64>).into();
        let (tx, rx): (Vec<_>, Vec<_>) = ends.into_iter().unzip();
        let senders: Vec<_> = (0..3)
            .map(|id| {
                let (tx, mut rng) = (tx.clone(), Rng::new(id));
                on.spawn(move || {
                    for i in 0..n {
                        let first = rng.below(4) as usize;
                        let order = (0..4).map(|k| tx[(first + k) % 4].send_op(id << 32 | i));
                        choice(order).perform().unwrap();
                    }
                })
            })
            .collect();
        drop(tx);
        let receivers: Vec<_> = (0..3)
            .map(|id| {
                let (rx, mut rng) = (rx.clone(), Rng::new(10 + id));
                on.spawn(move || {
                    let (mut got, mut open) = (vec![], [true; 4]);
                    while open != [false; 4] {
                        let first = rng.below(4) as usize;
                        let arm = |i: usize| open[i].then(|| rx[i].recv_op().wrap(move |v| (i, v)));
                        match choice((0..4).map(|k| arm((first + k) % 4))).perform() {
                            (_, Ok(v)) => got.push(v),
                            (i, Err(_)) => open[i] = false,
                        }
                    }
                    got
                })
            })
            .collect();
        senders.into_iter().for_each(|s| s.join());
        let mut all: Vec<u64> = receivers.into_iter().flat_map(|r| r.join()).collect();
        all.sort_unstable();
        let expected: Vec<u64> = (0..3).flat_map(|id| (0..n).map(move |i| id << 32 | i)).collect();
        assert_eq!(all, expected);
    });
}

#[test]
fn c68_a_ring_with_random_aborts() {
    under_stress(|on| {
        // Threads are dear: a small ring of them.
        let size = match on {
            On::Threads => rounds(60, 200),
            On::Fibers(_) => rounds(2_000, 10_000),
        } as usize;
        let laps = 3;
        // About 20,000 aborts a second in all: with more of them a slow machine does nothing else, and the token stands still.
        let longest = 50_000.max(100 * size as u64);
        let ends: Vec<_> = (0..size).map(|_| channel::<u64>(0)).collect();
        let (tx, rx): (Vec<_>, Vec<_>) = ends.into_iter().unzip();
        let aborts = Counter::default();
        // The main performer is the node at 0.
        let nodes: Vec<_> = (1..size)
            .map(|i| {
                let (from, to) = (rx[i].clone(), tx[(i + 1) % size].clone());
                let (aborts, mut rng) = (aborts.clone(), Rng::new(i as u64));
                on.spawn(move || {
                    // Forwards the token, giving up now and then in between.
                    loop {
                        let token = loop {
                            let patience = Duration::from_micros(1_000 + rng.below(longest));
                            match from.recv_op().on_abort(|| aborts.add()).timeout(patience).perform() {
                                Ok(token) => break token,
                                Err(_) => continue,
                            }
                        };
                        let Ok(token) = token else { return };
                        let mut slot = Some(token + 1);
                        while to
                            .send_slot_op(&mut slot)
                            .timeout(Duration::from_micros(rng.below(50)))
                            .perform()
                            .is_err()
                        {}
                        if slot.is_some() {
                            return;
                        }
                    }
                })
            })
            .collect();
        for lap in 0..laps {
            tx[1].send(lap * size as u64).unwrap();
            assert_eq!(rx[0].recv(), Ok((lap + 1) * size as u64 - 1));
        }
        tx.iter().for_each(|tx| tx.close());
        nodes.into_iter().for_each(|node| node.join());
        assert!(tx.iter().all(|tx| tx.waiting_receivers() + tx.waiting_senders() == 0));
    });
}
