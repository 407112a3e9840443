//! Races.

use fibers::scope::{first_ok, race};
use fibers::{Op, Scope, op, yield_now};
use fibers_tests::{Counter, Drops, on_workers, panics_with, quiet_panic, rounds};

const WORKERS: [usize; 3] = [1, 2, 4];

/// What a runner does in a test.
type Runner<'a, T> = Box<dyn for<'s> FnOnce(&'s Scope<'s, 'a>) -> T + Send + 'a>;

fn waits<'a, T: Send + 'a>(value: T, stopped: &'a Counter) -> Runner<'a, T> {
    Box::new(move |s| {
        s.cancelled_op().perform();
        stopped.add();
        value
    })
}

#[test]
fn the_first_one_wins_and_the_others_are_stopped() {
    on_workers(&WORKERS, |_| {
        for winner in 0..5 {
            let (stopped, drops) = (Counter::default(), Drops::default());
            let runners = (0..5).map(|i| -> Runner<'_, _> {
                let value = drops.make(i);
                if i == winner {
                    Box::new(move |_| value)
                } else {
                    waits(value, &stopped)
                }
            });
            let won = race(runners).unwrap();
            assert_eq!((won.value, stopped.get(), drops.live()), (winner, 4, 1));
        }
    });
}

#[test]
fn nobody_runs() {
    on_workers(&[1], |_| {
        assert_eq!(race(std::iter::empty::<Runner<'_, u32>>()), None);
        assert_eq!(first_ok(std::iter::empty::<Runner<'_, Result<u32, ()>>>()), Err(vec![]));
    });
}

#[test]
fn of_many_at_once_one_wins() {
    on_workers(&WORKERS, |_| {
        for _ in 0..rounds(50, 5000) {
            let drops = Drops::default();
            let won = race((0..20).map(|i| {
                let value = drops.make(i);
                move |_: &Scope<'_, '_>| {
                    (0..i % 4).for_each(|_| yield_now());
                    value
                }
            }));
            assert!(won.unwrap().value < 20);
            assert_eq!((drops.made(), drops.live()), (20, 0));
        }
    });
}

#[test]
fn errors_leave_the_race_to_the_others() {
    on_workers(&WORKERS, |_| {
        let (stopped, drops) = (Counter::default(), Drops::default());
        let runners = (0..6).map(|i| -> Runner<'_, Result<_, _>> {
            let value = drops.make(i);
            match i {
                0..3 => Box::new(move |_| Err(value)),
                3 => Box::new(move |_| {
                    (0..10).for_each(|_| yield_now());
                    Ok(value)
                }),
                _ => waits(Err(value), &stopped),
            }
        });
        assert_eq!(first_ok(runners).unwrap().value, 3);
        assert_eq!((stopped.get(), drops.live()), (2, 0));
    });
}

#[test]
fn all_errors_in_the_order_of_the_runners() {
    on_workers(&WORKERS, |_| {
        let result: Result<(), _> = first_ok((0..10).map(|i| {
            move |_: &Scope<'_, '_>| {
                (0..10 - i).for_each(|_| yield_now());
                Err(i)
            }
        }));
        assert_eq!(result.unwrap_err(), (0..10).collect::<Vec<_>>());
    });
}

#[test]
fn a_panic_is_raised_whoever_wins() {
    on_workers(&WORKERS, |_| {
        let stopped = Counter::default();
        let runners: [Runner<'_, u32>; 3] = [
            waits(1, &stopped),
            Box::new(|_| quiet_panic("a runner")),
            Box::new(|s| {
                s.cancelled_op().perform();
                2
            }),
        ];
        panics_with("a runner", || assert_eq!(race(runners), None));
        let runners: [Runner<'_, Result<u32, ()>>; 2] = [
            Box::new(|_| Ok(1)),
            Box::new(|s| {
                s.cancelled_op().perform();
                quiet_panic("a loser")
            }),
        ];
        panics_with("a loser", || assert_eq!(first_ok(runners), Ok(1)));
        assert_eq!(stopped.get(), 1);
    });
}

#[test]
fn runners_spawn_and_borrow() {
    on_workers(&WORKERS, |_| {
        let text = String::from("borrowed");
        let won = race(["x", "y"].map(|name| {
            let text = &text;
            move |s: &Scope<'_, '_>| {
                op::choice((s.cancelled_op(), op::always(()))).perform();
                (name.len(), text.len())
            }
        }));
        assert_eq!(won, Some((1, 8)));
        let runner: [Runner<'_, usize>; 1] = [Box::new(|s| s.spawn(|| text.len()).join().unwrap())];
        assert_eq!(race(runner), Some(8));
    });
}
