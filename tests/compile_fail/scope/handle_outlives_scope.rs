//! The handle of a child belongs into its scope.

use fibers::scope;

fn main() {
    fibers::run(|| {
        let handle = scope(|s| s.spawn(|| 1));
        let _ = handle.join();
    });
}
