use fibers::{channel, select};

fn main() {
    let (tx, rx) = channel::<u32>(1);
    select! {
        v = <-rx + 1 => drop(v),
        1 + tx <- 2 => {}
    }
}
