use fibers::sync::{OwnedRwLockWriteGuard, RwLock};
use std::cell::Cell;
use std::sync::Arc;

fn main() {
    let lock = Arc::new(RwLock::new(Cell::new(1)));
    let writer = lock.write_owned();
    // Both would be readers at a time, on two threads.
    fibers::spawn(move || OwnedRwLockWriteGuard::downgrade(writer).set(2));
    lock.read().set(3);
}
