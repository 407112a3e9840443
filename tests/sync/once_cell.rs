//! Cells that are set once, and lazy values.

use crate::once::ITSELF;
use crate::{hush, join_all, mixed};
use fibers::sync::{Lazy, OnceCell};
use fibers::{Op, channel, op, select};
use fibers_tests::{Counted, Counter, Drops, everywhere, panic_message, quiet_panic, rounds, under_stress};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

#[test]
fn set_and_get() {
    let mut cell = OnceCell::new();
    assert_eq!((cell.get(), cell.is_initialized()), (None, false));
    assert_eq!(cell.get_mut(), None);
    assert_eq!(cell.set(1), Ok(()));
    assert_eq!(cell.set(2), Err(2));
    assert_eq!((cell.get(), cell.wait(), cell.get_or_init(|| 3)), (Some(&1), &1, &1));
    *cell.get_mut().unwrap() += 4;
    assert_eq!(format!("{cell:?}"), "OnceCell(5)");
    let (copy, from) = (cell.clone(), OnceCell::from(5));
    assert_eq!((&copy, &from), (&cell, &cell));
    assert_eq!(from.set(6), Err(6));
    assert_eq!((cell.take(), cell.take()), (Some(5), None));
    assert_ne!(cell, copy);
    assert_eq!(format!("{cell:?}"), "OnceCell(<uninit>)");
    // It can be set again.
    assert_eq!(cell.get_or_init(|| 7), &7);
    assert_eq!((cell.into_inner(), OnceCell::<u8>::default().into_inner()), (Some(7), None));
}

#[test]
fn an_initialiser_may_fail() {
    let cell = OnceCell::new();
    assert_eq!(cell.get_or_try_init(|| Err::<u32, _>("no")), Err("no"));
    assert!(!cell.is_initialized());
    assert_eq!(cell.get_or_try_init(|| Ok::<_, &str>(1)), Ok(&1));
    assert_eq!(cell.get_or_try_init(|| Err("never run")), Ok(&1));
}

#[test]
fn as_a_static() {
    static CELL: OnceCell<String> = OnceCell::new();
    static LAZY: Lazy<String> = Lazy::new(|| CELL.wait().to_uppercase());
    everywhere(|on| {
        let tasks: Vec<_> = (0..4)
            .map(|_| on.spawn(|| (CELL.get_or_init(|| "text".into()).as_str(), LAZY.as_str())))
            .collect();
        for task in tasks {
            assert_eq!(task.join(), ("text", "TEXT"));
        }
    });
}

/// One makes the value and suspends meanwhile, all others wait for the same value.
#[test]
fn all_share_one_value() {
    everywhere(|on| {
        let (cell, made, drops) = (
            Arc::new(OnceCell::<Counted<u64>>::new()),
            Counter::default(),
            Drops::default(),
        );
        let tasks: Vec<_> = (0..20)
            .map(|i| {
                let (cell, made, drops) = (cell.clone(), made.clone(), drops.clone());
                on.spawn(move || match i % 5 {
                    0 => std::ptr::from_ref(cell.wait()).addr(),
                    _ => {
                        let value = cell.get_or_init(|| {
                            on.pause();
                            drops.make(made.next())
                        });
                        std::ptr::from_ref(value).addr()
                    }
                })
            })
            .collect();
        let places: Vec<_> = tasks.into_iter().map(|task| task.join()).collect();
        assert!(places.iter().all(|place| *place == places[0]));
        assert_eq!((made.get(), drops.live()), (1, 1));
        drop(cell);
        assert_eq!(drops.live(), 0);
    });
}

/// An initialiser that fails or panics gives the turn to the next who waits, and drops nothing twice.
#[test]
fn the_next_one_tries() {
    everywhere(|on| {
        let (cell, drops) = (Arc::new(OnceCell::new()), Drops::default());
        let (go_on, told) = channel::<()>(0);
        let (began, begun) = channel::<()>(0);
        let theirs = cell.clone();
        let fails = on.spawn(move || {
            let failed = theirs.get_or_try_init(|| {
                began.send(()).unwrap();
                told.recv().unwrap();
                Err("no")
            });
            failed.err()
        });
        begun.recv().unwrap();
        let (theirs, kept) = (cell.clone(), drops.clone());
        let panics = on.spawn(move || {
            theirs.get_or_init(|| {
                let _kept = kept.make(0);
                quiet_panic("not this time")
            });
        });
        go_on.send(()).unwrap();
        assert_eq!(fails.join(), Some("no"));
        assert!(panics.outcome().is_err());
        assert_eq!((drops.live(), cell.get().is_none()), (0, true));
        assert!(cell.set(drops.make(1)).is_ok());
        assert!(cell.set(drops.make(2)).is_err_and(|back| back.value == 2));
        assert_eq!(drops.live(), 1);
        drop(cell);
        assert_eq!(drops.live(), 0);
    });
}

