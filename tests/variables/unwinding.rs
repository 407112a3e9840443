//! Panics and shutdowns while somebody waits, or between the commit and the end of the perform.

use fibers::op::{always, biased, choice, never};
use fibers::sync::atomic::{AtomicU64, Waitable};
use fibers::sync::{Broadcast, IVar, Lag, MVar, Mailbox, Swap, Watch};
use fibers::{Op, Runtime, spawn, yield_now};
use fibers_tests::{Counter, Drops, HANG, everywhere, panics_with, quiet_panic, watchdog};
use std::sync::Arc;

/// A loser whose abort action panics: after the commit of the winner, and before its value is taken.
fn spoil<T>(op: impl Op<Output = T>) -> impl Op<Output = T> {
    biased((op, never().on_abort(|| quiet_panic("abort action"))))
}

#[test]
fn a_loan_comes_back() {
    everywhere(|on| {
        let drops = Drops::default();
        let mvar = MVar::new(drops.make(1));
        panics_with("abort action", || drop(spoil(mvar.read_op()).perform()));
        assert_eq!((drops.live(), mvar.read().value), (1, 1));
        // The swap has happened; the value that it got is lost with the panic.
        panics_with("abort action", || drop(spoil(mvar.swap_op(drops.make(2))).perform()));
        assert_eq!((drops.live(), mvar.read().value), (1, 2));
        // The same for those who had to wait, and there is somebody behind them.
        drop(mvar.take());
        for swap in [false, true] {
            let theirs = (mvar.clone(), drops.make(3));
            let spoiled = on.spawn(move || {
                panics_with("abort action", || match swap {
                    true => drop(spoil(theirs.0.swap_op(theirs.1)).perform()),
                    false => drop(spoil(theirs.0.read_op()).perform()),
                });
            });
            on.eventually(|| mvar.waiting_takers() == 1);
            let theirs = mvar.clone();
            let next = on.spawn(move || theirs.take().value);
            on.eventually(|| mvar.waiting_takers() == 2);
            mvar.put(drops.make(4));
            spoiled.join();
            assert_eq!(next.join(), if swap { 3 } else { 4 });
            assert!(mvar.is_empty());
        }
        assert_eq!(drops.live(), 0);
    });
}

#[derive(Debug)]
struct Uncopied;

impl Clone for Uncopied {
    fn clone(&self) -> Self {
        quiet_panic("no copy")
    }
}

#[test]
fn copies_that_panic() {
    everywhere(|_| {
        let mvar = MVar::new(Uncopied);
        panics_with("no copy", || assert!(matches!(mvar.read(), Uncopied)));
        assert!(mvar.try_take().is_some());
        let ivar = IVar::from(Uncopied);
        panics_with("no copy", || assert!(matches!(ivar.get(), Uncopied)));
        ivar.wait();
        let broadcast = Broadcast::new(Lag::Block(1));
        let (a, b) = (broadcast.subscribe(), broadcast.subscribe());
        broadcast.send(Uncopied).unwrap();
        panics_with("no copy", || drop(a.recv()));
        // The last one gets the value itself.
        assert!(b.recv().is_ok() && broadcast.is_empty());
    });
}

/// Who has put in a value owes it to those who wait that they are told.
#[test]
fn a_spoiled_send_is_told_all_the_same() {
    everywhere(|on| {
        let broadcast = Broadcast::new(Lag::Block(1));
        let subscriber = broadcast.subscribe();
        let waiter = on.spawn(move || subscriber.recv());
        on.eventually(|| broadcast.waiting().0 == 1);
        panics_with("abort action", || spoil(broadcast.send_op(5)).perform().unwrap());
        assert_eq!(waiter.join(), Ok(5));
    });
}

/// Its drop is counted, and panics if it is to.
struct Undroppable(Counter, bool);

impl Drop for Undroppable {
    fn drop(&mut self) {
        self.0.add();
        if self.1 {
            quiet_panic("no drop");
        }
    }
}

