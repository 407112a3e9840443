fn main() {
    let local = String::new();
    fibers::spawn_local(|| println!("{local}"));
}
