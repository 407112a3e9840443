//! Contexts go to other threads, and so do their values.

use fibers::context::{Context, Key};
use std::cell::Cell;

static COUNT: Key<Cell<u32>> = Key::new("count");

fn main() {
    let _ctx = Context::background().with_value(&COUNT, Cell::new(1));
}
