//! Closing a channel (cases 40, 42 and 43), and the values that are on their way then.

use crate::{everywhere, under_stress};
use fibers::op::{always, choice};
use fibers::{Op, RecvError, SendError, SendTimeoutError, TrySendError, channel, unbounded};
use fibers_tests::{Drops, Rng, rounds};
use std::time::Duration;

#[test]
fn c40_close_wakes_every_parked_select_with_its_branch() {
    everywhere(|on| {
        // More than one batch of wakes, of both kinds, lone and in choices.
        for (closed, by_drop) in [(0, false), (1, false), (0, true)] {
            let ends: [_; 2] = std::array::from_fn(|_| channel::<u64>(0));
            let n = 25;
            let performers: Vec<_> = (0..n)
                .map(|i| {
                    let receivers = ends.each_ref().map(|(_, rx)| rx.clone());
                    on.spawn(move || {
                        let branch = |i: usize| receivers[i].recv_op().wrap(move |v| (i, v));
                        match i % 3 {
                            0 => choice((branch(0), branch(1))).perform(),
                            1 => choice(vec![branch(1), branch(0)])
                                .timeout(Duration::from_secs(3600))
                                .perform()
                                .unwrap(),
                            _ => (closed, receivers[closed].recv()),
                        }
                    })
                })
                .collect();
            let [(a, _), (b, _)] = &ends;
            let lone = n / 3;
            let counts = |closed: usize| match closed {
                0 => (n, n - lone),
                _ => (n - lone, n),
            };
            on.eventually(|| (a.waiting_receivers(), b.waiting_receivers()) == counts(closed));
            let [a, b] = ends;
            match (by_drop, closed) {
                (true, _) => drop(a.0),
                (false, 0) => a.0.close(),
                (false, _) => b.1.close(),
            }
            for performer in performers {
                assert_eq!(performer.join(), (closed, Err(RecvError)));
            }
            assert_eq!((a.1.waiting_receivers(), b.0.waiting_receivers()), (0, 0));
        }
    });
}

#[test]
fn c40_close_gives_parked_senders_their_values_back() {
    everywhere(|on| {
        for by_drop in [false, true] {
            let (tx, rx) = channel::<u64>(2);
            let senders: Vec<_> = (0..42)
                .map(|i| {
                    let tx = tx.clone();
                    on.spawn(move || match i % 4 {
                        0 => tx.send(i),
                        1 => choice((tx.send_op(i), tx.send_op(i))).perform(),
                        2 => tx
                            .send_timeout(i, Duration::from_secs(3600))
                            .map_err(|e| SendError(e.into_inner())),
                        _ => {
                            let mut slot = Some(i);
                            let sent = tx.send_slot_op(&mut slot).perform();
                            sent.map_err(|SendError(())| SendError(slot.expect("refused: the value is still there")))
                        }
                    })
                })
                .collect();
            // 42 and 11 of them, the choices, a second time; less the two that found room.
            on.eventually(|| rx.is_full() && (49..=51).contains(&tx.waiting_senders()));
            let buffered = match by_drop {
                true => (drop(rx), vec![]).1,
                false => (tx.close(), rx.iter().collect::<Vec<_>>()).1,
            };
            let mut sent = vec![];
            for (i, sender) in senders.into_iter().enumerate() {
                match sender.join() {
                    Ok(()) => sent.push(i as u64),
                    Err(SendError(v)) => assert_eq!(v, i as u64),
                }
            }
            assert_eq!(sent.len(), 2);
            if !by_drop {
                sent.sort_unstable();
                let mut buffered = buffered;
                buffered.sort_unstable();
                assert_eq!(buffered, sent);
            }
            assert_eq!(tx.waiting_senders(), 0);
        }
    });
}

#[test]
fn c42_a_send_on_a_closed_channel_yields_the_value() {
    everywhere(|_| {
        for by_drop in [false, true] {
            let (tx, rx) = channel::<u64>(1);
            match by_drop {
                true => drop(rx),
                false => rx.close(),
            }
            let value = |sent: Result<(), SendError<u64>>| sent.unwrap_err().into_inner();
            assert_eq!(value(tx.send(1)), 1);
            assert_eq!(value(choice((tx.send_op(2), tx.send_op(2))).perform()), 2);
            assert_eq!(tx.send_op(3).try_perform().map(value), Some(3));
            assert_eq!(tx.try_send(4), Err(TrySendError::Disconnected(4)));
            assert_eq!(tx.send_timeout(5, Duration::ZERO), Err(SendTimeoutError::Disconnected(5)));
        }
        // A closed channel is ready: it competes with other ready branches and beats the default.
        let (tx, rx) = channel::<u64>(0);
        drop(rx);
        let mut won = [0; 2];
        (0..rounds(400, 10_000)).for_each(|_| won[choice((tx.send_op(1).wrap(|_| 0), always(1))).perform()] += 1);
        assert!(cfg!(miri) || (won[0] > 0 && won[1] > 0), "{won:?}");
    });
}

