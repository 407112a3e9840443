//! Broadcast and Watch against the plainest model there is: one thread, one list of all that was sent.

use fibers::Op;
use fibers::sync::BroadcastRecvError::{Closed, Lagged};
use fibers::sync::{Broadcast, Lag, Subscriber, Watch, WatchClosed, Watcher};
use proptest::prelude::*;

#[derive(Clone, Copy, Debug)]
enum Step {
    Send,
    Subscribe,
    Follow(usize),
    Leave(usize),
    Receive(usize),
    Close,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => Just(Step::Send),
        2 => Just(Step::Subscribe),
        1 => any::<usize>().prop_map(Step::Follow),
        1 => any::<usize>().prop_map(Step::Leave),
        8 => any::<usize>().prop_map(Step::Receive),
    ];
    let end = prop_oneof![2 => Just(None), 1 => Just(Some(Step::Close))];
    (
        prop::collection::vec(step, 0..80),
        end,
        prop::collection::vec(any::<usize>().prop_map(Step::Receive), 0..20),
    )
        .prop_map(|(steps, end, rest)| steps.into_iter().chain(end).chain(rest).collect())
}

fn lag() -> impl Strategy<Value = Lag> {
    prop_oneof![
        Just(Lag::Unbounded),
        (1..6_usize).prop_map(Lag::DropOldest),
        (1..6_usize).prop_map(Lag::Block),
    ]
}

fn cases() -> ProptestConfig {
    ProptestConfig {
        cases: if cfg!(miri) { 8 } else { 300 },
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// All that was sent, and where each subscriber is in it. What lies before `kept` has been dropped for lack of room.
#[derive(Debug, Default)]
struct Model {
    sent: usize,
    kept: usize,
    closed: bool,
    cursors: Vec<usize>,
}

impl Model {
    fn len(&self) -> usize {
        let slowest = self.cursors.iter().copied().min().unwrap_or(self.sent);
        self.sent - slowest.max(self.kept)
    }

    /// What a send that does not wait yields.
    fn send(&mut self, lag: Lag) -> Option<Result<(), usize>> {
        let value = self.sent;
        match lag {
            _ if self.closed => return Some(Err(value)),
            Lag::Block(n) if self.len() == n => return None,
            Lag::DropOldest(n) if self.len() == n => self.kept = self.sent - n + 1,
            _ => {}
        }
        self.sent += 1;
        Some(Ok(()))
    }

    fn receive(&mut self, i: usize) -> Option<Result<usize, fibers::sync::BroadcastRecvError>> {
        let cursor = &mut self.cursors[i];
        if *cursor < self.kept {
            let missed = self.kept - *cursor;
            *cursor = self.kept;
            return Some(Err(Lagged(missed as u64)));
        }
        if *cursor == self.sent {
            return self.closed.then_some(Err(Closed));
        }
        *cursor += 1;
        Some(Ok(*cursor - 1))
    }
}

/// Adds one, if that is to be kept.
fn increased(watch: &Watch<usize>, keep: bool) -> bool {
    watch.send_if_modified(|value| {
        *value += 1;
        keep
    })
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn broadcast(lag in lag(), steps in steps()) {
        let broadcast = Broadcast::new(lag);
        let mut subscribers: Vec<Subscriber<usize>> = Vec::new();
        let mut model = Model::default();
        for step in steps {
            let pick = |i: usize| i % subscribers.len();
            match step {
                Step::Send => {
                    let sent = broadcast.send_op(model.sent).try_perform();
                    prop_assert_eq!(sent.map(|sent| sent.map_err(|e| e.into_inner())), model.send(lag));
                }
                Step::Subscribe => {
                    model.cursors.push(model.sent);
                    subscribers.push(broadcast.subscribe());
                }
                Step::Close => {
                    model.closed = true;
                    broadcast.close();
                }
                _ if subscribers.is_empty() => {}
                Step::Follow(i) => {
                    model.cursors.push(model.cursors[pick(i)]);
                    subscribers.push(subscribers[pick(i)].clone());
                }
                Step::Leave(i) => {
                    let i = pick(i);
                    model.cursors.swap_remove(i);
                    drop(subscribers.swap_remove(i));
                }
                Step::Receive(i) => {
                    let i = pick(i);
                    prop_assert_eq!(subscribers[i].try_recv(), model.receive(i));
                }
            }
            prop_assert_eq!(broadcast.len(), model.len());
        }
    }

    /// The versions of a watch, counted by hand.
    #[test]
    fn watch(steps in steps()) {
        let mut watch = Some(Watch::new(0));
        let mut watchers: Vec<Watcher<usize>> = vec![watch.as_ref().unwrap().subscribe()];
        let (mut value, mut seen) = (0, vec![0]);
        for step in steps {
            let pick = |i: usize| i % watchers.len();
            match step {
                Step::Send => {
                    value += 1;
                    let watch = watch.as_ref().unwrap();
                    match value % 3 {
                        0 => watch.set(value),
                        1 => watch.send_modify(|v| *v += 1),
                        _ => assert!(increased(watch, true)),
                    }
                    prop_assert!(!increased(watch, false));
                }
                Step::Subscribe => {
                    seen.push(value);
                    watchers.push(watch.as_ref().unwrap().subscribe());
                }
                Step::Close => watch = None,
                Step::Follow(i) => {
                    seen.push(seen[pick(i)]);
                    watchers.push(watchers[pick(i)].clone());
                }
                Step::Leave(_) if watchers.len() == 1 => {}
                Step::Leave(i) => {
                    let i = pick(i);
                    seen.swap_remove(i);
                    drop(watchers.swap_remove(i));
                }
                Step::Receive(i) => {
                    let i = pick(i);
                    prop_assert_eq!(watchers[i].has_changed(), seen[i] < value);
                    let expected = match seen[i] < value {
                        true => Some(Ok(value)),
                        false => watch.is_none().then_some(Err(WatchClosed)),
                    };
                    seen[i] = value;
                    let changed = watchers[i].changed_op().try_perform();
                    prop_assert_eq!(changed.map(|changed| changed.map(|v| *v)), expected);
                }
            }
        }
    }
}
