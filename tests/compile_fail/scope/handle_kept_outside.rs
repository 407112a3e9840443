//! What a scope lends to a child cannot leave it through a variable outside.

use fibers::scope;

fn main() {
    fibers::run(|| {
        let mut outside = None;
        scope(|s| outside = Some(s.spawn(|| 1)));
        let _ = outside;
    });
}