#[test]
fn c43_close_racing_a_match_has_one_outcome() {
    under_stress(|on| {
        let drops = Drops::default();
        let mut rng = Rng::new(43);
        for i in 0..rounds(500, 1_000_000) {
            let capacity = rng.below(3) as usize;
            let (tx, rx) = channel(capacity);
            let value = drops.make(i);
            let sender = {
                let tx = tx.clone();
                on.spawn(move || match i % 2 {
                    0 => tx.send(value),
                    _ => choice((tx.send_op(value), fibers::op::never())).perform(),
                })
            };
            let receiver = {
                let rx = rx.clone();
                on.spawn(move || match i % 4 {
                    0 | 3 => rx.recv(),
                    _ => choice((rx.recv_op(), rx.recv_op())).perform(),
                })
            };
            (0..rng.below(3)).for_each(|_| on.pause());
            rx.close();
            match (sender.join(), receiver.join()) {
                (Ok(()), Ok(v)) => assert_eq!(v.value, i),
                (Err(SendError(v)), Err(RecvError)) => assert_eq!(v.value, i),
                // The receiver saw nothing before the value was buffered, or the value is still there.
                (Ok(()), Err(RecvError)) => panic!("sent, then closed, but not received"),
                (Err(_), Ok(_)) => panic!("received and given back"),
            }
            drop((tx, rx));
            assert_eq!(drops.live(), 0);
        }
    });
}

#[test]
fn c43_close_racing_many() {
    under_stress(|on| {
        let drops = Drops::default();
        for round in 0..rounds(30, 20_000) {
            let (tx, rx) = channel((round % 3) as usize);
            let (other_tx, other) = channel(1);
            let senders: Vec<_> = (0..6)
                .map(|i| {
                    let (tx, other_tx, drops) = (tx.clone(), other_tx.clone(), drops.clone());
                    on.spawn(move || {
                        let mut sent = 0;
                        loop {
                            let op = choice((tx.send_op(drops.make(i)), other_tx.send_op(drops.make(i))));
                            match op.perform() {
                                Ok(()) => sent += 1,
                                Err(SendError(v)) => return (assert_eq!(v.value, i), sent).1,
                            }
                        }
                    })
                })
                .collect();
            let receivers: Vec<_> = (0..6)
                .map(|_| {
                    let (rx, other) = (rx.clone(), other.clone());
                    on.spawn(move || {
                        let (mut received, mut open) = (0, [true; 2]);
                        while open != [false; 2] {
                            let branch = |i: usize, rx| {
                                Some(rx)
                                    .filter(|_| open[i])
                                    .map(|rx: &fibers::Receiver<_>| rx.recv_op().wrap(move |v| (i, v)))
                            };
                            match choice((branch(0, &rx), branch(1, &other))).perform() {
                                (_, Ok(_)) => received += 1,
                                (i, Err(RecvError)) => open[i] = false,
                            }
                        }
                        received
                    })
                })
                .collect();
            (0..10).for_each(|_| on.pause());
            tx.close();
            other.close();
            let sent: u64 = senders.into_iter().map(|s| s.join()).sum();
            let received: u64 = receivers.into_iter().map(|r| r.join()).sum();
            // Nothing may be buffered any more, since every receiver has seen the end of both.
            assert_eq!((sent, drops.live()), (received, 0));
        }
    });
}

#[test]
fn c43_the_last_end_dropped_during_a_receive() {
    under_stress(|on| {
        for i in 0..rounds(300, 200_000) {
            let (tx, rx) = channel::<u64>(0);
            let senders: Vec<_> = (0..2)
                .map(|_| {
                    let tx = tx.clone();
                    on.spawn(move || tx.send(i).is_ok())
                })
                .collect();
            drop(tx);
            assert_eq!((rx.recv(), rx.recv(), rx.recv()), (Ok(i), Ok(i), Err(RecvError)));
            assert!(senders.into_iter().all(|s| s.join()));
        }
    });
}

#[test]
fn c43_what_is_buffered_goes_with_the_last_receiver() {
    everywhere(|on| {
        let drops = Drops::default();
        let (tx, rx) = channel(4);
        let rx2 = rx.clone();
        (0..4).for_each(|i| tx.send(drops.make(i)).unwrap());
        drop(rx);
        assert_eq!(drops.live(), 4);
        drop(rx2);
        assert_eq!(drops.live(), 0);
        // So a client whose request was never looked at learns that nobody will answer.
        let (requests, server) = unbounded();
        let (reply, answer) = channel::<u64>(0);
        requests.send(reply).unwrap();
        let client = on.spawn(move || answer.recv());
        drop(server);
        assert_eq!(client.join(), Err(RecvError));
        assert!(requests.is_closed());
    });
}
