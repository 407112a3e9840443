use fibers::{channel, select};

fn main() {
    let (tx, rx) = channel::<u32>(1);
    select! {
        v = async { 1 } => drop(v),
        w = rx.recv().await => drop(w),
    }
}
