//! A server that answers each line with itself, and some clients of it in the same program.
//!
//! `cargo run --release --example echo_server -- 3`

use fibers::net::{AcceptBackoff, TcpListener, TcpStream};
use fibers::{Cond, WaitGroup, go, select};
use std::io::{self, BufRead, BufReader, Write};
use std::net::SocketAddr;

const USAGE: &str =
    "usage: echo_server [CLIENTS]\nServes CLIENTS clients (3 if CLIENTS is not given) on a free port of this machine.";

/// Takes connections until it is told to stop, and waits for those that it has taken.
fn serve(listener: TcpListener, stop: Cond) -> io::Result<()> {
    let handlers = WaitGroup::new();
    let mut backoff = AcceptBackoff::new();
    loop {
        select! {
            accepted = listener.accept_op() => match accepted {
                Ok((stream, _)) => {
                    backoff.reset();
                    let handlers = handlers.clone();
                    handlers.add(1);
                    go!(spread; {
                        if let Err(error) = answer(&stream) {
                            eprintln!("a connection has failed: {error}");
                        }
                        handlers.done();
                    });
                }
                Err(error) => backoff.wait(error)?,
            },
            <-stop => break,
        }
    }
    handlers.wait();
    Ok(())
}

fn answer(stream: &TcpStream) -> io::Result<()> {
    let mut out = stream;
    for line in BufReader::new(stream).lines() {
        writeln!(out, "you said: {}", line?)?;
    }
    Ok(())
}

/// Asks one question, and returns the answer.
fn ask(address: SocketAddr, question: String) -> io::Result<String> {
    let stream = TcpStream::connect(address)?;
    writeln!(&stream, "{question}")?;
    let mut answer = String::new();
    BufReader::new(&stream).read_line(&mut answer)?;
    Ok(answer.trim_end().to_owned())
}

#[fibers::main]
fn main() -> io::Result<()> {
    let clients = fibers_examples::number(USAGE, 3);
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let stop = Cond::new();
    let server = go!(serve(listener, stop.clone()));

    let clients: Vec<_> = (1..=clients).map(|i| go!(ask(address, format!("hello from {i}")))).collect();
    for client in clients {
        println!("{}", client.join().expect("a client does not panic")?);
    }
    stop.signal();
    server.join().expect("the server does not panic")
}
