//! Where the connections of a server end up.

use crate::tcp::{alone, listen, raise_limit};
use fibers::fiber::Builder;
use fibers::{Runtime, WaitGroup};
use fibers_tests::{HANG, watchdog};
use std::collections::HashMap;
use std::net::TcpStream;
use std::sync::Mutex;
use std::thread::{self, ThreadId};

/// All connections are there before any is taken, and none has anything to say: while their fibers are started no worker has much
/// to do, and yet none takes what is another one's.
#[test]
fn a_burst_of_connections_is_spread_evenly() {
    let _alone = alone();
    const EACH: usize = 250;
    raise_limit(4 * 2 * EACH + 200);
    for workers in [2, 4] {
        let started = watchdog(HANG, || starts_of_a_burst(workers, workers * EACH));
        assert_eq!(started, vec![EACH; workers]);
    }
}

/// How many of so many connections each thread has started.
fn starts_of_a_burst(workers: usize, connections: usize) -> Vec<usize> {
    let started: Mutex<HashMap<ThreadId, usize>> = Mutex::default();
    Runtime::builder().workers(workers).build().unwrap().run(|| {
        let (listener, address) = listen();
        let clients: Vec<_> = (0..connections).map(|_| TcpStream::connect(address).unwrap()).collect();
        let all_there = WaitGroup::new();
        all_there.add(connections as isize);
        fibers::scope(|s| {
            for stream in listener.incoming().take(connections) {
                let (stream, all_there, started) = (stream.unwrap(), all_there.clone(), &started);
                let handler = move || {
                    *started.lock().unwrap().entry(thread::current().id()).or_default() += 1;
                    all_there.done();
                    assert_eq!(std::io::copy(&mut &stream, &mut &stream).unwrap(), 0);
                };
                drop(Builder::new().spread().spawn_scoped(s, handler).unwrap());
            }
            all_there.wait();
            drop(clients);
        });
    });
    started.into_inner().unwrap().into_values().collect()
}
