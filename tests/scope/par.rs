//! Parallel maps: order, bounds, laziness, early ends.

use fibers::scope::{par_for_each, par_map, try_par_for_each, try_par_map};
use fibers::sync::Barrier;
use fibers::{Op, channel, scope, yield_now};
use fibers_tests::{Counter, Drops, On, on_workers, panics_with, quiet_panic, rounds};
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

const WORKERS: [usize; 3] = [1, 2, 4];

#[test]
fn results_come_in_the_order_of_the_items() {
    on_workers(&WORKERS, |_| {
        let count = rounds(300, 30_000);
        for limit in [1, 3, 1000] {
            let doubled = par_map(0..count, limit, |n| {
                (0..(count - n) % 7).for_each(|_| yield_now());
                2 * n
            });
            assert_eq!(doubled, (0..count).map(|n| 2 * n).collect::<Vec<_>>());
            assert_eq!(try_par_map(0..count, limit, Ok::<_, ()>), Ok((0..count).collect()));
        }
        assert!(par_map(Vec::<u32>::new(), 3, |n| n).is_empty());
    });
}

#[test]
fn no_more_run_than_may() {
    on_workers(&WORKERS, |_| {
        for limit in [1, 2, 5] {
            let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
            let work = |n: usize| {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                (0..n % 5).for_each(|_| yield_now());
                now.fetch_sub(1, Ordering::SeqCst);
            };
            par_map(0..100, limit, work);
            par_for_each(0..100, limit, work);
            assert!(most.into_inner() <= limit);
        }
    });
}

/// Each waits for all the others, so they have to run at once.
#[test]
fn as_many_run_as_may() {
    on_workers(&WORKERS, |_| {
        for limit in [2, 5] {
            let barrier = Barrier::new(limit);
            let meet = |n: usize| {
                barrier.wait();
                n
            };
            let numbers: Vec<_> = (0..2 * limit).collect();
            assert_eq!(par_map(0..2 * limit, limit, meet), numbers);
            assert_eq!(try_par_map(0..2 * limit, limit, |n| Ok::<_, ()>(meet(n))), Ok(numbers));
            par_for_each(0..2 * limit, limit, |n| assert_eq!(meet(n), n));
        }
    });
}

