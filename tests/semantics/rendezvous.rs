//! Two performs meet, exactly once, and never themselves (cases 27 to 37).

use crate::{everywhere, under_stress};
use fibers::op::{always, choice};
use fibers::{Elapsed, Op, Receiver, Sender, channel};
use fibers_tests::{Drops, On, Rng, rounds};
use std::time::Duration;

const MOMENT: Duration = Duration::from_millis(3);

/// What became of a perform that offers to send and to receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Met {
    Sent,
    Received(u64),
}

/// Offers both sides of one channel.
fn both<'a>(tx: &'a Sender<u64>, rx: &'a Receiver<u64>, v: u64) -> impl Op<Output = Met> + 'a {
    let send = tx.send_op(v).wrap(|sent| (sent.unwrap(), Met::Sent).1);
    choice((send, rx.recv_op().wrap(|v| Met::Received(v.unwrap()))))
}

#[test]
fn c27_a_choice_never_meets_itself() {
    everywhere(|_| {
        let (tx, rx) = channel(0);
        assert_eq!(both(&tx, &rx, 1).try_perform(), None);
        assert_eq!(both(&tx, &rx, 1).timeout(MOMENT).perform(), Err(Elapsed));
        // In the other order, several times over, and on both ends of two channels.
        let (tx2, rx2) = channel(0);
        let crossed = choice((
            choice((rx.recv_op().wrap(drop), tx.send_op(1).wrap(drop), rx.recv_op().wrap(drop))),
            choice((tx2.send_op(1).wrap(drop), rx2.recv_op().wrap(drop), tx.send_op(2).wrap(drop))),
        ));
        assert_eq!(crossed.timeout(MOMENT).perform(), Err(Elapsed));
        assert_eq!(
            [
                tx.waiting_receivers(),
                tx.waiting_senders(),
                tx2.waiting_receivers(),
                tx2.waiting_senders()
            ],
            [0; 4]
        );
    });
}

#[test]
fn c28_two_such_choices_match_once() {
    under_stress(|on| {
        let n = rounds(3_000, 1_000_000);
        let (tx, rx) = channel(0);
        let play = move |tx: Sender<u64>, rx: Receiver<u64>| {
            let (mut sent, mut received) = (0, 0);
            for i in 0..n {
                match both(&tx, &rx, i).perform() {
                    Met::Sent => sent += i,
                    Met::Received(v) => received += v,
                }
            }
            (sent, received, rx.waiting_receivers() + tx.waiting_senders())
        };
        let other = {
            let (tx, rx) = (tx.clone(), rx.clone());
            on.spawn(move || play(tx, rx))
        };
        let (mine, theirs) = (play(tx.clone(), rx.clone()), other.join());
        assert_eq!((mine.0, mine.1), (theirs.1, theirs.0));
        assert_eq!((tx.waiting_senders(), tx.waiting_receivers()), (0, 0));
    });
}

#[test]
fn c29_forty_four_pair_off_and_an_odd_one_stays() {
    under_stress(|on| {
        let (tx, rx) = channel(0);
        let (done, results) = fibers::unbounded();
        let performers: Vec<_> = (0..45u64)
            .map(|i| {
                let (tx, rx, done) = (tx.clone(), rx.clone(), done.clone());
                on.spawn(move || done.send((i, both(&tx, &rx, i).perform())).unwrap())
            })
            .collect();
        let mut met: Vec<_> = (0..44).map(|_| results.recv().unwrap()).collect();
        on.eventually(|| tx.waiting_senders() == 1 && tx.waiting_receivers() == 1);
        assert!(results.is_empty());
        // Every value was received by another one, once.
        let mut sent: Vec<u64> = met.iter().filter(|(_, m)| *m == Met::Sent).map(|(i, _)| *i).collect();
        let pairs = |(i, m): &(u64, Met)| match m {
            Met::Received(v) => Some((*v, *i)),
            Met::Sent => None,
        };
        let mut received: Vec<u64> = met
            .iter()
            .filter_map(pairs)
            .inspect(|(v, i)| assert_ne!(v, i))
            .map(|(v, _)| v)
            .collect();
        sent.sort_unstable();
        received.sort_unstable();
        assert_eq!((sent.len(), &sent), (22, &received));
        // The odd one is released by a plain sender.
        tx.send(100).unwrap();
        met.push(results.recv().unwrap());
        assert_eq!(met[44].1, Met::Received(100));
        performers.into_iter().for_each(|p| p.join());
    });
}

