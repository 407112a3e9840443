//! Performers that wait: kinds that meet, aborts, wakes (cases 58 and 61 to 65). Futures are not among them yet.

use crate::{everywhere, under_stress};
use fibers::op::{Completer, base, choice, never};
use fibers::{Op, channel, time, unbounded};
use fibers_tests::{Counter, Drops, On, Rng, Task, rounds};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

#[test]
fn c61_abort_against_commit() {
    // A receive that gives up races its sender. Every value is delivered or still with the sender, never both nor neither.
    under_stress(|on| {
        let n = rounds(2_000, 1_000_000);
        let drops = Drops::default();
        let (tx, rx) = channel(0);
        let sender = {
            let drops = drops.clone();
            on.spawn(move || {
                let (mut sent, mut rng) = (0, Rng::new(61));
                for i in 0..n {
                    let mut slot = Some(drops.make(i));
                    let patience = Duration::from_micros(rng.below(60));
                    match tx.send_slot_op(&mut slot).timeout(patience).perform() {
                        Ok(done) => sent += (done.unwrap(), assert!(slot.is_none()), 1).2,
                        Err(_) => assert_eq!(slot.map(|v| v.value), Some(i)),
                    }
                }
                (sent, tx.waiting_senders())
            })
        };
        let (mut received, mut last, mut rng) = (0, None, Rng::new(610));
        loop {
            match rx.recv_timeout(Duration::from_micros(rng.below(60))) {
                Ok(v) => {
                    assert!(last < Some(v.value));
                    last = Some(v.value);
                    received += 1;
                }
                Err(fibers::RecvTimeoutError::Timeout) => {}
                Err(fibers::RecvTimeoutError::Disconnected) => break,
            }
        }
        assert_eq!((sender.join(), drops.live()), ((received, 0), 0));
    });
}

#[test]
fn c62_a_spurious_unpark_completes_nothing() {
    everywhere(|on| {
        // For threads a real unpark out of nowhere, for fibers a reset of a clock, which sends its waiters back.
        let (tx, rx) = channel::<u64>(0);
        let performer = on.spawn(move || (rx.recv().unwrap(), choice((rx.recv_op(), never())).perform().unwrap()));
        let unpark = |task: &Task<_>| match task {
            Task::Thread(thread) => thread.thread().unpark(),
            Task::Fiber(_) => on.pause(),
        };
        for v in 0..2 {
            on.eventually(|| tx.waiting_receivers() == 1);
            for _ in 0..50 {
                unpark(&performer);
                on.pause();
            }
            assert!(!performer.is_finished());
            assert_eq!(tx.waiting_receivers(), 1);
            tx.send(v).unwrap();
        }
        assert_eq!(performer.join(), (0, 1));
    });
}

#[test]
fn c63_completed_while_publishing() {
    // The wake comes before the performer has parked, from itself: it must neither be lost nor count twice.
    everywhere(|on| {
        for i in 0..rounds(300, 50_000) {
            let (tx, rx) = channel::<u64>(0);
            let alone = base(|| None, |c: Completer<u64>| c.complete(i).unwrap(), || ());
            assert_eq!(alone.perform(), i);
            let among = base(|| None, |c: Completer<u64>| c.complete(i).unwrap(), || ());
            assert_eq!(choice((rx.recv_op().wrap(|v| v.unwrap()), among, never())).perform(), i);
            assert_eq!(tx.waiting_receivers(), 0);
            // A branch published earlier is met by the publish function of a later one.
            let withdrawn = Counter::default();
            let meets = base(|| None, |_: Completer<u64>| tx.try_send(i + 1).unwrap(), || withdrawn.add());
            assert_eq!(choice((rx.recv_op().wrap(|v| v.unwrap()), meets)).perform(), i + 1);
            assert_eq!(withdrawn.get(), 1);
            // Nothing is left over: the next wait really waits.
            assert!(rx.recv_op().timeout(Duration::from_micros(1)).perform().is_err());
        }
        on.pause();
    });
}

