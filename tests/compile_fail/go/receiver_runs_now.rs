use fibers::{channel, defer, go};

fn main() {
    let (tx, _rx) = channel::<u32>(0);
    let lock = std::sync::Mutex::new(vec![1]);
    go! { tx.send(1).unwrap() };
    defer! { lock.lock().unwrap().push(2) }
}