#[test]
fn c31_select_send_against_select_receive() {
    under_stress(|on| {
        let n = rounds(3_000, 1_000_000);
        let (a, b) = (channel::<u64>(0), channel::<u64>(0));
        let crowd: Vec<_> = (0..4u64)
            .map(|i| {
                let ((atx, arx), (btx, brx)) = (a.clone(), b.clone());
                on.spawn(move || {
                    let mut sum = 0u64;
                    for v in 0..n {
                        let add = match i % 2 {
                            0 => choice((atx.send_op(v), btx.send_op(v)))
                                .wrap(|sent| (sent.unwrap(), v).1)
                                .perform(),
                            _ => choice((arx.recv_op(), brx.recv_op())).wrap(|v| v.unwrap()).perform(),
                        };
                        sum += add;
                    }
                    sum
                })
            })
            .collect();
        let sums: Vec<u64> = crowd.into_iter().map(|p| p.join()).collect();
        assert_eq!(sums[0] + sums[2], sums[1] + sums[3]);
        assert_eq!(sums[0] + sums[2], n * (n - 1));
    });
}

#[test]
fn c32_opposite_orders_do_not_livelock() {
    under_stress(|on| {
        let n = rounds(3_000, 1_000_000);
        let (c, d) = (channel::<u64>(0), channel::<u64>(0));
        let play = move |c: (Sender<u64>, Receiver<u64>), d: (Sender<u64>, Receiver<u64>), swapped: bool| {
            let (mut sent, mut received) = (0, 0);
            for i in 0..n {
                let send = |tx: &Sender<u64>| tx.clone();
                let (first, second) = if swapped { (&d, &c) } else { (&c, &d) };
                let (tx, rx) = (send(&first.0), second.1.clone());
                let met = match swapped {
                    false => choice((
                        tx.send_op(i).wrap(|_| Met::Sent),
                        rx.recv_op().wrap(|v| Met::Received(v.unwrap())),
                    ))
                    .perform(),
                    true => choice((
                        rx.recv_op().wrap(|v| Met::Received(v.unwrap())),
                        tx.send_op(i).wrap(|_| Met::Sent),
                    ))
                    .perform(),
                };
                match met {
                    Met::Sent => sent += i,
                    Met::Received(v) => received += v,
                }
            }
            (sent, received)
        };
        let other = {
            let (c, d) = (c.clone(), d.clone());
            on.spawn(move || play(c, d, true))
        };
        let (mine, theirs) = (play(c, d, false), other.join());
        assert_eq!(mine, (theirs.1, theirs.0));
    });
}

#[test]
fn c33_a_cycle_of_three_resolves() {
    // Each sends to its right and receives from its left, so that three of them can claim each other in a circle. A round of
    // one perform each commits one pair; the third is released by the main performer.
    under_stress(|on| {
        let n = rounds(1_000, 300_000);
        let ring: Vec<_> = (0..3).map(|_| channel::<u64>(0)).collect();
        let (go_tx, go) = channel::<()>(3);
        let (done, results) = channel::<Met>(3);
        let players: Vec<_> = (0..3)
            .map(|i| {
                let (tx, rx) = (ring[i].0.clone(), ring[(i + 2) % 3].1.clone());
                let (go, done) = (go.clone(), done.clone());
                on.spawn(move || {
                    for () in go {
                        done.send(both(&tx, &rx, i as u64).perform()).unwrap();
                    }
                })
            })
            .collect();
        let mut rng = Rng::new(33);
        for _ in 0..n {
            (0..3).for_each(|_| go_tx.send(()).unwrap());
            let pair = [results.recv().unwrap(), results.recv().unwrap()];
            assert_eq!(pair.iter().filter(|m| **m == Met::Sent).count(), 1, "{pair:?}");
            // The one left offers on two of the three channels; each side works.
            let receive = choice(ring.iter().map(|(_, rx)| rx.recv_op())).wrap(|v| v.is_ok());
            let send = choice(ring.iter().map(|(tx, _)| tx.send_op(9))).wrap(|sent| sent.is_ok());
            assert!(if rng.below(2) == 0 {
                receive.perform()
            } else {
                send.perform()
            });
            results.recv().unwrap();
        }
        drop(go_tx);
        players.into_iter().for_each(|p| p.join());
        assert!(ring.iter().all(|(tx, _)| tx.waiting_senders() + tx.waiting_receivers() == 0));
    });
}

