use fibers::{channel, go};
use std::rc::Rc;

fn main() {
    let (tx, rx) = channel::<Rc<u8>>(1);
    go! { tx.send(Rc::new(1)).unwrap(); };
    drop(rx);
}
