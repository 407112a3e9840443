//! Nacks and abort actions: told exactly when a subtree was not chosen (cases 15 to 26).

use crate::{everywhere, under_stress};
use fibers::op::{Nack, always, base, choice, guard, never, with_nack};
use fibers::{Elapsed, Op, Receiver, Sender, channel, time, unbounded};
use fibers_tests::{Counter, Drops, On, Rng, panics_with, quiet_panic, rounds};
use std::cell::RefCell;
use std::sync::Mutex;
use std::time::Duration;

const MOMENT: Duration = Duration::from_millis(2);

/// `op`, with its nack left in `place`.
fn nacked<'a, O: Op + 'a>(place: &'a RefCell<Option<Nack>>, op: O) -> impl Op<Output = O::Output> + 'a {
    with_nack(move |nack| {
        *place.borrow_mut() = Some(nack);
        op
    })
}

fn places<const N: usize>() -> [RefCell<Option<Nack>>; N] {
    [const { RefCell::new(None) }; N]
}

fn fired<const N: usize>(places: &[RefCell<Option<Nack>>; N]) -> [bool; N] {
    places
        .each_ref()
        .map(|place| place.borrow().as_ref().expect("the nack function ran").is_fired())
}

#[test]
fn c15_all_losers_and_not_the_winner() {
    everywhere(|_| {
        for _ in 0..rounds(50, 5_000) {
            let p = places::<4>();
            let winner = choice((
                nacked(&p[0], always(0)),
                nacked(&p[1], always(1)).boxed().wrap(|v| v),
                choice(vec![nacked(&p[2], always(2)).label("two")]),
                Some(nacked(&p[3], always(3)).timeout(MOMENT)).wrap(|v| v.unwrap()),
            ));
            let winner = winner.perform();
            assert_eq!(fired(&p), std::array::from_fn(|i| i != winner));
        }
    });
}

#[test]
fn c15_after_a_wait() {
    everywhere(|on| {
        for chosen in 0..3 {
            let ends: [_; 3] = std::array::from_fn(|_| channel::<()>(0));
            let receivers = ends.each_ref().map(|(_, rx)| rx.clone());
            let performer = on.spawn(move || {
                let (p, aborted) = (places::<3>(), RefCell::new(vec![]));
                let branch = |i: usize| {
                    let aborted = &aborted;
                    nacked(&p[i], receivers[i].recv_op()).on_abort(move || aborted.borrow_mut().push(i))
                };
                choice([branch(0), branch(1), branch(2)]).perform().unwrap();
                let fired = fired(&p);
                (fired, aborted.into_inner())
            });
            on.eventually(|| ends.iter().all(|(tx, _)| tx.waiting_receivers() == 1));
            ends[chosen].0.send(()).unwrap();
            let (fired, aborted) = performer.join();
            assert_eq!(fired, std::array::from_fn(|i| i != chosen));
            assert_eq!(aborted, (0..3).filter(|i| *i != chosen).collect::<Vec<_>>());
        }
    });
}

#[test]
fn c16_inner_winner_fires_neither() {
    everywhere(|_| {
        let p = places::<3>();
        let op = choice((
            nacked(&p[0], choice((nacked(&p[1], always(1)), never()))),
            nacked(&p[2], never()),
        ));
        assert_eq!(op.perform(), 1);
        assert_eq!(fired(&p), [false, false, true]);
    });
}

#[test]
fn c17_a_sibling_under_the_outer_fires_the_inner() {
    everywhere(|_| {
        let p = places::<3>();
        let op = nacked(
            &p[0],
            choice((nacked(&p[1], never()), nacked(&p[2], never()).on_abort(|| ()), always(1))),
        );
        assert_eq!(choice((op, never())).perform(), 1);
        assert_eq!(fired(&p), [false, true, true]);
    });
}

#[test]
fn c18_a_subtree_of_never_is_nacked() {
    everywhere(|on| {
        let p = places::<3>();
        let op = choice((
            nacked(&p[0], never()),
            nacked(&p[1], choice(Vec::<fibers::op::Never<u32>>::new())),
            nacked(&p[2], None::<fibers::op::Never<u32>>),
            always(1),
        ));
        assert_eq!(op.perform(), 1);
        assert_eq!(fired(&p), [true; 3]);
        // The same after a wait.
        let (tx, rx) = channel::<()>(0);
        let performer = on.spawn(move || {
            let p = places::<1>();
            choice((nacked(&p[0], never()), rx.recv_op().wrap(|v| v.unwrap()))).perform();
            fired(&p)
        });
        on.eventually(|| tx.waiting_receivers() == 1);
        tx.send(()).unwrap();
        assert_eq!(performer.join(), [true]);
    });
}

#[test]
fn c19_an_op_that_waits_for_its_own_nack_ends() {
    everywhere(|on| {
        assert_eq!(with_nack(|nack| nack).try_perform(), None);
        assert_eq!(with_nack(|nack| nack).timeout(MOMENT).perform(), Err(Elapsed));
        assert_eq!(choice((with_nack(|nack| nack).wrap(|()| 1), always(2))).perform(), 2);
        let (tx, rx) = channel::<()>(0);
        let performer = on.spawn(move || {
            let own = with_nack(|outer| with_nack(|inner| choice((inner, outer))));
            choice((own.wrap(|()| "own"), rx.recv_op().wrap(|_| "received"))).perform()
        });
        on.eventually(|| tx.waiting_receivers() == 1);
        tx.send(()).unwrap();
        assert_eq!(performer.join(), "received");
    });
}

#[test]
fn c20_a_failed_try_fires() {
    everywhere(|_| {
        let (tx, rx) = channel::<u32>(0);
        let p = places::<3>();
        let aborted = Counter::default();
        let op = choice((
            nacked(&p[0], rx.recv_op().wrap(|_| 0)),
            nacked(&p[1], nacked(&p[2], tx.send_op(1).wrap(|_| 1)).on_abort(|| aborted.add())),
        ));
        let default = op.perform_or(|| {
            assert_eq!(fired(&p), [true; 3]);
            2
        });
        assert_eq!((default, aborted.get()), (2, 1));
    });
}

#[test]
fn c20_a_try_that_succeeds_fires_the_others_only() {
    everywhere(|_| {
        let p = places::<2>();
        assert_eq!(
            choice((nacked(&p[0], always(1)), nacked(&p[1], never()))).try_perform(),
            Some(1)
        );
        assert_eq!(fired(&p), [false, true]);
    });
}

#[test]
fn c21_a_timeout_that_wins_fires() {
    everywhere(|_| {
        let (_tx, rx) = channel::<u32>(0);
        let p = places::<2>();
        let op = nacked(&p[0], nacked(&p[1], rx.recv_op()).wrap(|_| ()).timeout(MOMENT));
        assert_eq!(op.perform(), Err(Elapsed));
        // The timeout belongs to the outer subtree, which was chosen.
        assert_eq!(fired(&p), [false, true]);
        assert_eq!(rx.waiting_receivers(), 0);
    });
}

#[test]
fn c22_nacks_fire_before_the_winners_wrap() {
    everywhere(|on| {
        let (tx, rx) = channel::<u32>(0);
        let performer = on.spawn(move || {
            let p = places::<2>();
            let aborted = Counter::default();
            let op = choice((
                nacked(&p[0], never()).on_abort(|| aborted.add()),
                nacked(&p[1], rx.recv_op()).wrap(|_| {
                    assert_eq!((fired(&p), aborted.get()), ([true, false], 1));
                    // What waits for the nack goes on while this wrap is still running.
                    p[0].borrow().clone().unwrap().perform();
                }),
            ));
            op.perform();
        });
        on.eventually(|| tx.waiting_receivers() == 1);
        tx.send(1).unwrap();
        performer.join();
    });
}

#[test]
fn c22_a_panicking_wrap_changes_nothing() {
    everywhere(|_| {
        let (tx, rx) = channel::<u32>(1);
        let p = places::<2>();
        let aborted = Counter::default();
        tx.send(1).unwrap();
        panics_with("wrap", || {
            let winner = nacked(&p[0], rx.recv_op())
                .on_abort(|| aborted.add())
                .wrap(|_| quiet_panic("wrap"));
            choice((winner, nacked(&p[1], never()))).perform();
        });
        assert_eq!((fired(&p), aborted.get()), ([false, true], 0));
        assert!(rx.is_empty()); // committed all the same
    });
}

#[test]
fn c24_a_panic_after_the_nack_escaped() {
    everywhere(|on| {
        let (escape, escaped) = unbounded::<Nack>();
        let observer = on.spawn(move || {
            for nack in escaped {
                nack.perform();
            }
        });
        panics_with("nack function", || {
            with_nack(|nack| -> fibers::op::Never<()> {
                escape.send(nack).unwrap();
                quiet_panic("nack function")
            })
            .perform();
        });
        panics_with("guard beneath", || {
            with_nack(|nack| {
                escape.send(nack).unwrap();
                guard(|| -> fibers::op::Never<()> { quiet_panic("guard beneath") })
            })
            .try_perform();
        });
        drop(escape);
        observer.join();
    });
}

#[test]
fn c24_a_panic_in_a_base_function_fires() {
    everywhere(|on| {
        let p = places::<3>();
        panics_with("try", || {
            let op = base(|| -> Option<u32> { quiet_panic("try") }, |_| (), || ());
            nacked(&p[0], op).perform();
        });
        panics_with("publish", || {
            let op = base(|| None::<u32>, |_| quiet_panic("publish"), || ());
            nacked(&p[1], op).perform();
        });
        let (tx, rx) = channel::<u32>(0);
        panics_with("publish", || {
            let op = base(|| None::<u32>, |_| quiet_panic("publish"), || ());
            nacked(
                &p[2],
                choice((rx.recv_op().wrap(|v| v.unwrap()), op, rx.recv_op().wrap(|v| v.unwrap()))),
            )
            .perform();
        });
        assert_eq!(fired(&p), [true; 3]);
        assert_eq!(tx.waiting_receivers(), 0);
        on.pause();
    });
}

#[test]
fn c25_a_nack_is_observable_for_ever_by_many() {
    everywhere(|on| {
        let (give, given) = channel::<Nack>(1);
        let (go_tx, go) = channel::<()>(0);
        let performer = on.spawn(move || {
            let op = with_nack(|nack| {
                give.send(nack).unwrap();
                never()
            });
            choice((op, go.recv_op())).perform().unwrap();
        });
        let nack = given.recv().unwrap();
        let n = rounds(60, 5_000);
        let seen = Counter::default();
        let observers: Vec<_> = (0..n)
            .map(|i| {
                let (nack, seen) = (nack.clone(), seen.clone());
                on.spawn(move || {
                    match i % 3 {
                        0 => nack.perform(),
                        1 => choice((nack, never())).perform(),
                        _ => while nack.clone().timeout(Duration::from_micros(50)).perform().is_err() {},
                    }
                    seen.add();
                })
            })
            .collect();
        on.pause();
        assert_eq!((nack.is_fired(), seen.get()), (false, 0));
        go_tx.send(()).unwrap();
        observers.into_iter().for_each(|o| o.join());
        performer.join();
        // Those who come later need not wait.
        for _ in 0..3 {
            assert_eq!(nack.clone().try_perform(), Some(()));
            nack.clone().perform();
        }
        assert_eq!(seen.get(), n);
    });
}

/// What a client sends: where to answer, and how to learn that it has given up.
type Request<T> = (Sender<T>, Nack);

/// Lends one resource to whoever asks, and hears either that it was taken or that the client has gone.
fn lender<T>(mut resource: T, requests: Receiver<Request<T>>, returned: Receiver<T>) -> (T, u64, u64) {
    let (mut lent, mut nacked) = (0, 0);
    for (reply, nack) in requests {
        let mut slot = Some(resource);
        let taken = choice((reply.send_slot_op(&mut slot).wrap(|sent| sent.is_ok()), nack.wrap(|()| false))).perform();
        resource = match slot {
            Some(kept) => kept,
            None => returned.recv().unwrap(),
        };
        lent += u64::from(taken);
        nacked += u64::from(!taken);
    }
    (resource, lent, nacked)
}

#[test]
fn c26_a_server_with_nacks_loses_no_resource() {
    under_stress(|on: On| {
        let drops = Drops::default();
        let (request, requests) = unbounded::<Request<_>>();
        let (give_back, returned) = channel(0);
        let resource = drops.make(Mutex::new(0u64));
        let server = on.spawn(move || lender(resource, requests, returned));
        let n = rounds(500, 100_000);
        let clients: Vec<_> = (0..4)
            .map(|client| {
                let (request, give_back) = (request.clone(), give_back.clone());
                let mut rng = Rng::new(client);
                on.spawn(move || {
                    let mut got = 0;
                    for _ in 0..n {
                        let (reply, answer) = channel(0);
                        let ask = with_nack(|nack| {
                            request.send((reply, nack)).unwrap();
                            answer.recv_op()
                        });
                        let patience = Duration::from_micros(rng.below(40));
                        if let Ok(resource) = ask.timeout(patience).perform() {
                            let resource = resource.expect("the server answers or is told");
                            *resource.value.lock().unwrap() += 1;
                            got += 1;
                            give_back.send(resource).unwrap();
                        }
                    }
                    got
                })
            })
            .collect();
        drop((request, give_back));
        let got: u64 = clients.into_iter().map(|client| client.join()).sum();
        let (resource, lent, nacked) = server.join();
        assert_eq!((lent, lent + nacked), (got, 4 * n));
        assert_eq!((*resource.value.lock().unwrap(), drops.live()), (got, 1));
        drop(resource);
        assert_eq!((drops.made(), drops.live()), (1, 0));
    });
}

#[test]
fn c21_a_nack_and_a_late_answer_have_one_outcome() {
    // The server's answer races the client's timeout: either both commit, or the nack fires and the value stays with the server.
    under_stress(|on| {
        let n = rounds(500, 200_000);
        let (request, requests) = unbounded::<Request<u64>>();
        let server = on.spawn(move || {
            let mut sent = 0;
            for (reply, nack) in requests {
                sent += choice((reply.send_op(1).wrap(|sent| u64::from(sent.is_ok())), nack.wrap(|()| 0))).perform();
            }
            sent
        });
        let mut got = 0;
        for i in 0..n {
            let (reply, answer) = channel(0);
            let ask = with_nack(|nack| {
                request.send((reply, nack)).unwrap();
                answer.recv_op()
            });
            got += choice((
                ask.wrap(|v| v.unwrap()),
                time::sleep_op(Duration::from_micros(i % 9)).wrap(|()| 0),
            ))
            .perform();
        }
        drop(request);
        assert_eq!(server.join(), got);
    });
}