#[test]
fn c34_the_same_channel_twice() {
    everywhere(|on| {
        let (tx, rx) = channel::<u64>(0);
        let (quit_tx, quit) = channel::<()>(0);
        let lone = |tag: u64| {
            let (rx, n) = (rx.clone(), tx.waiting_receivers());
            let task = on.spawn(move || tag + rx.recv().unwrap());
            on.eventually(|| tx.waiting_receivers() == n + 1);
            task
        };
        // In the queue: a lone one, then one that stands there three times, then another lone one.
        let first = lone(100);
        let thrice = {
            let rx = rx.clone();
            on.spawn(move || {
                let twice = choice([rx.recv_op(), rx.recv_op()]).wrap(|v| v.unwrap());
                choice((twice, quit.recv_op().wrap(|_| 0), rx.recv_op().wrap(|v| v.unwrap()))).perform()
            })
        };
        on.eventually(|| tx.waiting_receivers() == 4);
        let last = lone(200);
        quit_tx.send(()).unwrap();
        assert_eq!(thrice.join(), 0);
        // Unlinked from the middle: both neighbours are still there, in order.
        assert_eq!(tx.waiting_receivers(), 2);
        tx.send(1).unwrap();
        tx.send(2).unwrap();
        assert_eq!((first.join(), last.join()), (101, 202));
    });
}

#[test]
fn c34_one_of_several_arms_on_a_channel_is_met_once() {
    everywhere(|on| {
        let (tx, rx) = channel::<u64>(0);
        for i in 0..rounds(200, 50_000) {
            let performer = {
                let rx = rx.clone();
                on.spawn(move || choice([rx.recv_op(), rx.recv_op(), rx.recv_op()]).perform().unwrap())
            };
            tx.send(i).unwrap();
            assert_eq!(performer.join(), i);
            assert_eq!((tx.waiting_receivers(), tx.try_send(0).is_err()), (0, true));
        }
    });
}

#[test]
fn c35_waiters_are_served_in_order() {
    everywhere(|on| {
        let (tx, rx) = channel::<u64>(0);
        // Senders: their values come out in the order in which they began to wait.
        let senders: Vec<_> = (0..12)
            .map(|i| {
                let sender = tx.clone();
                let task = on.spawn(move || sender.send(i).unwrap());
                on.eventually(|| tx.waiting_senders() as u64 == i + 1);
                task
            })
            .collect();
        assert_eq!(
            (0..12).map(|_| rx.recv().unwrap()).collect::<Vec<_>>(),
            (0..12).collect::<Vec<_>>()
        );
        senders.into_iter().for_each(|s| s.join());
        // Receivers: the first to wait gets the first value. Lone ones and choices stand in one queue.
        let (_quiet_tx, quiet) = channel::<u64>(0);
        let receivers: Vec<_> = (0..12)
            .map(|i| {
                let (receiver, quiet) = (rx.clone(), quiet.clone());
                let task = on.spawn(move || match i % 2 {
                    0 => receiver.recv().unwrap(),
                    _ => choice((quiet.recv_op(), receiver.recv_op())).perform().unwrap(),
                });
                on.eventually(|| tx.waiting_receivers() as u64 == i + 1);
                task
            })
            .collect();
        (0..12).for_each(|i| tx.send(i).unwrap());
        let got: Vec<_> = receivers.into_iter().map(|r| r.join()).collect();
        assert_eq!(got, (0..12).collect::<Vec<_>>());
    });
}

