//! Faults that belong to operations: panics anywhere, meeting oneself, lost wakes, piles of losers, drops that race (10, 18 to
//! 20, 23 to 25). The cases for timers (22, 27, 29, 30) stand in `time.rs`, those that need a runtime in `runtime.rs`.

use crate::{everywhere, under_stress};
use fibers::op::{BoxOp, Completer, Nack, always, base, biased, choice, guard, never, with_nack};
use fibers::{Op, Receiver, Sender, channel, time};
use fibers_tests::{Drops, On, Rng, panics_with, quiet_panic, rounds, seed};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::panic::{self, AssertUnwindSafe};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(3600);

/// A random operation. `bool`: the function of this node panics.
#[derive(Clone, Debug)]
enum Tree {
    Leaf(Kind),
    Choice(Vec<Tree>, bool),
    Wrap(Box<Tree>, bool),
    Guard(Box<Tree>, bool),
    Nack(Box<Tree>, bool),
    OnAbort(Box<Tree>),
    Timeout(Box<Tree>),
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Always,
    Never,
    ReceiveReady,
    ReceiveBlocked,
    SendReady,
    SendBlocked,
    Sleep,
    BaseReady,
    BaseSilent,
    BaseCompletes,
    BasePanicsInTry,
    BasePanicsInPublish,
}

fn kind() -> impl Strategy<Value = Kind> {
    use Kind::*;
    prop_oneof![
        1 => Just(Always),
        3 => Just(Never),
        1 => Just(ReceiveReady),
        4 => Just(ReceiveBlocked),
        1 => Just(SendReady),
        4 => Just(SendBlocked),
        2 => Just(Sleep),
        1 => Just(BaseReady),
        2 => Just(BaseSilent),
        2 => Just(BaseCompletes),
        1 => Just(BasePanicsInTry),
        2 => Just(BasePanicsInPublish),
    ]
}

fn tree() -> impl Strategy<Value = Tree> {
    kind().prop_map(Tree::Leaf).prop_recursive(5, 30, 4, |inner| {
        let rarely = || prop::bool::weighted(0.08);
        let one = || inner.clone().prop_map(Box::new);
        prop_oneof![
            4 => (prop::collection::vec(inner.clone(), 0..4), any::<bool>()).prop_map(|(branches, biased)| Tree::Choice(branches, biased)),
            2 => (one(), rarely()).prop_map(|(op, panics)| Tree::Wrap(op, panics)),
            2 => (one(), rarely()).prop_map(|(op, panics)| Tree::Guard(op, panics)),
            4 => (one(), rarely()).prop_map(|(op, panics)| Tree::Nack(op, panics)),
            4 => one().prop_map(Tree::OnAbort),
            1 => one().prop_map(Tree::Timeout),
        ]
    })
}

/// What happened during one perform.
#[derive(Default)]
struct Log {
    /// The leaf whose value came out.
    committed: Cell<Option<usize>>,
    /// Each nack that was made, with the leaves beneath it.
    nacks: RefCell<Vec<(Nack, Range<usize>)>>,
    aborts: RefCell<Vec<Abort>>,
    /// Which abort action panics.
    faulty: Option<usize>,
    panicked_in_abort: Cell<bool>,
}

/// An abort action, and the leaves beneath it.
struct Abort {
    forced: bool,
    ran: u32,
    leaves: Range<usize>,
}

/// The channels of one perform. `ready` has a value and room, `blocked` neither.
struct World {
    ready: (Sender<u32>, Receiver<u32>),
    blocked: (Sender<u32>, Receiver<u32>),
}

struct Builder<'a> {
    world: &'a World,
    log: &'a Log,
    leaves: usize,
}

