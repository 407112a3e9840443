use fibers::{channel, select};

fn main() {
    let (tx, rx) = channel::<u32>(1);
    select! {
        case v := <-rx:
            drop(v);
        case tx <- 1:
        default:
            drop(1);
    }
}
