#![deny(unused_must_use)]
use fibers::sync::Mutex;

fn main() {
    let mutex = Mutex::new(1);
    mutex.lock();
}
