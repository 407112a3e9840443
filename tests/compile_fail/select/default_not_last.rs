use fibers::{channel, select};

fn main() {
    let (tx, rx) = channel::<u32>(1);
    select! {
        default => {}
        tx <- 1 => {}
        v = <-rx => drop(v),
    }
}
