//! Watch: the latest value, what each watcher has seen of it, and the end.

use crate::{join_all, mixed};
use fibers::op::choice;
use fibers::sync::{Watch, WatchClosed};
use fibers::{Op, channel, select};
use fibers_tests::{Drops, everywhere, quiet_panic, rounds, under_stress};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

#[test]
fn the_latest_value() {
    let watch = Watch::new(1);
    let watcher = watch.subscribe();
    assert!(!watcher.has_changed() && watcher.changed_op().try_perform().is_none());
    watch.set(2);
    watch.set(3);
    let late = watch.subscribe();
    assert!(watcher.has_changed() && !late.has_changed());
    assert_eq!((watch.get(), *watch.borrow(), watcher.get(), *watcher.borrow()), (3, 3, 3, 3));
    let clone = watcher.clone();
    assert_eq!(watcher.changed().map(|v| *v), Ok(3));
    assert!(!watcher.has_changed() && clone.has_changed());
    assert_eq!(*clone.borrow_and_update(), 3);
    assert!(!clone.has_changed());
    watch.send_modify(|v| *v += 1);
    assert!(!watch.send_if_modified(|v| {
        *v = 100;
        false
    }));
    assert_eq!((watcher.changed().map(|v| *v), late.get()), (Ok(4), 4));
    assert_eq!(format!("{watch:?} {:?}", watcher.borrow()), "Watch { version: 3, .. } 4");
    assert_eq!(Watch::from(1).get() + Watch::<i32>::default().get(), 1);
}

/// The last value is seen before the end, and a condition is asked about it.
#[test]
fn the_end() {
    everywhere(|on| {
        let watch = Watch::new(0);
        let watchers = (0..20)
            .map(|i| {
                let watcher = watch.subscribe();
                on.spawn(move || match i % 2 {
                    0 => {
                        assert_eq!(watcher.wait_for(|v| *v == 7), Err(WatchClosed));
                        assert_eq!(watcher.wait_for(|v| *v == 2).map(|v| *v), Ok(2));
                    }
                    _ => {
                        let mut last = 0;
                        while let Ok(value) = watcher.changed() {
                            last = *value;
                        }
                        assert_eq!(last, 2);
                    }
                })
            })
            .collect();
        let other = watch.clone();
        watch.set(1);
        drop(watch);
        on.pause();
        let watcher = other.subscribe();
        assert!(!watcher.is_closed());
        other.set(2);
        drop(other);
        assert!(watcher.is_closed());
        join_all(on, watchers);
        assert_eq!(watcher.changed().map(|v| *v), Ok(2));
        assert_eq!(WatchClosed.to_string(), "the value changes no more: the last setter is gone");
    });
}

/// What has been read stays as it was, and no value is kept for longer than somebody holds it.
#[test]
fn values_are_dropped_once() {
    everywhere(|_| {
        let drops = Drops::default();
        let watch = Watch::new(drops.make(0));
        let watcher = watch.subscribe();
        let kept = watcher.borrow();
        (1..5).for_each(|i| watch.set(drops.make(i)));
        assert_eq!((drops.live(), kept.value, watcher.borrow().value), (2, 0, 4));
        let also_kept = kept.clone();
        drop(kept);
        watch.send_modify(|v| v.value = 9);
        assert_eq!((drops.live(), watch.borrow().value), (2, 9));
        drop(also_kept);
        assert_eq!(drops.live(), 1);
        drop((watch, watcher));
        assert_eq!(drops.live(), 0);
    });
}

/// A change that panics has not happened.
#[test]
fn a_change_that_panics() {
    let drops = Drops::default();
    let watch = Watch::new(drops.make(1));
    let changed = catch_unwind(AssertUnwindSafe(|| {
        watch.send_modify(|v| {
            v.value = 2;
            quiet_panic("half way");
        });
    }));
    assert!(changed.is_err());
    assert_eq!((watch.borrow().value, drops.live()), (1, 1));
}

/// Changes by many are all made, and who watches sees the numbers rise and ends with the last one.
#[test]
fn no_change_is_lost() {
    under_stress(|on| {
        let drops = Drops::default();
        let watch = Watch::new(drops.make(0));
        let n = rounds(60, 100_000);
        let watchers = (0..3)
            .map(|i| {
                let watcher = watch.subscribe();
                mixed(on, i, move || {
                    let mut last = 0;
                    while let Ok(value) = watcher.changed() {
                        assert!(value.value > last, "{} after {last}", value.value);
                        last = value.value;
                    }
                    last
                })
            })
            .collect();
        let waiters = (0..3)
            .map(|i| {
                let watcher = watch.subscribe();
                mixed(on, i, move || watcher.wait_for(|v| v.value >= n).unwrap().value)
            })
            .collect();
        let setters = (0..4)
            .map(|i| {
                let watch = watch.clone();
                mixed(on, i, move || (0..n).for_each(|_| watch.send_modify(|v| v.value += 1)))
            })
            .collect();
        drop(watch);
        join_all(on, setters);
        assert_eq!(join_all(on, watchers), [4 * n; 3]);
        assert!(join_all(on, waiters).into_iter().all(|v| v >= n));
        assert_eq!(drops.live(), 0);
    });
}

#[test]
fn in_select() {
    everywhere(|on| {
        let (watch, quiet) = (Watch::new(0), Watch::new(0));
        let (watcher, nothing) = (watch.subscribe(), quiet.subscribe());
        let (tx, rx) = channel(0);
        let n = rounds(300, 1_000_000);
        let partner = on.spawn(move || {
            for i in 1..=n {
                tx.send(i).unwrap();
                watch.set(i);
            }
            watch
        });
        for i in 1..=n {
            select! {
                v = <-rx => assert_eq!(v, Ok(i)),
                _ = nothing.wait_for_op(|v| *v > 0) => unreachable!(),
                v = <-nothing => unreachable!("{v:?}"),
            }
            select! {
                v = <-watcher => assert_eq!(v.map(|v| *v), Ok(i)),
                _ = nothing.changed_op() => unreachable!(),
            }
        }
        let watch = partner.join();
        assert_eq!(
            watcher.changed_op().graph().to_string(),
            format!("watch (version {n}, 0 wait)")
        );
        assert!(watcher.changed_op().timeout(Duration::from_millis(1)).perform().is_err());
        // A change that was offered and not taken is still unseen.
        watch.set(n + 1);
        let lost = fibers::op::biased((fibers::op::always(None), watcher.changed_op().wrap(Some)));
        assert!(lost.perform().is_none() && watcher.has_changed());
        assert!(choice((watcher.changed_op(), watcher.changed_op())).perform().is_ok());
    });
}
