#![deny(unused_must_use)]

fn main() {
    fibers::fiber::Builder::new().name("idle");
}
