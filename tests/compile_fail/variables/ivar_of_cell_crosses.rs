use fibers::{spawn, sync::IVar};
use std::cell::Cell;

fn main() {
    let ivar = IVar::<Cell<u8>>::new();
    let theirs = ivar.clone();
    spawn(move || theirs.wait().set(2));
    ivar.put(Cell::new(1)).ok();
}
