//! The laws of the combinators (cases 1 to 9).

use crate::everywhere;
use fibers::op::{Never, always, biased, choice, never};
use fibers::{Elapsed, Op, Receiver, Sender, channel, time};
use fibers_tests::{Counter, On, assert_share, rounds};
use std::sync::LazyLock;
use std::time::Duration;

const MOMENT: Duration = Duration::from_millis(3);

#[test]
fn c01_empty_choice_blocks() {
    everywhere(|_| {
        let nothing = || choice(Vec::<Never<u32>>::new());
        assert_eq!(nothing().timeout(MOMENT).perform(), Err(Elapsed));
        assert_eq!(choice([never(), never::<u32>()]).timeout(MOMENT).perform(), Err(Elapsed));
        assert_eq!(None::<Never<u32>>.timeout(MOMENT).perform(), Err(Elapsed));
    });
}

#[test]
fn c01_empty_choice_takes_the_default() {
    everywhere(|_| {
        assert_eq!(choice(Vec::<Never<u32>>::new()).try_perform(), None);
        assert_eq!(biased(Vec::<Never<u32>>::new()).perform_or(|| 5), 5);
        assert_eq!(choice(std::iter::empty::<Never<u32>>()).perform_or(|| 6), 6);
        assert_eq!(choice(Vec::<Never<u32>>::new()).wrap(|v| v + 1).perform_or(|| 7), 7);
    });
}

#[test]
fn c02_never_is_the_identity() {
    everywhere(|on| {
        for _ in 0..rounds(200, 20_000) {
            assert_eq!(choice((never(), always(1))).perform(), 1);
            assert_eq!(choice((always(1), never())).perform(), 1);
            assert_eq!(
                choice((choice([never::<u32>()]), None::<Never<u32>>, always(1).boxed())).try_perform(),
                Some(1)
            );
        }
        // An `e` that is not ready yet is met all the same.
        let (tx, rx) = channel::<u32>(0);
        let performer = {
            let rx = rx.clone();
            on.spawn(move || choice((never(), rx.recv_op(), never())).perform())
        };
        on.eventually(|| tx.waiting_receivers() == 1);
        tx.send(9).unwrap();
        assert_eq!(performer.join(), Ok(9));
    });
}

#[test]
fn c02_an_empty_slot_is_never() {
    everywhere(|_| {
        let (tx, rx) = channel::<u32>(1);
        let mut slot = None;
        assert_eq!(tx.send_slot_op(&mut slot).try_perform(), None);
        let won = choice((tx.send_slot_op(&mut slot).wrap(|_| "sent"), always("other")));
        assert_eq!(won.perform(), "other");
        assert_eq!(tx.send_slot_op(&mut slot).timeout(MOMENT).perform(), Err(Elapsed));
        assert!(rx.is_empty());
    });
}

/// Absent branches and nested lists shift the numbers of the leaves: whoever waits at all of them gets what the right one had.
#[test]
fn c02_absent_branches_shift_no_others() {
    everywhere(|on| {
        let (tx, rx): (Vec<_>, Vec<_>) = (0..8).map(|_| channel::<usize>(0)).unzip();
        let performer = on.spawn(move || {
            let branch = |i: usize| {
                let leaves = choice(rx[i..][..i % 3].iter().map(Receiver::recv_op).collect::<Vec<_>>());
                (!i.is_multiple_of(3)).then_some(leaves)
            };
            let once = || choice((0..8).map(branch).collect::<Vec<_>>()).perform();
            (0..8).map(|_| once().unwrap()).collect::<Vec<_>>()
        });
        // Branches 0, 3 and 6 are absent; the others are 1, 2 3, 4, 5 6 and 7.
        let order = [5, 1, 7, 2, 7, 4, 3, 6];
        for i in order {
            on.eventually(|| tx[i].waiting_receivers() > 0);
            tx[i].send(i).unwrap();
        }
        assert_eq!(performer.join(), order);
    });
}

