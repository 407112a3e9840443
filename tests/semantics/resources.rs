//! What losing branches and timeouts leave behind: nothing (cases 51 to 57).

use crate::{everywhere, under_stress};
use fibers::op::{always, choice, never};
use fibers::{Cond, Elapsed, Op, channel, time, unbounded};
use fibers_tests::{Counter, Rng, rounds};
use std::time::{Duration, Instant};

#[test]
fn c51_losers_do_not_pile_up_on_a_quiet_channel() {
    under_stress(|on| {
        let n = rounds(5_000, 10_000_000);
        let (tx, data) = channel::<u64>(0);
        let (quit_tx, quit) = channel::<()>(0);
        let sender = {
            let quit_tx = quit_tx.clone();
            on.spawn(move || {
                let mut most = 0;
                for i in 0..n {
                    tx.send(i).unwrap();
                    most = most.max(quit_tx.waiting_receivers());
                }
                most
            })
        };
        let mut sum = 0;
        loop {
            let received = choice((quit.recv_op().wrap(|_| None), data.recv_op().wrap(|v| v.ok()))).perform();
            assert!(quit_tx.waiting_receivers() <= 1);
            match received {
                Some(v) => sum += v,
                None => break,
            }
        }
        assert_eq!(sum, n * (n - 1) / 2);
        assert!(sender.join() <= 1);
        assert_eq!(quit_tx.waiting_receivers(), 0);
    });
}

#[test]
fn c52_not_even_behind_a_live_waiter() {
    under_stress(|on| {
        let n = rounds(5_000, 10_000_000);
        let (tx, data) = channel::<u64>(0);
        let (quit_tx, quit) = channel::<()>(0);
        // Stands at the head of the queue all the time.
        let live = {
            let quit = quit.clone();
            on.spawn(move || quit.recv())
        };
        on.eventually(|| quit_tx.waiting_receivers() == 1);
        let sender = on.spawn(move || (0..n).for_each(|i| tx.send(i).unwrap()));
        while choice((quit.recv_op().wrap(|_| false), data.recv_op().wrap(|v| v.is_ok()))).perform() {
            assert_eq!(quit_tx.waiting_receivers(), 1);
        }
        sender.join();
        quit_tx.send(()).unwrap();
        assert_eq!(live.join(), Ok(()));
    });
}

#[test]
fn c52_with_many_selects_on_one_quiet_channel() {
    under_stress(|on| {
        let n = rounds(2_000, 1_000_000);
        let (quit_tx, quit) = channel::<()>(0);
        let pairs: Vec<_> = (0..6)
            .map(|_| {
                let (tx, data) = channel::<u64>(0);
                let quit = quit.clone();
                let selects = on.spawn(move || {
                    let mut got = 0;
                    while choice((data.recv_op().wrap(|v| v.is_ok()), quit.recv_op().wrap(|_| false))).perform() {
                        got += 1;
                    }
                    got
                });
                (selects, on.spawn(move || (0..n).for_each(|i| tx.send(i).unwrap())))
            })
            .collect();
        let mut looks = 0;
        while !pairs.iter().all(|(selects, _)| selects.is_finished()) {
            assert!(quit_tx.waiting_receivers() <= 6);
            looks += 1;
            on.pause();
        }
        assert!(looks > 0);
        for (selects, sends) in pairs {
            sends.join();
            assert_eq!(selects.join(), n);
        }
        assert_eq!(quit_tx.waiting_receivers(), 0);
    });
}

#[test]
fn c53_losing_timeouts_leave_no_timer() {
    // Each round arms a timeout that would go off long after; hidden in wraps and at every position of a choice. If they
    // stayed, a million of them would show in the time that this takes and in the memory that it needs; that the wheel is
    // empty afterwards is seen by its fibers' being reported as deadlocked (see `runtime.rs`).
    under_stress(|on| {
        let n = rounds(3_000, 10_000_000);
        let (tx, rx) = channel::<u64>(0);
        let echo = on.spawn(move || (0..n).for_each(|i| tx.send(i).unwrap()));
        let long = Duration::from_secs(3600);
        for i in 0..n {
            let receive = rx.recv_op().wrap(|v| v.unwrap());
            let hour = || time::sleep_op(long).wrap(|()| u64::MAX);
            let got = match i % 5 {
                0 => receive.timeout(long).perform().unwrap(),
                1 => choice((hour(), receive)).perform(),
                2 => choice((receive, hour().wrap(|v| v), never(), hour())).perform(),
                3 => choice(vec![
                    hour().boxed(),
                    hour().or(receive).boxed(),
                    time::after(long).wrap(|()| 0).boxed(),
                ])
                .perform(),
                _ => receive.timeout(long).wrap(|v| v.unwrap()).timeout(long).perform().unwrap(),
            };
            assert_eq!(got, i);
        }
        echo.join();
    });
}

