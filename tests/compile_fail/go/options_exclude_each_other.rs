use fibers::{channel, go};

fn f(n: u32) -> Result<u32, ()> {
    Ok(n)
}

fn main() {
    let (tx, rx) = channel::<u32>(1);
    go!(local, spread; f(1));
    go!(local, worker = 1; f(1));
    go!(spread, worker = 1; f(1));
    go!(scope = s, worker = 1; f(1));
    go!(scope = s, local; f(1));
    drop((tx, rx));
}
