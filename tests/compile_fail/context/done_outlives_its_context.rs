//! The operation waits for a context that is still there.

use fibers::Op;
use fibers::context::Context;

fn main() {
    let done = {
        let (ctx, _cancel) = Context::background().with_cancel();
        ctx.done_op()
    };
    done.perform();
}
