use fibers::{channel, go};

fn f(n: u32) -> Result<u32, ()> {
    Ok(n)
}

fn main() {
    let (tx, rx) = channel::<u32>(1);
    go!(name = "x", name = "y"; f(1));
    go!(local, local; f(1));
    drop((tx, rx));
}
