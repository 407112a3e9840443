//! A handle that is to be told why, and one that is not.

use fibers::context::Context;

fn main() {
    let (_ctx, cancel) = Context::background().with_cancel_cause();
    cancel.cancel();
    let (_ctx, cancel) = Context::background().with_cancel();
    cancel.cancel("because");
}
