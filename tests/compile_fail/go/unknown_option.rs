use fibers::{channel, go};

fn f(n: u32) -> Result<u32, ()> {
    Ok(n)
}

fn main() {
    let (tx, rx) = channel::<u32>(1);
    go!(nam = "x"; f(1));
    go!(locale; f(1));
    go!(name = "x", prio = 3, stack = 1 << 20; f(1));
    drop((tx, rx));
}
