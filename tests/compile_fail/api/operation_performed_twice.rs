use fibers::{Op, channel};

fn main() {
    let (tx, _rx) = channel::<String>(1);
    let op = tx.send_op(String::new());
    let _ = op.perform();
    let _ = op.perform();
}
