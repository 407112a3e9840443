use fibers::{channel, select};

fn main() {
    let (tx, rx) = channel::<u32>(1);
    let _ = select! {
        v = <-rx => v.unwrap(),
        tx <- 1 => "sent",
    };
}
