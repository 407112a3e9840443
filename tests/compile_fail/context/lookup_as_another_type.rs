//! ... and it cannot be taken for another one.

use fibers::context::{Context, Key};

static USER: Key<String> = Key::new("user");

fn main() {
    let _id: Option<&u64> = Context::background().value(&USER);
}
