use fibers::{channel, go};

fn main() {
    let (tx, rx) = channel::<u8>(1);
    go!(tx <- 1);
    go!(tx <- 2);
    drop(rx);
}
