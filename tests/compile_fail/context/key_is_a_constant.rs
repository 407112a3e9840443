//! A constant has no place of its own: each use would be another key.

use fibers::context::{Context, Key};

const USER: Key<String> = Key::new("user");

fn main() {
    let _ctx = Context::background().with_value(&USER, "gopher".to_string());
}
