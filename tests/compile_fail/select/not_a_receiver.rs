use fibers::{channel, select};

fn main() {
    let (tx, rx) = channel::<u32>(1);
    select! {
        v = <-tx => drop(v),
        w = <-5 => drop(w),
    }
}
