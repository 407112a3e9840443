use fibers::sync::Lazy;

fn main() {
    let text = String::from("made of something that can be used once");
    let lazy = Lazy::new(move || text);
    println!("{}", *lazy);
}
