use fibers::sync::Mutex;
use std::rc::Rc;
use std::sync::Arc;

fn main() {
    let mutex = Arc::new(Mutex::new(Rc::new(1)));
    fibers::spawn(move || println!("{}", mutex.lock()));
}
