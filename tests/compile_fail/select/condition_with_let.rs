use fibers::{channel, select};

fn main() {
    let (tx, rx) = channel::<u32>(1);
    select! {
        v = <-rx if let Some(x) = Some(1) => drop((v, x)),
    }
}
