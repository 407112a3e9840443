use fibers::channel;

fn main() {
    let (tx, _rx) = channel::<String>(1);
    let text = String::from("mine");
    tx.send(text).unwrap();
    println!("{text}");
}
