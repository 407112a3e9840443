//! A child may outlive the closure of its scope, so it borrows from outside of it only.

use fibers::{go, scope};

fn main() {
    fibers::run(|| {
        scope(|s| {
            let local = String::from("of the closure");
            s.spawn(|| println!("{local}"));
            go!(scope = s; || println!("{local}"));
        });
    });
}