/// Sends values through every path, and counts their drops.
fn sweep<T: Clone + Send + 'static>(on: On, value: T) {
    let drops = Drops::default();
    let make = || drops.make(value.clone());
    for capacity in [0, 1, 3] {
        let (tx, rx) = channel(capacity);
        let receiver = {
            let rx = rx.clone();
            on.spawn(move || {
                (0..8).for_each(|_| drop(choice((rx.recv_op(), rx.recv_op())).perform().unwrap()));
            })
        };
        (0..8).for_each(|_| tx.send(make()).unwrap());
        receiver.join();
        assert_eq!(drops.live(), 0);
        // Refused, timed out, lost in a choice, given back by a close, left in the buffer.
        (0..capacity).for_each(|_| tx.send(make()).unwrap());
        drop(tx.try_send(make()).expect_err("full").into_inner());
        drop(
            tx.send_timeout(make(), Duration::from_micros(100))
                .expect_err("full")
                .into_inner(),
        );
        assert_eq!(choice((tx.send_op(make()).wrap(|_| 0), always(1))).perform(), 1);
        let parked = {
            let (tx, value) = (tx.clone(), make());
            on.spawn(move || tx.send(value).expect_err("closed").into_inner())
        };
        on.eventually(|| tx.waiting_senders() == 1);
        tx.close();
        drop(parked.join());
        assert_eq!(drops.live(), capacity as isize);
        drop((tx, rx));
        assert_eq!(drops.live(), 0);
    }
}

#[test]
fn c36_values_of_any_size_are_dropped_once() {
    everywhere(|on| {
        sweep(on, ());
        sweep(on, 7u8);
        sweep(on, String::from("a value on the heap"));
        sweep(on, [1u64; 512]);
    });
}

#[test]
fn c36_zero_sized_values() {
    everywhere(|on| {
        for capacity in [0, 2, usize::MAX] {
            let (tx, rx) = channel::<()>(capacity);
            let receiver = on.spawn(move || rx.iter().count());
            (0..100).for_each(|_| tx.send(()).unwrap());
            drop(tx);
            assert_eq!(receiver.join(), 100);
        }
    });
}

#[test]
fn c36_contents_arrive_whole() {
    everywhere(|on| {
        let (tx, rx) = channel::<[u64; 512]>(0);
        let receiver = on.spawn(move || {
            for (i, block) in rx.iter().enumerate() {
                assert!(block.iter().all(|v| *v == i as u64));
            }
        });
        for i in 0..rounds(200, 20_000) {
            match i % 2 {
                0 => tx.send([i; 512]).unwrap(),
                _ => choice((tx.send_op([i; 512]), fibers::op::never())).perform().unwrap(),
            }
        }
        drop(tx);
        receiver.join();
    });
}

#[test]
fn c37_a_losing_slot_keeps_its_value() {
    everywhere(|on| {
        let drops = Drops::default();
        let (tx, rx) = channel(0);
        let mut slot = Some(drops.make(5));
        assert!(tx.send_slot_op(&mut slot).try_perform().is_none());
        assert_eq!(choice((tx.send_slot_op(&mut slot).wrap(|_| 0), always(1))).perform(), 1);
        assert!(tx.send_slot_op(&mut slot).timeout(MOMENT).perform().is_err());
        assert_eq!((slot.as_ref().map(|v| v.value), drops.live()), (Some(5), 1));
        // A loser that was waiting.
        let (other_tx, other) = channel::<()>(0);
        let performer = {
            let tx = tx.clone();
            on.spawn(move || {
                let lost = choice((tx.send_slot_op(&mut slot).wrap(|_| 0), other.recv_op().wrap(|_| 1))).perform();
                (lost, slot)
            })
        };
        on.eventually(|| tx.waiting_senders() == 1);
        other_tx.send(()).unwrap();
        let (lost, mut slot) = performer.join();
        assert_eq!((lost, slot.as_ref().map(|v| v.value)), (1, Some(5)));
        // A winner's slot is empty; a refused one is not.
        let receiver = on.spawn(move || rx.recv().unwrap().value);
        tx.send_slot_op(&mut slot).perform().unwrap();
        assert_eq!((receiver.join(), slot.is_none(), drops.live()), (5, true, 0));
        let mut slot = Some(drops.make(6));
        assert!(tx.send_slot_op(&mut slot).perform().is_err());
        assert_eq!(slot.map(|v| v.value), Some(6));
    });
}

#[test]
fn c37_a_perform_that_panics_leaves_the_value_in_its_slot() {
    everywhere(|_| {
        let (tx, _rx) = channel(0);
        let mut slot = Some(5);
        let bad = fibers::op::guard(|| -> fibers::op::Never<()> { fibers_tests::quiet_panic("guard") });
        fibers_tests::panics_with("guard", || choice((tx.send_slot_op(&mut slot).wrap(drop), bad)).perform());
        assert_eq!(slot, Some(5));
    });
}
