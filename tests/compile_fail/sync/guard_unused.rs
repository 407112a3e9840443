#![deny(unused_must_use)]
use fibers::WaitGroup;

fn main() {
    let wg = WaitGroup::new();
    wg.guard();
}
