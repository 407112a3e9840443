//! Children of a `try_scope` return results, with its error.

use fibers::scope::{join_all, try_scope};

fn main() {
    fibers::run(|| {
        let _: Result<(), String> = try_scope(|s| {
            s.spawn(|| 1);
            s.spawn(|| "x".parse::<u32>());
            Ok(())
        });
        join_all(&[1]);
    });
}