#[test]
fn c03_nested_choices_are_uniform_over_leaves() {
    everywhere(|_| {
        let n = rounds(8_000, 400_000);
        let mut counts = [[0; 4]; 3];
        for _ in 0..n {
            counts[0][choice((always(0), choice((always(1), choice([always(2), always(3)]))))).perform()] += 1;
            counts[1][choice(vec![choice(vec![always(0), always(1), always(2)]), choice(vec![always(3)])]).perform()] += 1;
            let boxed = choice((
                always(0).or(always(1)).boxed(),
                always(2).wrap(|v| v).boxed(),
                Some(always(3)).boxed(),
            ));
            counts[2][boxed.try_perform().unwrap()] += 1;
        }
        for count in counts.into_iter().flatten() {
            assert_share(count, n, 0.25);
        }
    });
}

#[test]
fn c03_every_leaf_of_a_nested_choice_can_be_met() {
    everywhere(|on| {
        let ends: Vec<_> = (0..5).map(|_| channel::<u32>(0)).collect();
        for (i, (tx, _)) in ends.iter().enumerate() {
            let receivers: Vec<_> = ends.iter().map(|(_, rx)| rx.clone()).collect();
            let performer = on.spawn(move || {
                let leaf = |i: usize| receivers[i].recv_op().wrap(move |v| (i, v.unwrap()));
                let nested = choice((
                    leaf(0),
                    choice([leaf(1), leaf(2)]),
                    choice(vec![choice(vec![leaf(3)]), choice(vec![leaf(4)])]),
                ));
                nested.perform()
            });
            on.eventually(|| ends.iter().all(|(tx, _)| tx.waiting_receivers() == 1));
            tx.send(7).unwrap();
            assert_eq!(performer.join(), (i, 7));
            assert!(ends.iter().all(|(tx, _)| tx.waiting_receivers() == 0));
        }
    });
}

#[test]
fn c04_wrap_of_a_choice_wraps_each_leaf() {
    everywhere(|on| {
        for chosen in 0..3u32 {
            let ran = Counter::default();
            let ends: Vec<_> = (0..3).map(|_| channel::<u32>(0)).collect();
            let receivers: Vec<_> = ends.iter().map(|(_, rx)| rx.clone()).collect();
            let performer = {
                let ran = ran.clone();
                on.spawn(move || {
                    let wrapped = choice(receivers.iter().map(Receiver::recv_op)).wrap(|v| {
                        ran.add();
                        v.unwrap() * 10
                    });
                    wrapped.perform()
                })
            };
            on.eventually(|| ends.iter().all(|(tx, _)| tx.waiting_receivers() == 1));
            ends[chosen as usize].0.send(chosen).unwrap();
            assert_eq!((performer.join(), ran.get()), (chosen * 10, 1));
        }
    });
}

#[test]
fn c05_wraps_compose() {
    everywhere(|_| {
        let mut log = vec![];
        let order = std::cell::RefCell::new(&mut log);
        let f = |v: u32| {
            order.borrow_mut().push("f");
            v + 1
        };
        let g = |v: u32| {
            order.borrow_mut().push("g");
            v * 2
        };
        assert_eq!(always(3).wrap(f).wrap(g).perform(), 8);
        assert_eq!(always(3).wrap(|v| g(f(v))).perform(), 8);
        assert_eq!(log, ["f", "g", "f", "g"]);
    });
}

#[test]
fn c06_wrap_runs_on_the_performer() {
    everywhere(|on| {
        let (tx, rx) = channel::<u32>(0);
        // Decided by the peer while parked, on both sides; and once without parking.
        let receiver = on.spawn(move || {
            let me = on.who();
            for _ in 0..2 {
                rx.recv_op().wrap(|v| (assert_eq!(on.who(), me), v.unwrap())).perform();
            }
        });
        on.eventually(|| tx.waiting_receivers() == 1);
        let me = on.who();
        tx.send_op(1).wrap(|v| (assert_eq!(on.who(), me), v.unwrap())).perform();
        tx.send_op(2).wrap(|v| (assert_eq!(on.who(), me), v.unwrap())).perform();
        receiver.join();
    });
}

