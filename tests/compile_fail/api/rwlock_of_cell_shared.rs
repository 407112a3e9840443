use fibers::sync::RwLock;
use std::cell::Cell;
use std::sync::Arc;

fn main() {
    let lock = Arc::new(RwLock::new(Cell::new(1)));
    fibers::spawn(move || lock.read().set(2));
}
