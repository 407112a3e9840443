//! Broadcast: every subscriber sees every value that was sent after it subscribed, under each policy of lagging.

use crate::{join_all, mixed};
use fibers::op::choice;
use fibers::sync::BroadcastRecvError::{Closed, Lagged};
use fibers::sync::{Broadcast, Lag};
use fibers::{Op, SendError, channel, select};
use fibers_tests::{Counted, Drops, Task, everywhere, panics_with, rounds, under_stress};
use std::time::Duration;

/// More than a batch of wakes has room for; Miri has no time for that many.
const MANY: usize = if cfg!(miri) { 4 } else { 40 };
const POLICIES: [Lag; 3] = [Lag::Unbounded, Lag::DropOldest(8), Lag::Block(8)];

#[test]
fn late_subscribers_see_what_comes_after() {
    for lag in POLICIES {
        let broadcast = Broadcast::new(lag);
        assert_eq!(broadcast.send(0), Ok(()));
        assert!(broadcast.is_empty());
        let early = broadcast.subscribe();
        broadcast.send(1).unwrap();
        let late = broadcast.subscribe();
        let follower = early.clone();
        broadcast.send(2).unwrap();
        assert_eq!((broadcast.len(), broadcast.subscribers()), (2, 3));
        assert_eq!((early.len(), late.len(), follower.len()), (2, 1, 2));
        assert_eq!((early.recv(), early.recv(), early.try_recv()), (Ok(1), Ok(2), None));
        assert_eq!((late.recv(), late.is_empty()), (Ok(2), true));
        let latest = early.resubscribe();
        assert_eq!(latest.try_recv(), None);
        assert_eq!((follower.try_recv(), broadcast.len()), (Some(Ok(1)), 1));
        drop(follower);
        assert!(broadcast.is_empty());
        broadcast.close();
        assert_eq!(broadcast.send(3), Err(SendError(3)));
        assert!(broadcast.is_closed() && early.is_closed());
        assert_eq!((early.recv(), latest.recv()), (Err(Closed), Err(Closed)));
    }
}

#[test]
fn the_oldest_are_dropped_and_counted() {
    let drops = Drops::default();
    let broadcast = Broadcast::new(Lag::DropOldest(3));
    let (slow, fast) = (broadcast.subscribe(), broadcast.subscribe());
    for i in 0..10 {
        broadcast.send(drops.make(i)).unwrap();
        assert_eq!(fast.recv().map(|v| v.value), Ok(i));
    }
    assert_eq!((drops.live(), slow.len()), (3, 3));
    let behind = slow.clone();
    assert_eq!(slow.recv().map(|v| v.value), Err(Lagged(7)));
    assert_eq!(slow.recv().map(|v| v.value), Ok(7));
    drop(slow);
    assert_eq!(drops.live(), 3);
    drop(broadcast);
    let left: Vec<_> = std::iter::from_fn(|| Some(behind.recv().map(|v| v.value))).take(5).collect();
    assert_eq!(left, [Err(Lagged(7)), Ok(7), Ok(8), Ok(9), Err(Closed)]);
    assert_eq!(drops.live(), 0);
    assert_eq!(Lagged(7).to_string(), "the subscriber was too slow and missed 7 values");
}

