#![deny(unused_must_use)]
use fibers::sync::Semaphore;

fn main() {
    let semaphore = Semaphore::new(1);
    semaphore.acquire().unwrap();
}
