use fibers::{channel, select};

fn main() {
    let (tx, rx) = channel::<u32>(1);
    select! {
        Ok(v) = <-rx else { return } if true => drop(v),
    }
}
