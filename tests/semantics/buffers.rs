//! Buffered channels: order, hand-over, absent arms, defaults (cases 38, 39, 41, 44 to 46). Closing stands in `closing.rs`.

use crate::{everywhere, under_stress};
use fibers::op::{Never, always, biased, choice};
use fibers::{Op, RecvError, SendError, TryRecvError, TrySendError, channel, unbounded};
use fibers_tests::{Counter, Rng, rounds};
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

#[test]
fn c38_a_receive_from_a_full_buffer_admits_one_sender() {
    everywhere(|on| {
        let (tx, rx) = channel::<u64>(2);
        tx.send(0).unwrap();
        tx.send(1).unwrap();
        let senders: Vec<_> = (2..6)
            .map(|i| {
                let (sender, parked) = (tx.clone(), tx.waiting_senders());
                // Lone ones and choices alike.
                let task = on.spawn(move || match i % 2 {
                    0 => sender.send(i).unwrap(),
                    _ => choice((sender.send_op(i), sender.send_op(i))).perform().unwrap(),
                });
                // A choice waits twice, and not before it does may the next sender come.
                on.eventually(|| tx.waiting_senders() == parked + 1 + i as usize % 2);
                task
            })
            .collect();
        for i in 0..6 {
            assert_eq!((rx.len(), rx.recv()), (2.min(6 - i as usize), Ok(i)));
            // Admitted in the same step: the buffer is full again at once, and stays in order.
            assert_eq!(rx.len(), 2.min(5 - i as usize));
        }
        senders.into_iter().for_each(|s| s.join());
        assert_eq!((tx.waiting_senders(), rx.try_recv()), (0, Err(TryRecvError::Empty)));
    });
}

#[test]
fn c38_a_decided_sender_is_passed_over() {
    // Between the sender that was decided elsewhere and its retraction, receives must admit the next one.
    under_stress(|on| {
        let n = rounds(800, 200_000);
        let (tx, rx) = channel::<u64>(1);
        let (quit_tx, quit) = unbounded::<()>();
        let fickle = {
            let tx = tx.clone();
            on.spawn(move || {
                let mut sent = 0;
                for i in 0..n {
                    let send = tx.send_op(i).wrap(|s| (s.unwrap(), 1).1);
                    sent += choice((quit.recv_op().wrap(|_| 0), send)).perform();
                }
                sent
            })
        };
        let steady = {
            let tx = tx.clone();
            on.spawn(move || (0..n).for_each(|i| tx.send(i).unwrap()))
        };
        drop(tx);
        let quitter = on.spawn(move || {
            for _ in 0..n / 2 {
                let _ = quit_tx.send(()); // the fickle one may have finished
                on.pause();
            }
            // Kept open until the end: a closed channel would be ready for ever.
            quit_tx
        });
        let received = rx.iter().count() as u64;
        assert_eq!(received, fickle.join() + n);
        steady.join();
        quitter.join();
    });
}

#[test]
fn c38_order_under_load() {
    under_stress(|on| {
        let n = rounds(4_000, 1_000_000);
        for capacity in [1, 3] {
            let (tx, rx) = channel::<(u64, u64)>(capacity);
            let senders: Vec<_> = (0..3)
                .map(|id| {
                    let tx = tx.clone();
                    on.spawn(move || (0..n / 4).for_each(|i| tx.send((id, i)).unwrap()))
                })
                .collect();
            drop(tx);
            let mut next = [0; 3];
            for (id, i) in rx {
                assert_eq!(i, next[id as usize], "the values of one sender stay in order");
                next[id as usize] += 1;
            }
            assert_eq!(next, [n / 4; 3]);
            senders.into_iter().for_each(|s| s.join());
        }
    });
}

#[test]
fn c39_a_select_woken_elsewhere_strands_nobody() {
    // A select waits on A and B before a plain receiver of B. One value for each: both get theirs, whichever comes first.
    under_stress(|on| {
        let (a_tx, a) = channel::<u64>(0);
        let (b_tx, b) = channel::<u64>(0);
        for i in 0..rounds(500, 100_000) {
            let select = {
                let (a, b) = (a.clone(), b.clone());
                on.spawn(move || choice((a.recv_op(), b.recv_op())).perform().unwrap())
            };
            on.eventually(|| b_tx.waiting_receivers() == 1);
            let plain = {
                let b = b.clone();
                on.spawn(move || b.recv().unwrap())
            };
            on.eventually(|| b_tx.waiting_receivers() == 2);
            let a_sender = {
                let a_tx = a_tx.clone();
                on.spawn(move || a_tx.try_send(i).is_ok())
            };
            b_tx.send(i).unwrap();
            let first = a_sender.join();
            if !first {
                // B's value decided the select, so the plain receiver still waits and A has nobody.
                b_tx.send(i).unwrap();
            }
            assert_eq!((select.join(), plain.join()), (i, i));
        }
    });
}

