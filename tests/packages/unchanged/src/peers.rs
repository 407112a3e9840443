//! Clients and servers, by the hundred.

use fibers::net::{TcpListener, TcpStream};
use fibers_tests::{On, rounds};
use std::net::SocketAddr;

/// How many clients there are at a time.
pub fn count() -> u64 {
    rounds(200, 500)
}

/// Runs [`count`] clients at once, each numbered. Every fifth of the first fifty is a plain thread.
pub fn each(on: On, visit: impl Fn(u64) + Clone + Send + 'static) {
    let visitors: Vec<_> = (0..count())
        .map(|i| {
            let visit = visit.clone();
            let on = if i % 5 == 0 && i < 50 { On::Threads } else { on };
            on.spawn(move || visit(i))
        })
        .collect();
    for visitor in visitors {
        // To join a thread would block the worker.
        on.eventually(|| visitor.is_finished());
        visitor.join();
    }
}

/// A server that starts a fiber for each of [`count`] connections, and as many clients.
pub fn meet(
    on: On,
    serve: impl Fn(TcpStream) + Clone + Send + 'static,
    visit: impl Fn(SocketAddr, u64) + Clone + Send + 'static,
) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let server = fibers::spawn(move || {
        let handlers: Vec<_> = (0..count())
            .map(|_| {
                let (stream, _) = listener.accept().expect("a connection");
                let serve = serve.clone();
                let handler = fibers::fiber::Builder::new().spread().spawn(move || serve(stream));
                handler.expect("a fiber")
            })
            .collect();
        for handler in handlers {
            handler.join().expect("a connection that goes well");
        }
    });
    each(on, move |i| visit(address, i));
    server.join().expect("a server");
}
