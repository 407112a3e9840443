//! Synchronising variables: the wait for an atomic, where an update and a look may pass each other; exchanges, where both sides are
//! alike; and the loans of an MVar.

use crate::world::*;
use fibers::sync::atomic::Waitable;
use fibers::sync::{MVar, Swap};
use fibers::{Op, op, time};
use loom::sync::atomic::AtomicU32;
use loom::thread;
use std::sync::Arc;
use std::time::Duration;

/// Runs the parties at once, on fibers or threads as `fibers` says bit by bit, and returns what they return.
fn together<T: 'static>(fibers: u32, parties: Vec<Box<dyn FnOnce() -> T + Send>>) -> Vec<T> {
    let threads: Vec<_> = parties
        .into_iter()
        .enumerate()
        .map(|(i, party)| {
            thread::spawn(move || match fibers >> i & 1 {
                0 => party(),
                _ => fibers::run(party),
            })
        })
        .collect();
    threads.into_iter().map(|thread| thread.join().unwrap()).collect()
}

fn party<T>(f: impl FnOnce() -> T + Send + 'static) -> Box<dyn FnOnce() -> T + Send> {
    Box::new(f)
}

/// Not counted by loom, so its last handle is kept until all threads have ended.
type Atomic = Arc<Waitable<AtomicU32>>;

/// Publish, then look, against update, then look who waits: a waiter that neither sees hangs, and loom says so.
#[test]
fn atomic_waits() {
    for fibers in [0b00, 0b01] {
        explore("one waits", ALL, move || {
            let atomic = Atomic::new(Waitable::new(0));
            let _kept = atomic.clone();
            let theirs = atomic.clone();
            let got = together(
                fibers,
                vec![
                    party(move || theirs.wait_until(|v| v == 1)),
                    party(move || atomic.fetch_add(1)),
                ],
            );
            assert_eq!(got, [1, 0]);
        });
        explore("one waits for two steps", AT_MOST_3, move || {
            let atomic = Atomic::new(Waitable::new(0));
            let _kept = atomic.clone();
            let theirs = atomic.clone();
            let steps = move || {
                atomic.store(1);
                atomic.fetch_add(1)
            };
            let got = together(fibers, vec![party(move || theirs.wait_until(|v| v == 2)), party(steps)]);
            assert_eq!(got, [2, 1]);
        });
    }
    explore("two wait, one in a choice", AT_MOST_2, || {
        let atomic = Atomic::new(Waitable::new(0));
        let _kept = atomic.clone();
        let (a, b) = (atomic.clone(), atomic.clone());
        let choice = move || op::choice((b.wait_until_op(|v| v == 2), b.wait_until_op(|v| v == 1))).perform();
        let got = together(
            0b010,
            vec![
                party(move || a.wait_until(|v| v > 0)),
                party(choice),
                party(move || atomic.swap(1)),
            ],
        );
        assert_eq!(got, [1, 1, 0]);
    });
    explore("two update", AT_MOST_2, || {
        let atomic = Atomic::new(Waitable::new(0));
        let _kept = atomic.clone();
        let (a, b) = (atomic.clone(), atomic.clone());
        let got = together(
            0b001,
            vec![
                party(move || atomic.wait_until(|v| v == 2)),
                party(move || u32::from(a.fetch_add(1) > 2)),
                party(move || u32::from(b.fetch_add(1) > 2)),
            ],
        );
        assert_eq!(got, [2, 0, 0]);
    });
}

/// A wait that gives up, or whose fiber is unwound, leaves nothing linked: what comes after would reach it.
#[test]
fn atomic_waits_that_end_otherwise() {
    explore("deadline", AT_MOST_2, || {
        let atomic = Atomic::new(Waitable::new(0));
        let _kept = atomic.clone();
        let theirs = atomic.clone();
        let late = move || {
            let late = time::sleep_op(Duration::from_millis(1)).wrap(|()| 7);
            theirs.wait_until_op(|v| v == 1).or(late).perform()
        };
        let got = together(0b001, vec![party(late), party(move || atomic.fetch_add(1))]);
        assert!(got[0] == 1 || got[0] == 7);
    });
    explore("shutdown", AT_MOST_3, || {
        let atomic = Atomic::new(Waitable::new(0));
        let _kept = atomic.clone();
        let theirs = atomic.clone();
        let ending = move || fibers::shut_down(|| theirs.wait_until(|v| v == 1)).unwrap_or(7);
        let update = move || {
            atomic.store(2);
            atomic.fetch_sub(1)
        };
        let got = together(0, vec![party(ending), party(update)]);
        assert!(got[0] == 1 || got[0] == 7);
    });
}

/// Who got whose value.
fn mutual(got: &[u32]) -> bool {
    got.iter()
        .enumerate()
        .all(|(i, partner)| *partner == LATE || (*partner as usize != i && got[*partner as usize] == i as u32))
}

const LATE: u32 = 9;

fn late() -> impl Op<Output = u32> {
    time::sleep_op(Duration::from_millis(1)).wrap(|()| LATE)
}

