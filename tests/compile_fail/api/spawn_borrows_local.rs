fn main() {
    let local = String::new();
    fibers::spawn(|| println!("{local}"));
}