#[test]
fn c53_cancelled_through_every_combinator() {
    // A timeout of a moment that lost must not decide the performer's next perform.
    everywhere(|on| {
        let (tx, rx) = channel::<u64>(0);
        let n = rounds(100, 10_000);
        let echo = on.spawn(move || {
            for i in 0..n {
                tx.send(i).unwrap();
            }
            tx
        });
        let moment = Duration::from_micros(300);
        for i in 0..n {
            loop {
                let op = choice((
                    never(),
                    time::sleep_op(moment).wrap(|()| None).boxed(),
                    rx.recv_op().wrap(|v| v.ok()).boxed(),
                ));
                if let Some(v) = op.perform() {
                    assert_eq!(v, i);
                    break;
                }
            }
            // Twice as long as the timeout that lost: this must be neither early nor decided by it.
            if i % 20 == 0 {
                let before = Instant::now();
                assert_eq!(never::<()>().timeout(2 * moment).perform(), Err(Elapsed));
                assert!(before.elapsed() >= 2 * moment);
            }
        }
        drop(echo.join());
    });
}

#[test]
fn c54_timeout_and_peer_at_the_same_instant() {
    under_stress(|on| {
        let n = rounds(800, 1_000_000);
        let (tx, rx) = channel::<u64>(0);
        let (start, started) = channel::<u64>(0);
        let peer = on.spawn(move || {
            let (mut sent, mut rng) = (0, Rng::new(54));
            for i in started {
                time::sleep(Duration::from_micros(rng.below(130)));
                match tx.try_send(i) {
                    Ok(()) => sent += 1,
                    Err(error) => assert_eq!(error.into_inner(), i),
                }
            }
            sent
        });
        let mut rng = Rng::new(540);
        let mut received = 0;
        for i in 0..n {
            start.send(i).unwrap();
            match rx.recv_timeout(Duration::from_micros(rng.below(130))) {
                Ok(v) => received += (assert_eq!(v, i), 1).1,
                Err(error) => assert_eq!(error, fibers::RecvTimeoutError::Timeout),
            }
            assert_eq!(rx.waiting_receivers(), 0);
        }
        drop(start);
        assert_eq!(peer.join(), received);
    });
}

#[test]
fn c55_a_timer_cancelled_from_elsewhere() {
    // The winner that makes the timeout lose comes from another worker (or thread) than the one that armed it.
    under_stress(|on| {
        let n = rounds(1_000, 1_000_000);
        let ends: [_; 2] = std::array::from_fn(|_| channel::<u64>(0));
        let performers: Vec<_> = (0..2)
            .map(|i| {
                let (tx, rx) = (ends[i].0.clone(), ends[1 - i].1.clone());
                let body = move || {
                    for v in 0..n {
                        if i == 0 {
                            tx.send(v).unwrap();
                        }
                        assert_eq!(rx.recv_timeout(Duration::from_secs(3600)), Ok(v));
                        if i == 1 {
                            tx.send(v).unwrap();
                        }
                    }
                };
                match on {
                    fibers_tests::On::Fibers(workers) => {
                        let fiber = fibers::fiber::Builder::new().worker(i % workers).spawn(body);
                        fibers_tests::Task::Fiber(fiber.unwrap())
                    }
                    fibers_tests::On::Threads => on.spawn(body),
                }
            })
            .collect();
        performers.into_iter().for_each(|p| p.join());
    });
}

#[test]
fn c56_a_cond_wakes_each_waiter_once() {
    under_stress(|on| {
        for i in 0..rounds(150, 100_000) {
            let cond = Cond::new();
            let woken = Counter::default();
            let waiters: Vec<_> = (0..20)
                .map(|k| {
                    let (cond, woken) = (cond.clone(), woken.clone());
                    on.spawn(move || {
                        match k % 3 {
                            0 => cond.wait(),
                            1 => choice((never(), cond.wait_op(), cond.wait_op())).perform(),
                            _ => cond.wait_op().timeout(Duration::from_secs(3600)).perform().unwrap(),
                        }
                        woken.add();
                    })
                })
                .collect();
            // Before, during or after their registration.
            (0..i % 12).for_each(|_| on.pause());
            cond.signal();
            cond.signal();
            waiters.into_iter().for_each(|w| w.join());
            assert_eq!(woken.get(), 20);
            assert!(cond.is_signalled());
            cond.wait();
            assert_eq!(cond.wait_op().try_perform(), Some(()));
        }
    });
}

#[test]
fn c57_broadcast_while_waiters_unlink() {
    // While the cond releases its waiters batch by batch, others of its queue are decided elsewhere and unlink themselves.
    under_stress(|on| {
        for i in 0..rounds(60, 100_000) {
            let cond = Cond::new();
            let (tx, rx) = unbounded::<u64>();
            let n = 40;
            let waiters: Vec<_> = (0..n)
                .map(|_| {
                    let (cond, rx) = (cond.clone(), rx.clone());
                    on.spawn(move || choice((cond.wait_op().wrap(|()| 0), rx.recv_op().wrap(|v| v.unwrap()))).perform())
                })
                .collect();
            if i % 2 == 0 {
                on.eventually(|| tx.waiting_receivers() == n);
            }
            let sender = {
                let tx = tx.clone();
                on.spawn(move || (0..n / 2).for_each(|_| tx.send(1).unwrap()))
            };
            let signaller = {
                let cond = cond.clone();
                on.spawn(move || cond.signal())
            };
            let received: u64 = waiters.into_iter().map(|w| w.join()).sum();
            sender.join();
            signaller.join();
            assert_eq!(received as usize + rx.len(), n / 2);
            assert_eq!(choice((cond.wait_op().wrap(|()| 1), always(1))).perform(), 1);
        }
    });
}
