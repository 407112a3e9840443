use fibers::{channel, select};

fn main() {
    let (tx, rx) = channel::<u32>(1);
    select! {
        rx -> v => drop(v),
        recv(rx) -> msg => drop(msg),
        send(tx, 1) -> res => drop(res),
    }
}
