use fibers::{channel, select};

fn main() {
    let (tx, rx) = channel::<u32>(1);
    select! {
        tx <- 1 => {}
        biased;
        v = <-rx => drop(v),
    }
}
