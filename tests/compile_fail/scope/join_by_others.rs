//! Which handle is waited for is not for others to say: they might say something else the next time.

use fibers::JoinHandle;
use fibers::scope::{Join, join_all};
use std::cell::Cell;

struct Fickle(JoinHandle<u32>, JoinHandle<u32>, Cell<bool>);

impl Join for Fickle {
    type Value = u32;

    fn handle(&self) -> &JoinHandle<u32> {
        if self.2.replace(!self.2.get()) { &self.0 } else { &self.1 }
    }
}

fn main() {
    fibers::run(|| {
        let both = Fickle(fibers::spawn(|| 1), fibers::spawn(|| 2), Cell::new(false));
        drop(join_all(&[both]));
    });
}
