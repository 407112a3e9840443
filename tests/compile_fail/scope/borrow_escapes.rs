//! Nobody takes the scope out of its closure: who could spawn into it later?

use fibers::scope;

fn main() {
    fibers::run(|| {
        let scope = scope(|s| s);
        scope.spawn(|| 1);
    });
}
