//! A detached context cannot be cancelled through its handle any more.

use fibers::context::Context;

fn main() {
    let (_ctx, cancel) = Context::background().with_cancel();
    cancel.detach();
    cancel.cancel();
}
