use fibers::{channel, select};

fn main() {
    let (tx, rx) = channel::<u32>(1);
    select! {
        biased,
        tx <- 1 => {}
    }
}
