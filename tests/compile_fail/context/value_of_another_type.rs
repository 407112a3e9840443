//! A key names a value of one type: another one cannot be put there.

use fibers::context::{Context, Key};

static USER: Key<String> = Key::new("user");

fn main() {
    let _ctx = Context::background().with_value(&USER, 7);
}
