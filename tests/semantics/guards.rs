//! Guards: computed once per perform, in source order, before anything is tried (cases 10 to 14).

use crate::everywhere;
use fibers::op::{always, choice, guard, never, with_nack};
use fibers::time::Timer;
use fibers::{Op, TrySendError, channel};
use fibers_tests::{Counter, assert_share, panics_with, quiet_panic, rounds};
use std::cell::RefCell;
use std::time::Duration;

#[test]
fn c10_guards_are_forced_in_source_order() {
    everywhere(|_| {
        let log = RefCell::new(vec![]);
        let g = |n: u32| {
            let log = &log;
            guard(move || {
                log.borrow_mut().push(n);
                never::<u32>()
            })
        };
        let nack = with_nack(|_| {
            log.borrow_mut().push(5);
            g(6)
        });
        let op = choice((
            g(1),
            choice([2, 3].map(|n| g(n).wrap(|v| v))).wrap(|v| v),
            g(4).boxed(),
            nack,
            Some(g(7)).label("seven"),
            [g(8), g(9)]
                .map(Some)
                .into_iter()
                .fold(never().boxed(), |a, b| a.or(b).boxed()),
            g(10).timeout(Duration::from_secs(1)).wrap(|v| v.unwrap()).on_abort(|| ()),
        ));
        assert_eq!(op.try_perform(), None);
        assert_eq!(log.take(), (1..=10).collect::<Vec<_>>());
        // Also when an earlier branch is ready, and would win.
        assert_eq!(choice((always(0), g(1), g(2))).perform(), 0);
        assert_eq!(log.take(), [1, 2]);
    });
}

#[test]
fn c10_guards_are_forced_once_per_perform() {
    everywhere(|on| {
        let (tx, rx) = channel::<u32>(0);
        let forced = Counter::default();
        let timer = Timer::new(Duration::from_secs(3600));
        let performer = {
            let (forced, timer) = (forced.clone(), timer.clone());
            on.spawn(move || {
                let op = guard(|| {
                    forced.add();
                    rx.recv_op()
                });
                choice((op.wrap(|v| v.unwrap()), timer.recv_op().wrap(|_| 0))).perform()
            })
        };
        // A reset makes the performer look at all branches again: not at the guard.
        for _ in 0..rounds(20, 1_000) {
            on.eventually(|| tx.waiting_receivers() == 1);
            assert!(timer.reset(Duration::from_secs(3600)));
        }
        tx.send(3).unwrap();
        assert_eq!((performer.join(), forced.get()), (3, 1));
    });
}

#[test]
fn c11_a_blocking_guard_stalls_nobody() {
    everywhere(|on| {
        let (tx, rx) = channel::<u32>(0);
        let (gate_tx, gate) = channel::<()>(0);
        let (in_guard_tx, in_guard) = channel::<()>(0);
        let performer = {
            let rx = rx.clone();
            on.spawn(move || {
                let slow = guard(|| {
                    in_guard_tx.send(()).unwrap();
                    gate.recv().unwrap();
                    never()
                });
                choice((rx.recv_op().wrap(|v| v.unwrap()), slow)).perform()
            })
        };
        in_guard.recv().unwrap();
        // Not published yet, although its branch stands before the guard; the channel works for others meanwhile.
        assert_eq!(tx.try_send(1), Err(TrySendError::Full(1)));
        let other = on.spawn(move || rx.recv().unwrap());
        tx.send(2).unwrap();
        assert_eq!(other.join(), 2);
        gate_tx.send(()).unwrap();
        tx.send(3).unwrap();
        assert_eq!(performer.join(), 3);
    });
}

#[test]
fn c12_what_a_guard_returns_is_flattened() {
    everywhere(|_| {
        let n = rounds(8_000, 400_000);
        let mut counts = [0; 5];
        for _ in 0..n {
            let op = choice((
                always(0),
                guard(|| choice([always(1), always(2)])),
                guard(|| guard(|| with_nack(|_| always(3).or(guard(|| always(4)))))),
            ));
            counts[op.perform()] += 1;
        }
        for count in counts {
            assert_share(count, n, 0.2);
        }
    });
}

#[test]
fn c12_a_guard_may_perform() {
    everywhere(|on| {
        let (requests, numbers) = (channel::<u32>(0), channel::<u32>(0));
        let server = on.spawn(move || {
            for v in requests.1 {
                numbers.0.send(v + 1).unwrap();
            }
        });
        let (tx, rx) = (requests.0, numbers.1);
        let op = guard(|| {
            tx.send(41).unwrap();
            rx.recv_op()
        });
        assert_eq!(op.perform(), Ok(42));
        drop(tx);
        server.join();
    });
}

#[test]
fn c13_a_panic_in_a_guard_leaves_nothing_behind() {
    everywhere(|on| {
        let (tx, rx) = channel::<u32>(0);
        let (tx2, rx2) = channel::<u32>(1);
        for _ in 0..rounds(10, 1_000) {
            panics_with("guard", || {
                let bad = guard(|| -> fibers::op::Never<()> { quiet_panic("guard") });
                choice((
                    rx.recv_op().wrap(drop),
                    tx2.send_op(1).wrap(drop),
                    tx.send_op(1).wrap(drop),
                    bad,
                ))
                .perform();
            });
        }
        assert_eq!((tx.waiting_receivers(), tx.waiting_senders()), (0, 0));
        // The second channel had room: nothing was tried before all guards had run.
        assert!(rx2.is_empty());
        let peer = on.spawn(move || rx.recv());
        tx.send(5).unwrap();
        assert_eq!(peer.join(), Ok(5));
    });
}

#[test]
fn c14_a_panic_in_a_guard_fires_the_nacks_before_it() {
    everywhere(|_| {
        let nacks = RefCell::new(vec![]);
        let aborted = Counter::default();
        let nacked = |n: u32| {
            let nacks = &nacks;
            with_nack(move |nack| {
                nacks.borrow_mut().push(nack);
                never::<u32>().wrap(move |_| n)
            })
        };
        panics_with("guard", || {
            let op = choice((
                nacked(1),
                choice(vec![2, 3].into_iter().map(|n| nacked(n).on_abort(|| aborted.add()))),
                with_nack(|outer| {
                    nacks.borrow_mut().push(outer);
                    choice((nacked(4), guard(|| -> fibers::op::Never<u32> { quiet_panic("guard") })))
                }),
                nacked(5),
            ));
            op.perform();
        });
        // The fifth was never made, since its guard had not been reached.
        let nacks = nacks.take();
        assert_eq!((nacks.len(), aborted.get()), (5, 2));
        assert!(nacks.iter().all(|nack| nack.is_fired()));
    });
}