impl<'a> Builder<'a> {
    fn build(&mut self, tree: &'a Tree) -> BoxOp<'a, ()> {
        let (log, first) = (self.log, self.leaves);
        match tree {
            Tree::Leaf(kind) => {
                self.leaves += 1;
                self.leaf(*kind).wrap(move |()| log.committed.set(Some(first))).boxed()
            }
            Tree::Choice(branches, order) => {
                let branches: Vec<_> = branches.iter().map(|branch| self.build(branch)).collect();
                match order {
                    true => biased(branches).boxed(),
                    false => choice(branches).boxed(),
                }
            }
            Tree::Wrap(op, panics) => self
                .build(op)
                .wrap(|()| {
                    if *panics {
                        quiet_panic("wrap")
                    }
                })
                .boxed(),
            Tree::Guard(op, panics) => {
                let op = self.build(op);
                guard(move || if *panics { quiet_panic("force") } else { op }).boxed()
            }
            Tree::Nack(op, panics) => {
                let op = self.build(op);
                let leaves = first..self.leaves;
                with_nack(move |nack| {
                    log.nacks.borrow_mut().push((nack, leaves));
                    if *panics { quiet_panic("force") } else { op }
                })
                .boxed()
            }
            Tree::OnAbort(op) => {
                let op = self.build(op);
                let mut aborts = log.aborts.borrow_mut();
                let (index, leaves) = (aborts.len(), first..self.leaves);
                aborts.push(Abort {
                    forced: false,
                    ran: 0,
                    leaves,
                });
                let action = move || {
                    log.aborts.borrow_mut()[index].ran += 1;
                    if log.faulty == Some(index) {
                        log.panicked_in_abort.set(true);
                        quiet_panic("abort");
                    }
                };
                let noticed = guard(move || {
                    log.aborts.borrow_mut()[index].forced = true;
                    op.on_abort(action)
                });
                noticed.boxed()
            }
            Tree::Timeout(op) => self.build(op).timeout(LONG).wrap(|done| done.unwrap()).boxed(),
        }
    }

    fn leaf(&self, kind: Kind) -> BoxOp<'a, ()> {
        let World { ready, blocked } = self.world;
        match kind {
            Kind::Always => always(()).boxed(),
            Kind::Never => never().boxed(),
            Kind::ReceiveReady => ready.1.recv_op().wrap(drop).boxed(),
            Kind::ReceiveBlocked => blocked.1.recv_op().wrap(drop).boxed(),
            Kind::SendReady => ready.0.send_op(1).wrap(drop).boxed(),
            Kind::SendBlocked => blocked.0.send_op(1).wrap(drop).boxed(),
            Kind::Sleep => time::sleep_op(Duration::from_micros(1)).boxed(),
            Kind::BaseReady => base(|| Some(()), |_| (), || ()).boxed(),
            Kind::BaseSilent => base(|| None, |_| (), || ()).boxed(),
            Kind::BaseCompletes => base(|| None, |c: Completer<()>| c.complete(()).unwrap_or(()), || ()).boxed(),
            Kind::BasePanicsInTry => base(|| quiet_panic("base"), |_| (), || ()).boxed(),
            Kind::BasePanicsInPublish => base(|| None, |_| quiet_panic("base"), || ()).boxed(),
        }
    }
}

impl Log {
    /// Whether everybody was told what they should have been told, had `winner` been committed.
    fn agrees(&self, winner: Option<usize>) -> bool {
        let chosen = |leaves: &Range<usize>| winner.is_some_and(|leaf| leaves.contains(&leaf));
        let nacks = self
            .nacks
            .borrow()
            .iter()
            .all(|(nack, leaves)| nack.is_fired() != chosen(leaves));
        let told = |abort: &Abort| abort.ran == u32::from(abort.forced && !chosen(&abort.leaves));
        nacks && self.aborts.borrow().iter().all(told)
    }
}

fn check(tree: &Tree, faulty: Option<usize>, tries: bool) -> Result<(), TestCaseError> {
    let world = World {
        ready: channel(2),
        blocked: channel(0),
    };
    world.ready.0.send(0).unwrap();
    let log = Log {
        faulty,
        ..Log::default()
    };
    let mut builder = Builder {
        world: &world,
        log: &log,
        leaves: 0,
    };
    let op = builder.build(tree);
    let leaves = builder.leaves + 1;
    let end = time::sleep_op(Duration::from_micros(30)).wrap(|()| log.committed.set(Some(leaves - 1)));
    let whole = choice((op, end));
    let result = panic::catch_unwind(AssertUnwindSafe(|| match tries {
        true => whole.try_perform().is_some(),
        false => (whole.perform(), true).1,
    }));
    match (&result, log.committed.get()) {
        (Ok(done), committed) => {
            prop_assert_eq!(*done, committed.is_some());
            prop_assert!(log.agrees(committed));
        }
        // A wrap has panicked: the commit stands.
        (Err(_), Some(leaf)) => prop_assert!(log.agrees(Some(leaf))),
        // An abort action has: some leaf was committed, or none in a failed try or after another panic.
        (Err(_), None) if log.panicked_in_abort.get() => {
            prop_assert!(log.agrees(None) || (0..leaves).any(|leaf| log.agrees(Some(leaf))));
        }
        (Err(_), None) => prop_assert!(log.agrees(None)),
    }
    let World { ready, blocked } = &world;
    let left = [ready, blocked].map(|(tx, _)| (tx.waiting_senders(), tx.waiting_receivers()));
    prop_assert_eq!(left, [(0, 0); 2]);
    // The channels work as before.
    prop_assert!(blocked.0.try_send(1).is_err() && blocked.1.try_recv().is_err());
    while ready.1.try_recv().is_ok() {}
    prop_assert!(ready.0.try_send(2).is_ok());
    Ok(())
}