/// A sender waits for the slowest, whichever way that one gets out of the way.
#[test]
fn a_full_ring_blocks() {
    everywhere(|on| {
        let broadcast = Broadcast::new(Lag::Block(2));
        let (slow, fast) = (broadcast.subscribe(), broadcast.subscribe());
        let senders: Vec<_> = (0..6)
            .map(|i| {
                let theirs = broadcast.clone();
                let sender = on.spawn(move || match i % 2 {
                    0 => theirs.send(i),
                    _ => choice((theirs.send_op(i), fibers::op::never())).perform(),
                });
                on.eventually(|| broadcast.len() + broadcast.waiting().1 == i + 1);
                sender
            })
            .collect();
        assert_eq!((fast.recv(), fast.recv(), fast.try_recv()), (Ok(0), Ok(1), None));
        assert!(broadcast.send_op(9).timeout(Duration::from_millis(1)).perform().is_err());
        // One read makes room for one sender, in order; a subscriber that leaves, for all that it kept out.
        assert_eq!((slow.recv(), broadcast.waiting().1), (Ok(0), 3));
        assert_eq!((fast.recv(), fast.try_recv()), (Ok(2), None));
        drop(slow);
        assert_eq!((fast.recv(), fast.recv(), fast.recv()), (Ok(3), Ok(4), Ok(5)));
        assert!(join_all(on, senders).into_iter().all(|sent| sent.is_ok()));
        assert_eq!((fast.try_recv(), broadcast.len()), (None, 0));
    });
}

/// Without subscribers there is room for everybody; with the end, everybody gets their value back.
#[test]
fn blocked_senders_are_let_go() {
    everywhere(|on| {
        for close in [false, true] {
            let drops = Drops::default();
            let broadcast = Broadcast::new(Lag::Block(1));
            let subscriber = broadcast.subscribe();
            broadcast.send(drops.make(99)).unwrap();
            let senders: Vec<Task<Option<u64>>> = (0..MANY as u64)
                .map(|i| {
                    let (broadcast, value) = (broadcast.clone(), drops.make(i));
                    on.spawn(move || broadcast.send(value).err().map(|refused| refused.into_inner().value))
                })
                .collect();
            on.eventually(|| broadcast.waiting().1 == MANY);
            match close {
                false => drop(subscriber),
                true => {
                    broadcast.close();
                    assert_eq!(subscriber.recv().map(|v| v.value), Ok(99));
                    assert!(subscriber.recv().is_err());
                }
            }
            let refused = join_all(on, senders);
            assert!(
                refused.iter().enumerate().all(|(i, r)| *r == close.then_some(i as u64)),
                "{refused:?}"
            );
            assert_eq!((drops.live(), broadcast.waiting()), (0, (0, 0)));
        }
    });
}

#[test]
fn capacity_of_nothing() {
    panics_with("a broadcast needs room for at least 1 value, got Block(0)", || {
        drop(Broadcast::<u8>::new(Lag::Block(0)));
    });
}

/// More subscribers than a batch of wakes has room for; lone, in choices, and several on one cursor.
#[test]
fn all_who_wait_are_woken() {
    everywhere(|on| {
        for lag in POLICIES {
            let broadcast = Broadcast::new(lag);
            let shared = broadcast.subscribe();
            let mut tasks: Vec<_> = (0..MANY)
                .map(|i| {
                    let subscriber = broadcast.subscribe();
                    on.spawn(move || match i % 2 {
                        0 => subscriber.recv(),
                        _ => choice((subscriber.recv_op(), subscriber.recv_op())).perform(),
                    })
                })
                .collect();
            let shared = std::sync::Arc::new(shared);
            tasks.extend((0..3).map(|_| {
                let shared = shared.clone();
                on.spawn(move || shared.recv())
            }));
            on.eventually(|| broadcast.waiting().0 == MANY + MANY / 2 + 3);
            (0..3).for_each(|i| broadcast.send(i).unwrap());
            let mut got = join_all(on, tasks);
            let mut of_one = got.split_off(MANY);
            of_one.sort_unstable_by_key(|v| v.unwrap());
            assert_eq!(of_one, [Ok(0), Ok(1), Ok(2)]);
            assert_eq!(got, [Ok(0); MANY]);
            assert_eq!(broadcast.waiting(), (0, 0));
        }
    });
}