#[test]
fn c06_wrap_of_a_loser_does_not_run() {
    everywhere(|on| {
        let (tx, rx) = channel::<u32>(0);
        let (lost_tx, lost_rx) = channel::<u32>(0);
        let lost = || panic!("the wrap of a loser");
        let performer = on.spawn(move || {
            let op = choice((
                lost_rx.recv_op().wrap(|_| lost()),
                rx.recv_op().wrap(|v| v.unwrap()),
                time::sleep_op(Duration::from_secs(3600)).wrap(|()| lost()),
            ));
            op.perform()
        });
        on.eventually(|| tx.waiting_receivers() == 1);
        tx.send(4).unwrap();
        assert_eq!(performer.join(), 4);
        assert!(lost_tx.is_closed());
        assert_eq!(never::<u32>().wrap(|_| lost()).try_perform(), None);
    });
}

#[test]
fn c07_a_clone_communicates_again() {
    everywhere(|_| {
        let (tx, rx) = channel::<u32>(4);
        let send = tx.send_op(5).wrap(|sent| sent.unwrap());
        send.clone().perform();
        send.clone().perform();
        send.perform();
        let receive = choice((rx.recv_op(), never())).wrap(|v| v.unwrap());
        assert_eq!((receive.clone().perform(), receive.clone().perform()), (5, 5));
        assert_eq!((receive.clone().try_perform(), receive.try_perform()), (Some(5), None));
    });
}

#[test]
fn c08_one_op_performed_by_many() {
    // In a static, so that one operation over it can go to many performers.
    static CHANNEL: LazyLock<(Sender<u64>, Receiver<u64>)> = LazyLock::new(|| channel(0));
    everywhere(|on| {
        let (tx, rx) = &*CHANNEL;
        let op = choice((rx.recv_op(), never())).wrap(|v| v.unwrap() + 1);
        let n = rounds(40, 1_000);
        let performers: Vec<_> = (0..n)
            .map(|_| {
                let op = op.clone();
                on.spawn(move || op.clone().perform() + op.perform())
            })
            .collect();
        for v in 0..2 * n {
            tx.send_op(v).perform().unwrap();
        }
        let sum: u64 = performers.into_iter().map(|p| p.join()).sum();
        assert_eq!(sum, (0..2 * n).map(|v| v + 1).sum());
        assert_eq!(rx.waiting_receivers(), 0);
    });
}

#[test]
fn c09_a_wrap_performs_on_the_same_channels() {
    everywhere(|on| {
        let (tx, rx) = channel::<u32>(0);
        let (back, answers) = channel::<u32>(0);
        let echo = {
            let (rx, back) = (rx.clone(), back.clone());
            on.spawn(move || {
                let twice = choice((rx.recv_op(), never())).wrap(|first| {
                    // Nothing of the outer perform is published or locked any more.
                    assert_eq!(rx.waiting_receivers(), 0);
                    let second = rx.recv_op().wrap(|v| (back.send(v.unwrap()), v.unwrap()).1).perform();
                    first.unwrap() + second
                });
                twice.perform()
            })
        };
        let sum = tx
            .send_op(1)
            .wrap(|sent| {
                sent.unwrap();
                tx.send(2).unwrap();
                answers.recv().unwrap()
            })
            .perform();
        assert_eq!((sum, echo.join()), (2, 3));
    });
}

#[test]
fn c09_a_wrap_inside_a_wrap_and_a_guard() {
    everywhere(|on: On| {
        let (tx, rx) = channel::<u32>(1);
        let nested = fibers::op::guard(|| {
            tx.try_send(1).unwrap();
            rx.recv_op()
                .wrap(|v| always(v.unwrap()).wrap(|v| v + always(1).perform()).perform())
        });
        assert_eq!(nested.wrap(|v| (on.pause(), v).1).perform(), 2);
    });
}
