use std::rc::Rc;

fn show(text: Rc<str>) {
    println!("{text}");
}

fn main() {
    let text: Rc<str> = "shared".into();
    fibers::go!(show(text.clone()));
}
