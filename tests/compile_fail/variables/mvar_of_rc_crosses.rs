use fibers::{spawn, sync::MVar};
use std::rc::Rc;

fn main() {
    let mvar = MVar::new(Rc::new(1));
    let theirs = mvar.clone();
    spawn(move || drop(theirs.take()));
    mvar.put(Rc::new(2));
}
