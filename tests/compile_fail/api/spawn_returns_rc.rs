use std::rc::Rc;

fn main() {
    fibers::spawn(|| Rc::new(1)).join().unwrap();
}
