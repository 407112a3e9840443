use fibers::{Op, channel};

fn main() {
    let op = {
        let (_tx, rx) = channel::<u8>(1);
        rx.recv_op()
    };
    let _ = op.perform();
}
