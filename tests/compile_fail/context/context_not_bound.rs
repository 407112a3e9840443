#![deny(unused_must_use)]
//! Without its handle the context is cancelled at once.

use fibers::context::Context;
use std::time::Duration;

fn main() {
    Context::background().with_timeout(Duration::from_secs(1));
    Context::background().done_op();
}
