//! The generator of the Tour of Go: one `select!` that sends the next number or hears that it is enough.
//!
//! `cargo run --release --example fibonacci`

use fibers::{Receiver, Sender, channel, go, select};

fn fibonacci(numbers: Sender<u64>, quit: Receiver<()>) {
    let (mut x, mut y) = (0, 1);
    loop {
        select! {
            numbers <- x => (x, y) = (y, x + y),
            <-quit => {
                println!("quit");
                return;
            }
        }
    }
}

#[fibers::main]
fn main() {
    let (tx, rx) = channel(0);
    let (enough, quit) = channel(0);
    go! {
        for number in rx.iter().take(10) {
            println!("{number}");
        }
        enough.send(()).expect("the generator waits for it");
    };
    fibonacci(tx, quit);
}
