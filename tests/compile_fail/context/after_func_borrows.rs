//! The function of `after_func` runs in a fiber of its own, which may outlive this frame.

use fibers::context::Context;

fn main() {
    let mut closed = false;
    let (ctx, _cancel) = Context::background().with_cancel();
    ctx.after_func(|| closed = true);
}