#[test]
fn exchanges() {
    let swaps = |arms: fn(&Swap<u32>, u32) -> u32, n: u32| {
        let swap = Swap::new();
        let parties = (0..n)
            .map(|i| {
                let swap = swap.clone();
                party(move || arms(&swap, i))
            })
            .collect();
        (swap, parties)
    };
    for fibers in [0b00, 0b01, 0b11] {
        explore("lone", ALL, move || {
            let (swap, parties) = swaps(|swap, i| swap.swap(i), 2);
            assert_eq!(together(fibers, parties), [1, 0]);
            assert_eq!(swap.waiting(), 0);
        });
    }
    explore("choices", AT_MOST_3, move || {
        let (swap, parties) = swaps(|swap, i| op::choice((swap.swap_op(i), swap.swap_op(i))).perform(), 2);
        assert_eq!(together(0b01, parties), [1, 0]);
        assert_eq!(swap.waiting(), 0);
    });
    explore("three with deadlines", AT_MOST_1, move || {
        let (swap, parties) = swaps(|swap, i| swap.swap_op(i).or(late()).perform(), 3);
        let got = together(0b010, parties);
        assert!(mutual(&got), "{got:?}");
        assert_eq!(swap.waiting(), 0);
    });
    explore("an attempt", ALL, move || {
        let (swap, parties) = swaps(
            |swap, i| match i {
                0 => swap.swap_op(0).or(late()).perform(),
                _ => swap.try_swap(1).unwrap_or(LATE),
            },
            2,
        );
        let got = together(0b01, parties);
        assert!(got == [1, 0] || got == [LATE, LATE], "{got:?}");
        assert_eq!(swap.waiting(), 0);
    });
    explore("shutdown", AT_MOST_3, move || {
        let (swap, parties) = swaps(
            |swap, i| match i {
                0 => fibers::shut_down(|| swap.swap(0)).unwrap_or(LATE),
                _ => swap.swap_op(1).or(late()).perform(),
            },
            2,
        );
        let got = together(0, parties);
        assert!(mutual(&got), "{got:?}");
        assert_eq!(swap.waiting(), 0);
    });
}

/// Values of an MVar are counted: as many as went in and were not replaced come out.
#[test]
fn mvars() {
    explore("put and take", ALL, || {
        let mvar = MVar::empty();
        let theirs = mvar.clone();
        let puts = move || (theirs.put(1), theirs.put(2), 0).2;
        let takes = move || 10 * mvar.take() + mvar.take();
        assert_eq!(together(0b01, vec![party(puts), party(takes)]), [0, 12]);
    });
    explore("a read before a take", AT_MOST_2, || {
        let mvar = MVar::empty();
        let [a, b] = [(); 2].map(|()| mvar.clone());
        let parties = vec![
            party(move || a.read()),
            party(move || b.put_op(1).or(b.put_op(1)).wrap(|()| 1).perform()),
            party({
                let mvar = mvar.clone();
                move || mvar.swap(2)
            }),
        ];
        let got = together(0b011, parties);
        assert!(got[0] == 1 || got[0] == 2, "{got:?}");
        assert_eq!((got[1], got[2], mvar.try_take()), (1, 1, Some(2)));
    });
    explore("choices of both sides", AT_MOST_2, || {
        let vars = [MVar::new(1), MVar::empty()];
        let moves = |from: usize| {
            let vars = vars.clone();
            party(move || {
                let [from, to] = [&vars[from], &vars[1 - from]];
                match from.take_op().wrap(Some).or(late().wrap(|_| None)).perform() {
                    Some(value) => u32::from(to.put_op(value).wrap(|()| true).or(late().wrap(|_| false)).perform()),
                    None => LATE,
                }
            })
        };
        let got = together(0b01, vec![moves(0), moves(1)]);
        let left = vars.each_ref().map(|var| u32::from(var.try_take().is_some()));
        let lost = got.iter().filter(|moved| **moved == 0).count() as u32;
        assert_eq!(left[0] + left[1] + lost, 1, "{got:?}");
        assert!(vars.iter().all(|var| (var.waiting_takers(), var.waiting_putters()) == (0, 0)));
    });
    explore("loans against deadlines", AT_MOST_2, || {
        let mvar = MVar::empty();
        let [a, b, c] = [(); 3].map(|()| mvar.clone());
        let parties = vec![
            party(move || a.read_op().or(late()).perform()),
            party(move || b.swap_op(2).or(late()).perform()),
            party(move || (c.put(1), 0).1),
        ];
        let got = together(0b101, parties);
        let swapped = got[1] == 1;
        assert!(swapped || got[1] == LATE, "{got:?}");
        assert_eq!(mvar.try_take(), Some(if swapped { 2 } else { 1 }), "{got:?}");
        assert_eq!((mvar.waiting_takers(), mvar.waiting_putters()), (0, 0));
    });
    explore("a loan and a shutdown", AT_MOST_3, || {
        let mvar = MVar::empty();
        let theirs = mvar.clone();
        let ending = move || fibers::shut_down(|| theirs.read()).unwrap_or(LATE);
        let put = mvar.clone();
        together(0, vec![party(ending), party(move || (put.put(1), 0).1)]);
        assert_eq!((mvar.take(), mvar.waiting_takers()), (1, 0));
    });
}