#[test]
fn items_functions_and_results_may_borrow() {
    on_workers(&WORKERS, |_| {
        let words = [String::from("one"), String::from("three")];
        let suffix = String::from("!");
        let firsts: Vec<(&str, usize)> = par_map(&words, 2, |word| (&word[..1], suffix.len()));
        assert_eq!(firsts, [("o", 1), ("t", 1)]);
        let mut places = [0; 10];
        par_for_each(places.iter_mut().enumerate(), 3, |(i, place)| *place = i);
        assert_eq!(places, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    });
}

/// The iterator is pulled by the caller, and needs not be `Send`.
#[test]
fn items_are_pulled_only_when_they_may_run() {
    on_workers(&WORKERS, |_| {
        let pulled = Cell::new(0);
        let items = std::iter::repeat_with(|| {
            pulled.set(pulled.get() + 1);
            pulled.get()
        });
        let squares: Vec<u32> = scope(|s| {
            let mut squares = s.par_map(items, 4, |n| n * n);
            assert_eq!(pulled.get(), 0);
            assert_eq!(squares.next(), Some(1));
            assert_eq!(pulled.get(), 4);
            assert!(format!("{squares:?}").contains("limit: 4"));
            squares.take(9).collect()
        });
        assert_eq!(squares, [4, 9, 16, 25, 36, 49, 64, 81, 100]);
        assert_eq!(pulled.get(), 13);
    });
}

#[test]
fn size_hints_hold_and_the_end_stays() {
    on_workers(&[1], |_| {
        scope(|s| {
            let mut mapped = s.par_map(0..5, 2, |n| n);
            for left in (0..5).rev() {
                assert!(mapped.next().is_some());
                assert_eq!(mapped.size_hint(), (left, Some(left)));
            }
            assert_eq!((mapped.next(), mapped.next()), (None, None));
        });
    });
}

#[test]
fn dropped_early_it_pulls_no_more_and_waits_in_its_scope() {
    on_workers(&WORKERS, |_| {
        let (drops, ended) = (Drops::default(), Counter::default());
        scope(|s| {
            let (drops, ended) = (&drops, &ended);
            let mut mapped = s.par_map(0.., 3, move |n: u32| {
                (0..n).for_each(|_| yield_now());
                ended.add();
                drops.make(n)
            });
            assert_eq!(mapped.next().unwrap().value, 0);
        });
        assert_eq!((ended.get(), drops.live()), (3, 0));
    });
}

#[test]
fn the_first_error_ends_it() {
    on_workers(&WORKERS, |_| {
        let (drops, ran) = (Drops::default(), Counter::default());
        let result = try_par_map(0_u64.., 4, |n| {
            ran.add();
            let counted = drops.make(n);
            if n >= 20 { Err(counted) } else { Ok(counted) }
        });
        // Up to four of those that fail may have begun before the first of them had failed.
        assert!((20..24).contains(&result.as_ref().unwrap_err().value));
        assert!(drops.live() == 1 && (21..=24).contains(&ran.get()), "{}", ran.get());
        let failed = Counter::default();
        assert_eq!(
            try_par_for_each(0.., 2, |n| {
                failed.add();
                if n < 10 { Ok(()) } else { Err(n) }
            })
            .map_err(|n| n >= 10),
            Err(true)
        );
        assert!(failed.get() < 20);
    });
}

/// Who gets a place by the end of the one that has failed does not use it.
#[test]
fn after_an_error_nothing_begins() {
    on_workers(&WORKERS, |_| {
        let (pulled, ran) = (Cell::new(0), Counter::default());
        let items = (0..100).inspect(|_| pulled.set(pulled.get() + 1));
        let result = try_par_for_each(items, 1, |n| {
            yield_now();
            ran.add();
            Err(n)
        });
        assert_eq!((result, ran.get()), (Err(0), 1));
        assert!(pulled.get() <= 2, "{}", pulled.get());
    });
}

#[test]
fn a_panic_ends_it() {
    on_workers(&WORKERS, |_| {
        let work = |n: u32| {
            if n == 7 {
                quiet_panic("seven");
            }
            n
        };
        panics_with("seven", || drop(par_map(0..100_000, 3, work)));
        panics_with("seven", || drop(try_par_map(0.., 3, |n| Ok::<_, ()>(work(n)))));
        panics_with("seven", || par_for_each(0.., 3, |n| assert_eq!(work(n), n)));
        panics_with("seven", || {
            let _: Result<(), ()> = try_par_for_each(0.., 3, |n| {
                work(n);
                Ok(())
            });
        });
        // The results before it are there.
        scope(|s| {
            let mut mapped = s.par_map(0.., 3, work);
            assert_eq!(mapped.by_ref().take(7).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5, 6]);
            panics_with("seven", || assert_eq!(mapped.next(), None));
            while mapped.next().is_some() {}
        });
    });
}

#[test]
fn a_panicking_iterator_waits_for_what_runs() {
    on_workers(&WORKERS, |_| {
        let ended = Counter::default();
        panics_with("iterator", || {
            let items = (0..10).inspect(|n| {
                if *n == 5 {
                    quiet_panic("iterator");
                }
            });
            par_for_each(items, 20, |_| {
                yield_now();
                ended.add();
            });
        });
        assert_eq!(ended.get(), 5);
    });
}

/// A limit is no size of anything.
#[test]
fn a_limit_may_be_as_large_as_can_be_said() {
    on_workers(&WORKERS, |_| {
        for limit in [1 << 40, usize::MAX] {
            assert_eq!(par_map(0..3, limit, |n| n), [0, 1, 2]);
            assert_eq!(try_par_map(0..3, limit, Ok::<_, ()>), Ok(vec![0, 1, 2]));
            par_for_each(0..3, limit, |n| assert!(n < 3));
        }
    });
}

#[test]
fn a_limit_of_nothing_is_refused() {
    on_workers(&[1], |_| {
        const MESSAGE: &str = "with a limit of 0 nothing would ever run";
        panics_with(MESSAGE, || drop(par_map(0..3, 0, |n| n)));
        panics_with(MESSAGE, || par_for_each(0..3, 0, drop));
    });
}

/// Children that wait for each other need the limit to be as large as they are many.
#[test]
fn children_communicate() {
    on_workers(&WORKERS, |on: On| {
        let (tx, rx) = channel::<u64>(0);
        let sums = par_map(0..10_u64, 10, |n| {
            if n % 2 == 0 {
                tx.send_op(n).perform().map_or(0, |()| 0)
            } else {
                rx.recv().unwrap()
            }
        });
        assert_eq!(sums.iter().sum::<u64>(), 20, "{on:?}");
    });
}
