use fibers::op::choice;
use fibers::{Op, channel};

fn main() {
    let (tx, rx) = channel::<u8>(1);
    choice((tx.send_op(1), rx.recv_op())).perform();
}
