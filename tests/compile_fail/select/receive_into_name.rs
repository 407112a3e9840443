use fibers::{channel, select};

fn main() {
    let (tx, rx) = channel::<u32>(1);
    select! {
        r = rx <- 1 => drop(r),
    }
}
