//! The result of a child comes from another worker.

use fibers::scope;
use std::rc::Rc;

fn main() {
    fibers::run(|| {
        scope(|s| {
            s.spawn(|| Rc::new(2));
        });
    });
}
