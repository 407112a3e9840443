use fibers::{channel, select};

fn main() {
    let (tx, rx) = channel::<u32>(1);
    select! {
        tx <- rx <- 1 => {}
        tx <- <-rx => {}
        v = <-<-rx => drop(v),
        w = <-rx if 1 <-1 => drop(w),
    }
}
