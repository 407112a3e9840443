//! Five philosophers dine. A fork lies in a queue of one place: to take the fork is to take it out, and who holds it owns it.
//!
//! Everybody takes the fork of the lower number first, so there is no circle of people who wait for each other. If everybody
//! took the left one first, they could end up with one fork each; the program would end with a report of who waits for what.
//!
//! `cargo run --release --example philosophers -- 1000`

use fibers::{Queue, go};
use std::sync::Arc;

const USAGE: &str = "usage: philosophers [MEALS]\nEverybody eats MEALS times (1000 if MEALS is not given).";
const NAMES: [&str; 5] = ["Aristotle", "Bacon", "Comte", "Descartes", "Epicurus"];

struct Fork;

struct Table {
    places: Vec<Queue<Fork>>,
}

impl Table {
    fn new(forks: usize) -> Self {
        let places = (0..forks).map(|_| {
            let place = Queue::bounded(1);
            place.put(Fork).expect("an open queue");
            place
        });
        Table {
            places: places.collect(),
        }
    }

    /// Takes both forks beside a seat, eats, and puts them back.
    fn eat(&self, seat: usize) {
        let (left, right) = (seat, (seat + 1) % self.places.len());
        let (first, second) = (&self.places[left.min(right)], &self.places[left.max(right)]);
        let one = first.get().expect("an open queue");
        fibers::yield_now(); // nobody takes two forks at a time
        let other = second.get().expect("an open queue");
        fibers::yield_now(); // eating takes a while
        first.put(one).expect("an open queue");
        second.put(other).expect("an open queue");
    }
}

fn philosopher(table: Arc<Table>, seat: usize, meals: usize) -> usize {
    let mut eaten = 0;
    while eaten < meals {
        fibers::yield_now(); // thinking
        table.eat(seat);
        eaten += 1;
    }
    eaten
}

#[fibers::main]
fn main() {
    let meals = fibers_examples::number(USAGE, 1000);
    let table = Arc::new(Table::new(NAMES.len()));
    let guests: Vec<_> = (0..NAMES.len())
        .map(|seat| go!(name = NAMES[seat]; philosopher(table.clone(), seat, meals)))
        .collect();
    for (name, guest) in NAMES.iter().zip(guests) {
        println!("{name} ate {} times", guest.join().expect("philosophers do not panic"));
    }
}