/// Whether a perform of this tree may panic before the abort actions run: then these must not panic as well.
fn may_panic_early(tree: &Tree) -> bool {
    match tree {
        Tree::Leaf(kind) => matches!(kind, Kind::BasePanicsInTry | Kind::BasePanicsInPublish),
        Tree::Choice(branches, _) => branches.iter().any(may_panic_early),
        Tree::Guard(op, panics) | Tree::Nack(op, panics) => *panics || may_panic_early(op),
        Tree::Wrap(op, _) | Tree::OnAbort(op) | Tree::Timeout(op) => may_panic_early(op),
    }
}

#[test]
fn f10_panics_anywhere() {
    everywhere(|_| {
        let config = Config {
            cases: rounds(1_500, 100_000) as u32,
            failure_persistence: None,
            max_shrink_iters: 5_000,
            ..Config::default()
        };
        let bytes: Vec<u8> = (0..4).flat_map(|i| Rng(seed() + i).next().to_le_bytes()).collect();
        let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
        let cases = (tree(), prop::option::weighted(0.2, 0..4usize), prop::bool::weighted(0.3));
        let result = runner.run(&cases, |(tree, faulty, tries)| {
            let faulty = faulty.filter(|_| !may_panic_early(&tree));
            check(&tree, faulty, tries)
        });
        if let Err(error) = result {
            panic!("{error}");
        }
    });
}

#[test]
fn f10_a_panicking_withdraw_leaves_nothing_linked() {
    everywhere(|on| {
        let ends: [_; 3] = std::array::from_fn(|_| channel::<u32>(0));
        let receivers = ends.each_ref().map(|(_, rx)| rx.clone());
        let performer = on.spawn(move || {
            panics_with("withdraw", || {
                let bad = base(|| None, |_: Completer<u32>| (), || quiet_panic("withdraw"));
                let receive = |i: usize| receivers[i].recv_op().wrap(|v| v.unwrap());
                choice((receive(0), bad, receive(1), receive(2))).perform();
            });
        });
        on.eventually(|| ends.iter().all(|(tx, _)| tx.waiting_receivers() == 1));
        ends[0].0.send(1).unwrap();
        performer.join();
        assert!(
            ends.iter()
                .all(|(tx, _)| tx.waiting_receivers() == 0 && tx.try_send(1).is_err())
        );
    });
}

#[test]
fn f10_the_abort_action_of_a_chosen_subtree_does_not_run() {
    everywhere(|_| {
        let ran = Cell::new(false);
        panics_with("inner", || {
            let op = choice((always(1), never().on_abort(|| quiet_panic("inner")))).on_abort(|| ran.set(true));
            op.perform();
        });
        assert!(!ran.get());
    });
}

#[test]
fn f18_both_ends_in_one_perform() {
    everywhere(|on| {
        // A crowd that offers both sides of one channel in one choice: every match has two parties.
        let (tx, rx) = channel::<usize>(0);
        let crowd: Vec<_> = (0..10)
            .map(|i| {
                let (tx, rx) = (tx.clone(), rx.clone());
                on.spawn(move || {
                    for _ in 0..rounds(100, 50_000) {
                        let send = tx.send_op(i).wrap(|sent| sent.unwrap());
                        let receive = rx.recv_op().wrap(|v| assert_ne!(v.unwrap(), i));
                        choice((send, receive)).timeout(Duration::from_micros(500)).perform().ok();
                    }
                })
            })
            .collect();
        crowd.into_iter().for_each(|p| p.join());
        assert_eq!((tx.waiting_senders(), tx.waiting_receivers()), (0, 0));
    });
}

