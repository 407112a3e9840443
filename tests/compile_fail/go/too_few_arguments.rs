use fibers::{channel, go};

fn f(n: u32) -> Result<u32, ()> {
    Ok(n)
}

fn main() {
    let (tx, rx) = channel::<u32>(1);
    go!(f());
    drop((tx, rx));
}
