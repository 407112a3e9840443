//! Remote calls as operations: a booking can be raced against a deadline or against another theatre, and whoever is not chosen
//! hears of it. So no seat is ever lost to a client that has gone.
//!
//! `Theatre::book_op` sends a request together with a *nack*, which fires if that booking was not chosen. The server offers the
//! seat and listens to the nack in one `select!`, and keeps the seat unless the client has taken it (Reppy, *Concurrent
//! Programming in ML*, chapter 6).
//!
//! `cargo run --release --example rpc_nack`

use fibers::op::{self, Nack};
use fibers::{Op, Queue, Receiver, Sender, channel, go, select, time};
use std::time::Duration;

struct Seat;

struct Request {
    reply: Sender<Seat>,
    gone: Nack,
}

#[derive(Clone)]
struct Theatre {
    requests: Sender<Request>,
    free: Queue<Seat>,
}

impl Theatre {
    fn open(seats: usize) -> Theatre {
        let (requests, incoming) = channel(0);
        let theatre = Theatre {
            requests,
            free: Queue::unbounded(),
        };
        for _ in 0..seats {
            theatre.give_back(Seat);
        }
        go!(server(incoming, theatre.free.clone()));
        theatre
    }

    /// The operation that books a seat. Sold out, it waits until somebody gives one back.
    fn book_op(&self) -> impl Op<Output = Seat> {
        op::with_nack(|gone| {
            let (reply, seat) = channel(0);
            self.requests
                .send(Request { reply, gone })
                .expect("the server runs while there are theatres");
            seat.into_recv_op()
                .wrap(|seat| seat.expect("the server answers whoever waits"))
        })
    }

    fn give_back(&self, seat: Seat) {
        self.free.put(seat).expect("an open queue");
    }
}

/// Each request has a fiber of its own, so a client that makes up its mind delays nobody.
fn server(requests: Receiver<Request>, free: Queue<Seat>) {
    for request in requests {
        go!(serve(request, free.clone()));
    }
}

fn serve(request: Request, free: Queue<Seat>) {
    let mut seat = select! {
        seat = <-free => seat.ok(),
        <-request.gone => return,
    };
    select! {
        _ = request.reply.send_slot_op(&mut seat) => {}
        <-request.gone => {}
    }
    if let Some(seat) = seat {
        free.put(seat).expect("an open queue"); // the client did not take it
    }
}

/// Books in either theatre, whichever answers first, within `patience`.
fn visit(theatres: [Theatre; 2], patience: Duration) -> Option<(Theatre, Seat)> {
    let [opera, cinema] = theatres;
    let (seat, theatre) = select! {
        seat = opera.book_op() => (seat, opera),
        seat = cinema.book_op() => (seat, cinema),
        <-time::after(patience) => return None,
    };
    Some((theatre, seat))
}

#[fibers::main]
fn main() {
    let theatres = [Theatre::open(3), Theatre::open(4)];
    let visitor = |patience| go!(visit(theatres.clone(), patience));

    let visitors: Vec<_> = (0..7).map(|_| visitor(Duration::from_secs(60))).collect();
    let mut seated: Vec<_> = visitors.into_iter().filter_map(|visitor| visitor.join().unwrap()).collect();
    println!("7 visitors for 3 + 4 seats, {} seated", seated.len());

    let late = visitor(Duration::from_millis(10)).join().unwrap();
    println!("one more, who waits a little: seated {}", late.is_some());

    let late = visitor(Duration::from_secs(60));
    let (theatre, seat) = seated.pop().expect("somebody is seated");
    theatre.give_back(seat);
    println!("one more, while somebody leaves: seated {}", late.join().unwrap().is_some());
    // The last visitor has dropped its seat for ever; everybody else gives theirs back.
    for (theatre, seat) in seated {
        theatre.give_back(seat);
    }

    // Visitors whose patience ends just when the answers come. Whoever is seated leaves at once.
    let crowd: Vec<_> = (0..1000).map(|i| visitor(Duration::from_micros(i))).collect();
    for visitor in crowd {
        if let Some((theatre, seat)) = visitor.join().unwrap() {
            theatre.give_back(seat);
        }
    }
    let [opera, cinema] = &theatres;
    for _ in 0..6 {
        opera.book_op().or(cinema.book_op()).perform(); // waits for seats that are still on their way back
    }
    let one_more = opera
        .book_op()
        .or(cinema.book_op())
        .timeout(Duration::from_millis(10))
        .perform();
    println!("after 1000 hasty visitors: 6 seats free, one more: {}", one_more.is_ok());
}
