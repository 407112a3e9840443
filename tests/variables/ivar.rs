//! IVar: written once, and then there for everybody, for ever.

use crate::{join_all, mixed};
use fibers::op::choice;
use fibers::sync::IVar;
use fibers::{Cond, Op, channel, select};
use fibers_tests::{Drops, everywhere, rounds, under_stress};

#[test]
fn written_once() {
    let ivar = IVar::new();
    assert!(!ivar.is_full());
    assert_eq!((ivar.try_get(), ivar.get_op().try_perform()), (None, None));
    assert_eq!(format!("{ivar:?}"), "IVar(None)");
    assert_eq!(ivar.put(1), Ok(()));
    assert_eq!(ivar.put(2).unwrap_err().into_inner(), 2);
    assert_eq!((ivar.get(), ivar.wait(), ivar.try_get()), (1, &1, Some(&1)));
    assert_eq!(ivar.wait_op().try_perform(), Some(&1));
    assert_eq!(ivar.put(2).unwrap_err().to_string(), "the variable is full");
    assert!(IVar::from(3).is_full() && !IVar::<u8>::default().is_full());
    assert!(ivar.same(&ivar.clone()) && !ivar.same(&IVar::new()));
}

/// More readers than a batch of wakes has room for, lone and in choices.
#[test]
fn releases_all_who_wait() {
    everywhere(|on| {
        let ivar = IVar::new();
        let ready = fibers::WaitGroup::new();
        let readers = (0..40)
            .map(|i| {
                let (ivar, ready) = (ivar.clone(), ready.clone());
                ready.add(1);
                on.spawn(move || {
                    ready.done();
                    match i % 3 {
                        0 => ivar.get(),
                        1 => *choice((ivar.wait_op(), ivar.wait_op())).perform(),
                        _ => {
                            let never = Cond::new();
                            select! {
                                v = <-ivar => v,
                                <-never => unreachable!(),
                            }
                        }
                    }
                })
            })
            .collect();
        ready.wait();
        ivar.put(7).unwrap();
        assert!(join_all(on, readers).into_iter().all(|v| v == 7));
    });
}

/// A value that may be shared but not copied, and one without a size.
#[test]
fn lends_what_cannot_be_copied() {
    struct Large([u8; 4096]);
    let drops = Drops::default();
    let ivar = IVar::new();
    ivar.put(drops.make(Large([7; 4096]))).unwrap_or_else(|_| unreachable!());
    assert!(ivar.wait().value.0.iter().all(|b| *b == 7));
    let refused = ivar.put(drops.make(Large([0; 4096])));
    assert_eq!(drops.live(), 2);
    drop(refused);
    let other = ivar.clone();
    drop(ivar);
    assert_eq!(drops.live(), 1);
    drop(other);
    assert_eq!(drops.live(), 0);
    let unit = IVar::new();
    unit.put(()).unwrap();
    unit.get();
}

/// Of several who write at once, one is the first, and everybody reads their value.
#[test]
fn one_writer_wins() {
    under_stress(|on| {
        for _ in 0..rounds(40, 20_000) {
            let ivar = IVar::new();
            let tasks = (0..6_u64)
                .map(|i| {
                    let ivar = ivar.clone();
                    mixed(on, i, move || match i % 2 {
                        0 => (ivar.put(i).is_ok(), ivar.get()),
                        _ => (false, ivar.get()),
                    })
                })
                .collect();
            let seen = join_all(on, tasks);
            let value = ivar.get();
            assert_eq!(seen.iter().filter(|(won, _)| *won).count(), 1);
            assert!(seen.iter().all(|(_, got)| *got == value), "{seen:?}");
        }
    });
}

/// An arm that loses leaves nothing behind.
#[test]
fn loses_in_select() {
    everywhere(|on| {
        let ivar = IVar::<u64>::new();
        let (tx, rx) = channel(0);
        let n = rounds(300, 1_000_000);
        let feeder = on.spawn(move || (0..n).for_each(|i| tx.send(i).unwrap()));
        for i in 0..n {
            select! {
                v = <-rx => assert_eq!(v, Ok(i)),
                _ = ivar.wait_op() => unreachable!(),
            }
        }
        feeder.join();
        ivar.put(1).unwrap();
        assert_eq!(ivar.get_op().or(fibers::op::never()).perform(), 1);
    });
}