#[test]
fn c63_decided_during_registration() {
    // Many branches take time to publish; the peers hammer on the first and the last of them meanwhile.
    under_stress(|on| {
        let n = rounds(300, 300_000);
        let ends: Vec<_> = (0..20).map(|_| channel::<u64>(0)).collect();
        let senders: Vec<_> = [0, 19]
            .into_iter()
            .map(|i: usize| {
                let tx = ends[i].0.clone();
                on.spawn(move || (0..n).for_each(|v| tx.send(v).unwrap()))
            })
            .collect();
        let mut next = [0; 20];
        for _ in 0..2 * n {
            let (i, v) = choice(
                ends.iter()
                    .enumerate()
                    .map(|(i, (_, rx))| rx.recv_op().wrap(move |v| (i, v.unwrap()))),
            )
            .perform();
            assert_eq!(v, next[i]);
            next[i] += 1;
        }
        senders.into_iter().for_each(|s| s.join());
        assert_eq!((next[0], next[19]), (n, n));
        assert!(ends.iter().all(|(tx, _)| tx.waiting_receivers() == 0));
    });
}

#[test]
fn c63_completed_from_elsewhere() {
    // The completion races the timeout. Whoever wins, both sides agree.
    under_stress(|on| {
        let (post, posted) = unbounded::<(u64, Completer<u64>)>();
        let completer = on.spawn(move || posted.iter().filter_map(|(i, completer)| completer.complete(i).ok()).count());
        let mut done = 0;
        for i in 0..rounds(1_500, 500_000) {
            let (published, withdrawn) = (Counter::default(), Counter::default());
            let publish = |completer| {
                published.add();
                post.send((i, completer)).unwrap();
            };
            let op = base(|| None, publish, || withdrawn.add());
            let patience = time::sleep_op(Duration::from_micros(i % 30)).wrap(|()| None);
            if let Some(v) = choice((op.wrap(Some), patience)).perform() {
                assert_eq!(v, i);
                done += 1;
            }
            assert_eq!(withdrawn.get(), published.get());
        }
        drop(post);
        assert_eq!(completer.join(), done);
    });
}

#[test]
fn c63_a_completer_of_an_earlier_round_is_refused() {
    everywhere(|on| {
        let kept = Arc::new(Mutex::new(vec![]));
        let timer = time::Timer::new(Duration::from_secs(3600));
        let withdrawn = Counter::default();
        let performer = {
            let (kept, timer, withdrawn) = (kept.clone(), timer.clone(), withdrawn.clone());
            on.spawn(move || {
                let op = base(|| None, |c: Completer<u64>| kept.lock().unwrap().push(c), || withdrawn.add());
                // The timer is published first: whoever sees the completer can send this round back.
                choice((timer.recv_op().wrap(|_| 0), op)).perform()
            })
        };
        for round in 1..=3 {
            on.eventually(|| kept.lock().unwrap().len() == round);
            assert_eq!(withdrawn.get() as usize, round - 1);
            assert!(timer.reset(Duration::from_secs(3600)));
        }
        on.eventually(|| kept.lock().unwrap().len() == 4);
        let mut completers = std::mem::take(&mut *kept.lock().unwrap());
        let last = completers.pop().unwrap();
        for stale in completers {
            assert!(stale.is_withdrawn());
            assert_eq!(stale.complete(13), Err(13));
        }
        assert_eq!(last.complete(7), Ok(()));
        assert_eq!(performer.join(), 7);
        assert_eq!(withdrawn.get(), 4);
    });
}

