#![deny(unused_must_use)]
use fibers::channel;

fn main() {
    let (_tx, rx) = channel::<u8>(1);
    rx.recv_op();
}
