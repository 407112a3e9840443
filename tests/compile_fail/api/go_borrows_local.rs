fn show(text: &str) {
    println!("{text}");
}

fn main() {
    let local = String::new();
    fibers::go!(show(&local));
}
