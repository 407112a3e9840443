//! Two players and a ball. A table is a pair of rendezvous channels, so a ball that was sent has been received.
//!
//! `cargo run --release --example ping_pong -- 6`

use fibers::{Receiver, Sender, channel, go};

const USAGE: &str = "usage: ping_pong [HITS]\nPlays until the ball has been hit HITS times (6 if HITS is not given).";

struct Ball {
    hits: usize,
    left: usize,
}

/// Plays until the ball has been hit often enough, or until the other side has gone.
fn player(name: &str, ours: Receiver<Ball>, theirs: Sender<Ball>) {
    for mut ball in ours {
        if ball.left == 0 {
            return;
        }
        ball.left -= 1;
        ball.hits += 1;
        println!("{name} {}", ball.hits);
        if theirs.send(ball).is_err() {
            return;
        }
    }
}

#[fibers::main]
fn main() {
    let left = fibers_examples::number(USAGE, 6);
    let (to_ping, at_ping) = channel(0);
    let (to_pong, at_pong) = channel(0);

    let ping = go!(player("ping", at_ping, to_pong));
    let pong = go!(player("pong", at_pong, to_ping.clone()));
    to_ping.send(Ball { hits: 0, left }).expect("ping waits for the ball");
    drop(to_ping);

    // Whoever holds the ball at the end leaves; that closes the channel on which the other one waits.
    ping.join().expect("ping does not panic");
    pong.join().expect("pong does not panic");
    println!("game over");
}
