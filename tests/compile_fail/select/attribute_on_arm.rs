use fibers::{channel, select};

fn main() {
    let (tx, rx) = channel::<u32>(1);
    select! {
        #[cfg(unix)]
        v = <-rx => drop(v),
        tx <- 1 => {}
    }
}