/// What a subscriber has not read goes with it, even if one of the values panics then; and those come in who wait for the room.
#[test]
fn a_value_that_panics_when_dropped_keeps_nobody_out() {
    everywhere(|on| {
        let (broadcast, drops) = (Broadcast::new(Lag::Block(3)), Counter::default());
        let slow = broadcast.subscribe();
        for i in 0..3 {
            assert!(broadcast.send(Undroppable(drops.clone(), i == 0)).is_ok());
        }
        let senders: Vec<_> = (0..3)
            .map(|_| {
                let (theirs, value) = (broadcast.clone(), Undroppable(drops.clone(), false));
                on.spawn(move || assert!(theirs.send(value).is_ok()))
            })
            .collect();
        on.eventually(|| broadcast.waiting().1 == 3);
        panics_with("no drop", || drop(slow));
        senders.into_iter().for_each(|sender| sender.join());
        assert_eq!((broadcast.len(), drops.get()), (0, 6));
    });
}

/// Everything that can be waited for, by fibers that the end of the run unwinds; then it works as before.
#[test]
fn shutdown_while_waiting() {
    if cfg!(miri) {
        return; // It knows no fibers.
    }
    for workers in [1, 2, 4] {
        watchdog(HANG, || {
            let drops = Drops::default();
            let (ivar, mailbox, swap) = (IVar::new(), Mailbox::new(), Swap::new());
            let (empty, full) = (MVar::empty(), MVar::new(drops.make(0)));
            let watch = Watch::new(drops.make(0));
            let (broadcast, atomic) = (Broadcast::new(Lag::Block(1)), Arc::new(Waitable::<AtomicU64>::new(0)));
            let (subscriber, unread) = (broadcast.subscribe(), broadcast.subscribe());
            broadcast.send(drops.make(0)).unwrap();
            drop(subscriber.recv());
            Runtime::builder().workers(workers).build().unwrap().run(|| {
                for twice in [false, true] {
                    macro_rules! waits {
                        ($drops:ident; $($var:ident: $op:expr;)+) => {$({
                            let ($var, $drops) = ($var.clone(), $drops.clone());
                            spawn(move || {
                                let _kept = &$drops;
                                match twice {
                                    false => drop($op.perform()),
                                    true => drop(choice(($op, $op)).perform()),
                                }
                            });
                        })+};
                    }
                    let watcher = watch.subscribe();
                    waits! {
                        drops;
                        ivar: ivar.wait_op();
                        mailbox: mailbox.recv_op();
                        empty: empty.take_op();
                        empty: empty.read_op();
                        empty: empty.swap_op(drops.make(1));
                        full: full.put_op(drops.make(1));
                        watcher: watcher.changed_op();
                        watcher: watcher.wait_for_op(|v| v.value > 0);
                        broadcast: broadcast.send_op(drops.make(1));
                        subscriber: subscriber.recv_op();
                        atomic: atomic.wait_until_op(|v| v > 0);
                    }
                    if !twice {
                        let swap = swap.clone();
                        let mine = drops.make(1);
                        spawn(move || drop(swap.swap(mine)));
                    }
                }
                while (
                    empty.waiting_takers(),
                    full.waiting_putters(),
                    broadcast.waiting(),
                    swap.waiting(),
                ) != (9, 3, (3, 3), 1)
                {
                    yield_now();
                }
            });
            assert_eq!((empty.waiting_takers(), full.waiting_putters(), swap.waiting()), (0, 0, 0));
            assert_eq!(broadcast.waiting(), (0, 0));
            // One in the full variable, one watched, one unread.
            assert_eq!(drops.live(), 3);
            ivar.put(drops.make(2)).unwrap();
            mailbox.send(drops.make(2));
            empty.put(drops.make(2));
            watch.set(drops.make(2));
            atomic.store(2);
            drop((full.take(), unread.recv()));
            broadcast.send(drops.make(2)).unwrap();
            assert_eq!(
                (empty.take().value, subscriber.recv().unwrap().value, mailbox.recv().value),
                (2, 2, 2)
            );
            assert!(choice((ivar.wait_op().wrap(|_| true), always(true))).perform());
        });
    }
}
