//! What one child writes, neither another one nor the closure may touch before the end of the scope.

use fibers::scope;

fn main() {
    fibers::run(|| {
        let mut total = 0;
        scope(|s| {
            s.spawn(|| total += 1);
            s.spawn(|| total += 2);
        });
        let mut sum = 0;
        scope(|s| {
            s.spawn(|| sum += 1);
            println!("{sum}");
        });
        println!("{total}");
    });
}
