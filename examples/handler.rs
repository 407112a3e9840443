//! A server with a crew of four. Requests queue up for the crew; a client that has waited long enough goes away, and then nobody
//! works for it any longer. At the end the server closes shop: what has been accepted is answered, and the crew goes home.
//!
//! `cargo run --release --example handler`

use fibers::{Receiver, Sender, channel, go, select, time};
use std::time::Duration;

const CREW: usize = 4;
const SECOND: Duration = Duration::from_secs(1);

struct Request {
    path: String,
    reply: Sender<String>,
    /// Nothing is ever sent here. The client keeps the other end, so this disconnects when the client leaves.
    gone: Receiver<()>,
}

/// What a client does: hands its request to the crew and waits for the answer, all of it within `patience`.
fn get(server: Sender<Request>, path: String, patience: Duration) -> String {
    let (reply, answer) = channel(1);
    let (_here, gone) = channel(0);
    let too_late = time::after(patience); // one moment for both of the waits below

    select! {
        sent = server <- Request { path, reply, gone } => if sent.is_err() {
            return "the server has closed".into();
        },
        <-too_late => return format!("nobody was free within {patience:?}"),
    }
    select! {
        answer = <-answer => answer.unwrap_or_else(|_| "500 the crew has dropped it".into()),
        <-too_late => format!("no answer within {patience:?}"),
    }
}

/// The answer, unless the client leaves before there is one.
fn handle(request: &Request) -> Option<String> {
    match request.path.as_str() {
        "/" => Some("200 welcome".into()),
        "/report" => select! {
            <-time::after(3600 * SECOND) => Some("200 here is your report".into()),
            <-request.gone => None,
        },
        path if path.starts_with("/hello/") => Some(format!("200 hello, {}", &path["/hello/".len()..])),
        _ => Some("404 not found".into()),
    }
}

/// One of the crew: takes requests until the server closes. Returns how many it has answered.
fn worker(requests: Receiver<Request>) -> usize {
    let mut answered = 0;
    for request in requests {
        if let Some(answer) = handle(&request)
            && request.reply.send(answer).is_ok()
        {
            answered += 1;
        }
    }
    answered
}

#[fibers::main]
fn main() {
    let (server, requests) = channel(0);
    let crew: Vec<_> = (0..CREW).map(|_| go!(worker(requests.clone()))).collect();

    let wanted = [
        ("/", 60 * SECOND),
        ("/hello/ann", 60 * SECOND),
        ("/report", SECOND / 10),
        ("/hello/bob", 60 * SECOND),
        ("/nowhere", 60 * SECOND),
        ("/report", SECOND / 20),
        ("/hello/eve", 60 * SECOND),
    ];
    let clients = wanted.map(|(path, patience)| (path, go!(get(server.clone(), path.to_string(), patience))));
    for (path, client) in clients {
        println!("{path}: {}", client.join().expect("a client does not panic"));
    }

    server.close();
    let answered: usize = crew
        .into_iter()
        .map(|worker| worker.join().expect("a worker does not panic"))
        .sum();
    println!("closed, {answered} requests answered");
}
