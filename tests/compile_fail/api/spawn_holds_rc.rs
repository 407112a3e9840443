use std::rc::Rc;

fn main() {
    let shared = Rc::new(1);
    fibers::spawn(move || println!("{shared}"));
}