#[test]
fn c65_the_decider_leaves_before_its_performer() {
    // The operation, its cell and its nodes die with the performer's frame right after the wake; a decider that looked at them
    // later would be caught here by Miri and the sanitizers, and by the pattern that overwrites the frame.
    under_stress(|on| {
        let n = rounds(2_000, 1_000_000);
        let (tx, rx) = channel::<[u64; 8]>(0);
        let sender = on.spawn(move || {
            for i in 0..n {
                frame(|| match i % 2 {
                    0 => tx.send([i; 8]).unwrap(),
                    _ => choice((never(), tx.send_op([i; 8]))).perform().unwrap(),
                });
                frame(|| [0xDEAD_BEEF_u64; 64]);
            }
        });
        for i in 0..n {
            let block = frame(|| match i % 3 {
                0 => choice((rx.recv_op(), rx.recv_op())).perform().unwrap(),
                _ => rx.recv().unwrap(),
            });
            frame(|| [0xDEAD_BEEF_u64; 64]);
            assert_eq!(block, [i; 8]);
        }
        sender.join();
    });
}

/// A stack frame of its own.
#[inline(never)]
fn frame<T>(f: impl FnOnce() -> T) -> T {
    std::hint::black_box(f())
}

#[test]
fn c65_ends_and_events_dropped_right_after_the_wake() {
    under_stress(|on| {
        for i in 0..rounds(500, 500_000) {
            let (tx, rx) = channel::<u64>(0);
            let receiver = on.spawn(move || rx.recv());
            let sender = on.spawn(move || tx.send(i).is_ok());
            assert_eq!((receiver.join(), sender.join()), (Ok(i), true));
            let cond = fibers::Cond::new();
            let waiter = {
                let cond = cond.clone();
                on.spawn(move || cond.wait())
            };
            on.spawn(move || cond.signal()).join();
            waiter.join();
        }
    });
}

#[test]
fn c58_threads_meet_whoever_is_there() {
    // A plain thread against performers of every kind, in both directions, lone and in choices. (Pairings with futures: later.)
    under_stress(|on| {
        let n = rounds(1_000, 200_000);
        let (to_tx, to_rx) = channel::<u64>(0);
        let (from_tx, from_rx) = channel::<u64>(0);
        let echo = thread::spawn(move || {
            for i in 0..n {
                let v = match i % 2 {
                    0 => to_rx.recv(),
                    _ => choice((to_rx.recv_op(), to_rx.recv_op()))
                        .timeout(Duration::from_secs(3600))
                        .perform()
                        .unwrap(),
                };
                match i % 3 {
                    0 => choice((from_tx.send_op(v.unwrap()), never())).perform().unwrap(),
                    _ => from_tx.send(v.unwrap()).unwrap(),
                }
            }
        });
        for i in 0..n {
            let mut sent = Some(i);
            match i % 5 {
                0 => choice((to_tx.send_slot_op(&mut sent).wrap(|s| s.is_ok()), never())).perform(),
                _ => to_tx.send(i).is_ok(),
            };
            let got = match i % 4 {
                0 => from_rx.recv_timeout(Duration::from_secs(3600)).unwrap(),
                1 => choice((from_rx.recv_op(), never())).perform().unwrap(),
                _ => from_rx.recv().unwrap(),
            };
            assert_eq!(got, i);
        }
        on.eventually(|| echo.is_finished());
        echo.join().unwrap();
    });
}

#[test]
fn c58_a_crowd_of_both_kinds() {
    under_stress(|on: On| {
        let n = rounds(1_000, 200_000);
        let ends: [_; 2] = std::array::from_fn(|_| channel::<u64>(0));
        let received = Counter::default();
        let play = |sends: bool| {
            let (txs, rxs) = (ends.each_ref().map(|e| e.0.clone()), ends.each_ref().map(|e| e.1.clone()));
            let received = received.clone();
            move || {
                for i in 0..n {
                    match sends {
                        true => choice((txs[0].send_op(i), txs[1].send_op(i))).perform().unwrap(),
                        false => drop((
                            choice((rxs[1].recv_op(), rxs[0].recv_op())).perform().unwrap(),
                            received.add(),
                        )),
                    }
                }
            }
        };
        let crowd = [
            on.spawn(play(true)),
            on.spawn(play(false)),
            Task::Thread(thread::spawn(play(true))),
            Task::Thread(thread::spawn(play(false))),
        ];
        for task in crowd {
            on.eventually(|| task.is_finished());
            task.join();
        }
        assert_eq!(received.get(), 2 * n);
    });
}
