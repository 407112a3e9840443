//! A key is a static: of a local one there would be another one in each call.

use fibers::context::{Context, Key};

fn main() {
    let user = Key::<String>::new("user");
    let _ctx = Context::background().with_value(&user, "gopher".to_string());
}
