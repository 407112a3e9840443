//! Mailbox: a send never waits, and the order is kept.

use crate::{join_all, mixed};
use fibers::sync::Mailbox;
use fibers::{op, select};
use fibers_tests::{Drops, everywhere, rounds, under_stress};

#[test]
fn keeps_the_order() {
    let mailbox = Mailbox::new();
    (0..100).for_each(|i| mailbox.send(i));
    assert_eq!((mailbox.len(), mailbox.is_empty()), (100, false));
    assert!((0..100).all(|i| mailbox.recv() == i));
    assert_eq!((mailbox.try_recv(), mailbox.is_empty()), (None, true));
    let filled: Mailbox<_> = ["a", "b"].into_iter().collect();
    assert_eq!((filled.recv(), filled.clone().recv()), ("a", "b"));
    assert!(filled.same(&filled.clone()) && !filled.same(&Mailbox::default()));
    assert_eq!(format!("{filled:?}"), "Mailbox { len: 0 }");
}

/// Both arrows; the send arm is always ready, and one that loses drops its value.
#[test]
fn in_select() {
    everywhere(|_| {
        let drops = Drops::default();
        let mailbox = Mailbox::new();
        let n = rounds(300, 1_000_000);
        let mut sent = 0;
        for _ in 0..n {
            select! {
                mailbox <- drops.make(()) => sent += 1,
                () = op::always(()) => {}
            }
        }
        assert_eq!(drops.live(), sent);
        for _ in 0..sent {
            select! {
                v = <-mailbox => drop(v),
                default => panic!("a value is lost"),
            }
        }
        assert_eq!((drops.live(), mailbox.len()), (0, 0));
    });
}

#[test]
fn every_value_arrives_once() {
    under_stress(|on| {
        let drops = Drops::default();
        let mailbox = Mailbox::new();
        let n = rounds(100, 100_000);
        let senders = (0..4)
            .map(|i| {
                let (mailbox, drops) = (mailbox.clone(), drops.clone());
                mixed(on, i, move || (0..n).for_each(|v| mailbox.send(drops.make(i * n + v))))
            })
            .collect();
        let receivers = (0..4)
            .map(|i| {
                let mailbox = mailbox.clone();
                mixed(on, i, move || (0..n).map(|_| mailbox.recv().value).collect::<Vec<_>>())
            })
            .collect();
        join_all(on, senders);
        let mut all = join_all(on, receivers).concat();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..4 * n));
        assert_eq!(drops.live(), 0);
    });
}
