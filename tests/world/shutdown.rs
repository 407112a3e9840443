//! Runtimes that end while others still begin something in them.

use crate::tcp::listen;
use fibers::net::TcpStream;
use fibers_tests::{HANG, rounds, runtime, watchdog};
use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

/// Fibers that connect, accept and read come from a thread until the runtime refuses them: each start is answered, by a result or by
/// an error.
#[test]
fn f44_connections_that_race_the_end_of_the_runtime() {
    watchdog(HANG, || {
        for round in 0..rounds(20, 1_000) {
            let runtime = runtime(1 + round as usize % 2);
            let handle = runtime.handle();
            let ended = Arc::new(AtomicBool::new(false));
            let (tell, told) = mpsc::channel();
            let over = ended.clone();
            let thread = runtime.run(move || {
                let (listener, address) = listen();
                let thread = thread::spawn(move || {
                    let mut outcomes = [0; 2];
                    loop {
                        let last = over.load(Ordering::Acquire);
                        let connecting = handle.spawn(move || {
                            let mut stream = TcpStream::connect(address)?;
                            stream.read(&mut [0; 8])
                        });
                        let _ = tell.send(());
                        // It has to return, whatever it says.
                        outcomes[usize::from(connecting.join().is_err())] += 1;
                        if last {
                            return outcomes;
                        }
                    }
                });
                told.recv().unwrap();
                for _ in 0..round % 4 {
                    drop(listener.accept().unwrap());
                }
                thread
            });
            drop(runtime);
            ended.store(true, Ordering::Release);
            let [_, refused] = thread.join().unwrap();
            assert!(refused > 0, "what comes after the end is refused");
        }
    });
}
