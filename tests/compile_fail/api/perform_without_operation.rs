use fibers::{Op, channel};

fn main() {
    let (_tx, rx) = channel::<u8>(1);
    rx.recv().perform();
}
