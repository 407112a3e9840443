//! Clients and servers, by the hundred.

use fibers::net::{TcpListener, TcpStream};
use fibers_tests::{On, rounds};
use std::net::SocketAddr;

/// How many clients there are at a time.
pub fn count() -> u64 {
    rounds(200, 500)
}

/// A server that starts a fiber for each of [`count`] connections, and as many clients, each numbered. Every fifth client is a plain
/// thread, up to ten of them.
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
        handlers.into_iter().for_each(|handler| handler.join().expect("a server's end"));
    });
    let visitors: Vec<_> = (0..count())
        .map(|i| {
            let visit = visit.clone();
            let on = if i % 5 == 0 && i < 50 { On::Threads } else { on };
            on.spawn(move || visit(address, i))
        })
        .collect();
    for visitor in visitors {
        // To join a thread would block the worker.
        on.eventually(|| visitor.is_finished());
        visitor.join();
    }
    server.join().expect("a server");
}