#[test]
fn f19_crossed_choices_commit_once() {
    // A crowd over three channels, each performer with its own order and direction.
    under_stress(|on| {
        let n = rounds(1_500, 500_000);
        let ends: [_; 3] = std::array::from_fn(|_| channel::<u64>(0));
        let players: Vec<_> = (0..6)
            .map(|id| {
                let (txs, rxs) = (ends.each_ref().map(|e| e.0.clone()), ends.each_ref().map(|e| e.1.clone()));
                let mut rng = Rng::new(1900 + id);
                on.spawn(move || {
                    let (mut sent, mut received) = (0u64, 0u64);
                    for _ in 0..n {
                        let first = rng.below(3) as usize;
                        let (a, b, c) = (first, (first + 1) % 3, (first + 2) % 3);
                        let v = rng.below(1 << 20);
                        let op = choice((
                            txs[a].send_op(v).wrap(|s| (s.unwrap(), (v, 0)).1),
                            rxs[b].recv_op().wrap(|r| (0, r.unwrap())),
                            txs[c].send_op(v).wrap(|s| (s.unwrap(), (v, 0)).1),
                            rxs[c].recv_op().wrap(|r| (0, r.unwrap())),
                        ));
                        if let Ok((s, r)) = op.timeout(Duration::from_micros(300)).perform() {
                            (sent, received) = (sent + s, received + r);
                        }
                    }
                    (sent, received)
                })
            })
            .collect();
        let sums: Vec<_> = players.into_iter().map(|p| p.join()).collect();
        assert_eq!(sums.iter().map(|s| s.0).sum::<u64>(), sums.iter().map(|s| s.1).sum::<u64>());
        assert!(ends.iter().all(|(tx, _)| tx.waiting_senders() + tx.waiting_receivers() == 0));
    });
}

#[test]
fn f20_no_wake_is_lost() {
    under_stress(|on| {
        let n = rounds(5_000, 10_000_000);
        let ((a_tx, a_rx), (b_tx, b_rx)) = (channel::<u64>(0), channel::<u64>(0));
        let echo = on.spawn(move || {
            for v in a_rx {
                b_tx.send(v + 1).unwrap();
            }
        });
        for i in 0..n {
            a_tx.send(i).unwrap();
            assert_eq!(b_rx.recv(), Ok(i + 1));
        }
        drop(a_tx);
        echo.join();
    });
}

#[test]
fn f23_timed_out_selects_do_not_pile_up() {
    under_stress(|on| {
        let n = rounds(400, 250_000);
        let (tx, rx) = channel::<u64>(0);
        let crowd: Vec<_> = (0..4)
            .map(|_| {
                let (tx, rx) = (tx.clone(), rx.clone());
                on.spawn(move || {
                    for _ in 0..n {
                        let receive = choice((rx.recv_op(), rx.recv_op())).timeout(Duration::from_micros(20));
                        assert!(receive.perform().is_err());
                        assert!(tx.waiting_receivers() <= 2 * 4);
                    }
                })
            })
            .collect();
        crowd.into_iter().for_each(|p| p.join());
        assert_eq!(tx.waiting_receivers(), 0);
    });
}

#[test]
fn f24_drops_racing_close_and_receive() {
    under_stress(|on: On| {
        let drops = Drops::default();
        let mut rng = Rng::new(24);
        for round in 0..rounds(250, 250_000) {
            let (tx, rx) = channel(rng.below(4) as usize);
            let senders: Vec<_> = (0..2)
                .map(|_| {
                    let (tx, drops) = (tx.clone(), drops.clone());
                    on.spawn(move || (0..3).map(|i| tx.send(drops.make(i)).is_ok()).filter(|sent| *sent).count())
                })
                .collect();
            let receiver = {
                let rx = rx.clone();
                on.spawn(move || (0..4).filter(|_| rx.recv().is_ok()).count())
            };
            (0..rng.below(4)).for_each(|_| on.pause());
            // Whichever end goes first.
            match round % 3 {
                0 => drop((tx, rx)),
                1 => drop((rx, tx)),
                _ => {
                    tx.close();
                    drop(tx);
                    rx.iter().for_each(drop);
                    drop(rx);
                }
            }
            let sent: usize = senders.into_iter().map(|s| s.join()).sum();
            assert!(receiver.join() <= sent);
            assert_eq!(drops.live(), 0);
        }
    });
}

#[test]
fn f25_huge_values_in_boxes_and_options() {
    everywhere(|on| {
        let drops = Drops::default();
        for capacity in [0, 1] {
            let (tx, rx) = channel::<Option<Box<_>>>(capacity);
            let receiver = on.spawn(move || {
                rx.iter()
                    .flatten()
                    .map(|v: Box<fibers_tests::Counted<Vec<u8>>>| v.value.len())
                    .sum::<usize>()
            });
            for size in [0, 1, 4096, 1 << 20] {
                tx.send(Some(Box::new(drops.make(vec![7; size])))).unwrap();
                tx.send(None).unwrap();
            }
            drop(tx);
            assert_eq!((receiver.join(), drops.live()), (4096 + 1 + (1 << 20), 0));
        }
    });
}