#[test]
fn an_arm_that_wins_and_one_that_loses() {
    everywhere(|_| {
        let cell = OnceCell::new();
        let (tx, rx) = channel::<u32>(1);
        tx.send(1).unwrap();
        select! {
            _ = cell.wait_op() => panic!("nothing was set"),
            v = <-rx => assert_eq!(v, Ok(1)),
        }
        assert_eq!(cell.wait_op().timeout(Duration::from_millis(1)).perform().ok(), None);
        select! {
            v = cell.get_or_init_op(|| 2) => assert_eq!(v, &2),
            <-rx => panic!("nothing was sent"),
        }
        select! {
            v = cell.wait_op() => assert_eq!(v, &2),
            <-rx => panic!("nothing was sent"),
        }
        let try_init = cell.get_or_try_init_op(|| Err("never run"));
        assert_eq!(op::biased((try_init, op::always(Err("ready as well")))).perform(), Ok(&2));
    });
}

/// A losing initialiser is not run, and what it holds is dropped.
#[test]
fn losers_set_nothing() {
    everywhere(|_| {
        let drops = Drops::default();
        for _ in 0..rounds(1000, 1_000_000) {
            let cell = OnceCell::new();
            let value = drops.make(());
            let init = cell.get_or_init_op(move || value).wrap(|_| true);
            let won = init.or(op::always(false)).perform();
            assert_eq!((cell.is_initialized(), drops.live()), (won, isize::from(won)));
        }
        assert_eq!(drops.live(), 0);
    });
}

#[test]
fn calling_itself_panics() {
    hush();
    everywhere(|on| {
        let cell = Arc::new(OnceCell::new());
        let theirs = cell.clone();
        let task = on.spawn(move || *theirs.get_or_init(|| *theirs.get_or_init(|| 1)));
        assert_eq!(panic_message(&*task.outcome().unwrap_err()), ITSELF);
        assert_eq!(cell.get_or_init(|| 2), &2);
    });
}

#[test]
fn lazy_values() {
    let made = Counter::default();
    let mut lazy = Lazy::new(|| {
        made.add();
        [1, 2, 3]
    });
    assert_eq!((format!("{lazy:?}").as_str(), Lazy::get(&lazy)), ("Lazy(<uninit>)", None));
    assert_eq!(
        (lazy.len(), Lazy::force(&lazy)[2], Lazy::force_op(&lazy).perform()[0]),
        (3, 3, 1)
    );
    assert_eq!(made.get(), 1);
    Lazy::get_mut(&mut lazy).unwrap()[0] = 7;
    assert_eq!(format!("{lazy:?}"), "Lazy([7, 2, 3])");
    assert_eq!(Lazy::into_inner(lazy).ok(), Some([7, 2, 3]));
    let unmade = Lazy::new(|| 4);
    assert_eq!(Lazy::into_inner(unmade).map_err(|init| init()), Err(4));
    assert_eq!(*Lazy::<u32>::default(), 0);
}

/// A lazy value whose initialiser panics is not poisoned: the next access runs it again.
#[test]
fn lazy_values_are_tried_again() {
    everywhere(|on| {
        let runs = Counter::default();
        let counted = runs.clone();
        let lazy = Arc::new(Lazy::new(move || match counted.next() {
            0 => quiet_panic("at first"),
            n => n,
        }));
        let theirs = lazy.clone();
        let first = catch_unwind(AssertUnwindSafe(|| **lazy));
        assert_eq!(panic_message(&*first.unwrap_err()), "at first");
        assert_eq!(on.spawn(move || **theirs).join(), 1);
        assert_eq!((**lazy, runs.get()), (1, 2));
    });
}

#[test]
fn contended() {
    under_stress(|on| {
        for round in 0..rounds(20, 20_000) {
            let (cell, made) = (Arc::new(OnceCell::<Box<u64>>::new()), Counter::default());
            let tasks: Vec<_> = mixed(on, 4)
                .enumerate()
                .map(|(i, on)| {
                    let (cell, made) = (cell.clone(), made.clone());
                    on.spawn(move || {
                        let init = || {
                            on.pause();
                            made.add();
                            Box::new(round)
                        };
                        match i {
                            0 => **cell.wait(),
                            1 => cell.set(init()).map_or_else(|_| **cell.wait(), |()| round),
                            _ => **cell.get_or_init(init),
                        }
                    })
                })
                .collect();
            assert!(join_all(on, tasks).iter().all(|value| *value == round));
            assert!((1..=2).contains(&made.get()));
        }
    });
}
