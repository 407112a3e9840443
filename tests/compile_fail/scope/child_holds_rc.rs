//! A child may start on any worker, so what it captures is sent there.

use fibers::scope;
use std::rc::Rc;

fn main() {
    fibers::run(|| {
        let shared = Rc::new(1);
        scope(|s| {
            s.spawn(|| println!("{shared}"));
        });
    });
}
