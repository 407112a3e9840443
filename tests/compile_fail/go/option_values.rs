use fibers::{channel, go};

fn f(n: u32) -> Result<u32, ()> {
    Ok(n)
}

fn main() {
    let (tx, rx) = channel::<u32>(1);
    go!(name; f(1));
    go!(local = true; f(1));
    go!(clone; f(1));
    go!(clone(tx.x, self); f(1));
    drop((tx, rx));
}
