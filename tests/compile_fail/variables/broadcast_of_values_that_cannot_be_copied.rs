use fibers::sync::{Broadcast, Lag};

struct Unique;

fn main() {
    let broadcast = Broadcast::new(Lag::Unbounded);
    let subscriber = broadcast.subscribe();
    broadcast.send(Unique).ok();
    subscriber.recv().ok();
}