#[test]
fn c41_drained_before_disconnected() {
    everywhere(|_| {
        let (tx, rx) = channel(3);
        (0..3).for_each(|i| tx.send(i).unwrap());
        drop(tx);
        assert!(rx.is_closed());
        assert_eq!(choice((rx.recv_op(), rx.recv_op())).perform(), Ok(0));
        assert_eq!((rx.recv(), rx.try_recv()), (Ok(1), Ok(2)));
        assert_eq!((rx.recv(), rx.try_recv()), (Err(RecvError), Err(TryRecvError::Disconnected)));
        let (tx, rx) = unbounded();
        (0..3).for_each(|i| tx.send(i).unwrap());
        rx.close();
        assert_eq!(tx.try_send(9), Err(TrySendError::Disconnected(9)));
        assert_eq!(rx.iter().collect::<Vec<_>>(), [0, 1, 2]);
    });
}

#[test]
fn c44_an_absent_arm_is_never_chosen() {
    everywhere(|_| {
        let (tx, rx) = channel::<u32>(1);
        tx.send(1).unwrap();
        let evaluated = Counter::default();
        let arm = |present: bool| present.then(|| (evaluated.add(), rx.recv_op()).1);
        assert_eq!(arm(false).try_perform(), None);
        assert_eq!(choice((arm(false), arm(false))).perform_or(|| Ok(7)), Ok(7));
        assert_eq!(choice((arm(false).wrap(|v| v.unwrap()), always(5))).perform(), 5);
        assert_eq!((evaluated.get(), rx.len()), (0, 1));
        assert_eq!(choice((arm(true), arm(false))).perform(), Ok(1));
        // A channel that is not there at all.
        let nowhere = None::<fibers::Receiver<u32>>;
        use fibers::op::Receive;
        assert_eq!(choice((nowhere.receive_op().wrap(|_| 0), always(5))).perform(), 5);
    });
}

#[test]
fn c45_a_source_that_is_always_ready_is_never_missed() {
    // Three tokens circulate through two buffers, each held by at most one of two performers at a time: so some buffer always
    // has one, but each of them is empty most of the time. The first buffer never runs dry.
    under_stress(|on| {
        let n = rounds(5_000, 1_000_000);
        let (full_tx, full) = channel::<u64>(8);
        let (flicker_tx, flicker) = channel::<u64>(8);
        (0..3).for_each(|i| full_tx.send(i).unwrap());
        let performers: Vec<_> = (0..2u64)
            .map(|id| {
                let (full_tx, full) = (full_tx.clone(), full.clone());
                let (flicker_tx, flicker) = (flicker_tx.clone(), flicker.clone());
                let mut rng = Rng::new(id);
                on.spawn(move || {
                    for i in 0..n {
                        let first = flicker.recv_op().wrap(|v| (true, v.unwrap()));
                        let second = full.recv_op().wrap(|v| (false, v.unwrap()));
                        let got = match rng.below(3) {
                            0 => choice((first, second)).try_perform(),
                            1 => biased((first, second)).try_perform(),
                            _ => choice((second, first)).try_perform(),
                        };
                        let (flickered, v) = got.expect("the second channel has a value throughout");
                        match flickered {
                            true => {}
                            false => full_tx.send(v).unwrap(),
                        }
                        if i % 3 == 0 {
                            let _ = flicker_tx.try_send(0);
                        }
                    }
                })
            })
            .collect();
        performers.into_iter().for_each(|p| p.join());
        assert_eq!(full.len(), 3);
    });
}

#[test]
fn c45_a_flag_set_before_the_send_is_seen() {
    // Whoever finds nothing in the channel must see what happened before it was drained, and the other way round.
    under_stress(|on| {
        for _ in 0..rounds(500, 100_000) {
            let flag = Arc::new(AtomicBool::new(false));
            let (tx, rx) = channel::<()>(1);
            let producer = {
                let flag = flag.clone();
                on.spawn(move || {
                    tx.send(()).unwrap();
                    flag.store(true, Ordering::Release);
                    tx
                })
            };
            on.eventually(|| flag.load(Ordering::Acquire));
            assert_eq!(choice((rx.recv_op(), rx.recv_op())).try_perform(), Some(Ok(())));
            producer.join();
        }
    });
}

#[test]
fn c46_operands_are_evaluated_once_in_order() {
    everywhere(|_| {
        let log = RefCell::new(vec![]);
        let (tx, rx) = channel::<u32>(1);
        let operand = |n: u32| (log.borrow_mut().push(n), n).1;
        let op = choice((
            (operand(1), rx.recv_op().wrap(|v| v.unwrap())).1,
            tx.send_op(operand(2)).wrap(|_| 20),
            Some((operand(3), Never::clone(&fibers::op::never())).1),
        ));
        assert_eq!(log.take(), [1, 2, 3]);
        assert_eq!(op.perform(), 20);
        // The default wins: what was evaluated stays evaluated, and is dropped.
        let full = choice((tx.send_op(operand(4)), tx.send_op(operand(5))));
        assert_eq!(full.perform_or(|| Err(SendError(operand(6)))), Err(SendError(6)));
        assert_eq!((log.take(), rx.len()), (vec![4, 5, 6], 1));
    });
}
