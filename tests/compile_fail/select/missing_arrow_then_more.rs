use fibers::{channel, select};

fn main() {
    let (tx, rx) = channel::<u32>(1);
    select! {
        v = <-rx { drop(v) }
        let w = <-rx => drop(w),
        x = <-rx if true { drop(x) }
        y = rx.recv_op()
    }
}
