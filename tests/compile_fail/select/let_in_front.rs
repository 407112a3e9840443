use fibers::{channel, select};

fn main() {
    let (tx, rx) = channel::<u32>(1);
    select! {
        let v = <-rx => drop(v),
        tx <- 1 => {}
    }
}
