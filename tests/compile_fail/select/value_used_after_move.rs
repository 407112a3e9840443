use fibers::{channel, select};

fn main() {
    let (tx, rx) = channel::<String>(1);
    let text = String::new();
    select! {
        tx <- text => drop(rx),
        default => println!("{text}"),
    }
}
