use fibers::{channel, select};

fn main() {
    let (tx, rx) = channel::<u32>(1);
    select! {
        v = rx.recv() => drop(v),
        _ = fibers::time::sleep(std::time::Duration::ZERO) => {}
    }
}
