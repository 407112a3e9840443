//! Five philosophers dine, and each fork is a mutex. Nobody agrees with anybody on an order: whoever is hungry takes the fork that is
//! free first, and then waits for the other one, but not for long.
//!
//! If all five have taken one fork, each waits for a neighbour who waits as well. The first whose patience ends puts the fork back,
//! and the others go on. A lock is a branch like any other: the first `select!` takes whichever fork is free, the second one gives
//! up after a while, or when the restaurant closes.
//!
//! `cargo run --release --example dining -- 1000`

use fibers::sync::{Mutex, MutexGuard};
use fibers::{Cond, go, select, time};
use std::sync::Arc;
use std::time::Duration;

const USAGE: &str = "usage: dining [MEALS]\nThe restaurant closes when MEALS have been eaten (1000 if MEALS is not given).";
const NAMES: [&str; 5] = ["Aristotle", "Bacon", "Comte", "Descartes", "Epicurus"];
const PATIENCE: Duration = Duration::from_micros(100);

#[derive(Default)]
struct Fork {
    used: usize,
}

struct Restaurant {
    forks: [Mutex<Fork>; 5],
    meals: Mutex<usize>,
    closed: Cond,
}

impl Restaurant {
    /// Both forks beside a seat; `None` once the restaurant is closed.
    fn take_forks(&self, seat: usize) -> Option<[MutexGuard<'_, Fork>; 2]> {
        let (left, right) = (&self.forks[seat], &self.forks[(seat + 1) % self.forks.len()]);
        loop {
            let (one, other) = select! {
                fork = left.lock_op() => (fork, right),
                fork = right.lock_op() => (fork, left),
                <-self.closed => return None,
            };
            fibers::yield_now(); // nobody takes two forks at a time
            select! {
                fork = other.lock_op() => return Some([one, fork]),
                _ = time::sleep_op(PATIENCE) => {
                    // Back to the table. A lock is for whoever is first, so let the neighbour have a chance.
                    drop(one);
                    fibers::yield_now();
                }
                <-self.closed => return None,
            }
        }
    }

    /// Puts one more meal on the bill; false if there are none left.
    fn order(&self) -> bool {
        let mut left = self.meals.lock();
        match left.checked_sub(1) {
            Some(less) => {
                *left = less;
                true
            }
            None => {
                self.closed.signal();
                false
            }
        }
    }
}

fn philosopher(restaurant: Arc<Restaurant>, seat: usize) -> usize {
    let mut eaten = 0;
    while let Some(mut forks) = restaurant.take_forks(seat) {
        if !restaurant.order() {
            break;
        }
        forks.iter_mut().for_each(|fork| fork.used += 1);
        fibers::yield_now(); // eating takes a while
        eaten += 1;
    }
    eaten
}

#[fibers::main]
fn main() {
    let meals = fibers_examples::number(USAGE, 1000);
    let restaurant = Arc::new(Restaurant {
        forks: Default::default(),
        meals: Mutex::new(meals),
        closed: Cond::new(),
    });
    let guests: Vec<_> = (0..NAMES.len())
        .map(|seat| go!(name = NAMES[seat]; philosopher(restaurant.clone(), seat)))
        .collect();
    let eaten: Vec<usize> = guests
        .into_iter()
        .map(|guest| guest.join().expect("philosophers do not panic"))
        .collect();
    let used: usize = restaurant.forks.iter().map(|fork| fork.lock().used).sum();
    println!("{} meals, and every fork is back on the table", eaten.iter().sum::<usize>());
    println!("{used} times a fork was used");
    for (seat, fork) in restaurant.forks.iter().enumerate() {
        let beside = eaten[seat] + eaten[(seat + 4) % 5];
        assert_eq!(fork.lock().used, beside, "the fork to the left of {}", NAMES[seat]);
    }
}