/// Several senders, several subscribers, each value everywhere once, in the order of each sender.
#[test]
fn every_value_arrives_everywhere() {
    under_stress(|on| {
        for lag in [Lag::Unbounded, Lag::Block(1), Lag::Block(5)] {
            let drops = Drops::default();
            let broadcast = Broadcast::<Counted<(u64, u64)>>::new(lag);
            let n = rounds(60, 20_000);
            let subscribers = (0..5)
                .map(|i| {
                    let subscriber = broadcast.subscribe();
                    mixed(on, i, move || {
                        let mut next = [0; 3];
                        while let Ok(value) = subscriber.recv() {
                            let (sender, number) = value.value;
                            assert_eq!(number, next[sender as usize]);
                            next[sender as usize] += 1;
                        }
                        next
                    })
                })
                .collect();
            let senders = (0..3)
                .map(|i| {
                    let (broadcast, drops) = (broadcast.clone(), drops.clone());
                    mixed(on, i, move || {
                        for number in 0..n {
                            broadcast.send(drops.make((i, number))).unwrap_or_else(|_| unreachable!());
                        }
                    })
                })
                .collect();
            // Some come and go: they keep senders waiting, and let several of them in at once when they leave.
            let guests = (0..2)
                .map(|i| {
                    let broadcast = broadcast.clone();
                    mixed(on, i, move || {
                        for _ in 0..n {
                            let guest = broadcast.subscribe();
                            on.pause();
                            drop((guest.clone(), guest.try_recv()));
                        }
                    })
                })
                .collect();
            drop(broadcast);
            join_all(on, guests);
            join_all(on, senders);
            assert_eq!(join_all(on, subscribers), [[n; 3]; 5]);
            assert_eq!(drops.live(), 0);
        }
    });
}

/// What is dropped is counted: received and missed make up what was sent.
#[test]
fn missed_values_are_accounted_for() {
    under_stress(|on| {
        let drops = Drops::default();
        let broadcast = Broadcast::<Counted<u64>>::new(Lag::DropOldest(4));
        let n = rounds(200, 100_000);
        let subscribers = (0..4)
            .map(|i| {
                let subscriber = broadcast.subscribe();
                mixed(on, i, move || {
                    let (mut seen, mut last) = (0, None);
                    loop {
                        match subscriber.recv() {
                            Ok(value) => {
                                assert!(last < Some(value.value));
                                (seen, last) = (seen + 1, Some(value.value));
                            }
                            Err(Lagged(missed)) => seen += missed,
                            Err(Closed) => return seen,
                        }
                    }
                })
            })
            .collect();
        for i in 0..n {
            broadcast.send(drops.make(i)).unwrap();
        }
        drop(broadcast);
        assert_eq!(join_all(on, subscribers), [n; 4]);
        assert_eq!(drops.live(), 0);
    });
}

/// Arms with both arrows, that win and that lose.
#[test]
fn in_select() {
    everywhere(|on| {
        let full = Broadcast::new(Lag::Block(1));
        let nothing = full.subscribe();
        full.send(0).unwrap();
        assert_eq!(nothing.recv(), Ok(0));
        let unread = nothing.clone();
        full.send(0).unwrap();
        assert_eq!(nothing.recv(), Ok(0));
        let (tx, rx) = channel(0);
        let (news, echo) = (Broadcast::new(Lag::Block(1)), Broadcast::new(Lag::Block(1)));
        let (heard, answers) = (news.subscribe(), echo.subscribe());
        let n = rounds(300, 1_000_000);
        let partner = on.spawn(move || {
            for i in 0..n {
                tx.send(i).unwrap();
                select! {
                    v = <-heard => assert_eq!(v, Ok(i)),
                }
                echo.send(i).unwrap();
            }
        });
        for i in 0..n {
            select! {
                v = <-rx => assert_eq!(v, Ok(i)),
                full <- i => unreachable!(),
                v = <-nothing => unreachable!("{v:?}"),
            }
            select! {
                news <- i => {}
                full <- i => unreachable!(),
            }
            select! {
                v = <-answers => assert_eq!(v, Ok(i)),
                <-nothing => unreachable!(),
            }
        }
        partner.join();
        assert_eq!(full.waiting(), (0, 0));
        assert_eq!((unread.recv(), unread.try_recv()), (Ok(0), None));
    });
}
