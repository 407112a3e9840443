//! Peers that cannot be reached, and names that nobody answers for.

use crate::tcp::{Silent, descriptors, listen};
use fibers::fault::{Call, Fault, clear, inject};
use fibers::fiber::Builder;
use fibers::net::TcpStream;
use fibers::{Handle, fs};
use fibers_tests::{On, on_workers, subprocess};
use std::io::ErrorKind;
use std::time::Duration;

/// In a process of its own, in which nobody else opens descriptors.
#[test]
fn f43_a_connect_that_is_given_up_frees_its_descriptor() {
    let output = subprocess("unreachable::f43_a_connect_that_is_given_up_frees_its_descriptor", || {
        let silent = Silent::new();
        let address = silent.address;
        let attempt = move |_| {
            let error = TcpStream::connect_timeout(address, Duration::from_millis(20)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut);
        };
        On::Threads.run(|on| {
            // The driver's own descriptors stay.
            attempt(0);
            let before = descriptors();
            (0..10)
                .map(|i| on.spawn(move || attempt(i)))
                .collect::<Vec<_>>()
                .into_iter()
                .for_each(|task| task.join());
            assert_eq!(descriptors(), before);
        });
        on_workers(&[1, 2], |_| {
            let before = descriptors();
            let spread = |i| Builder::new().spread().spawn(move || attempt(i)).unwrap();
            let all: Vec<_> = (0..100).map(spread).collect();
            all.into_iter().for_each(|fiber| fiber.join().unwrap());
            assert_eq!(descriptors(), before);
        });
    });
    assert!(output.status.success(), "{output:?}");
}

/// How many look-ups there may be at a time: half of the pool's threads.
const LOOK_UPS: usize = 32;

/// A name for whose look-up the time is over.
fn give_up() {
    let error = TcpStream::connect_timeout(("localhost", 1), Duration::from_millis(20)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
}

/// In a process of its own, as no look-up comes back.
#[test]
fn f43_names_that_nobody_answers_for_are_given_up() {
    let output = subprocess("unreachable::f43_names_that_nobody_answers_for_are_given_up", || {
        On::Threads.run(|_| {
            inject(Call::LookUp, Fault::hang());
            give_up();
            clear();
        });
        on_workers(&[1, 2], |on| {
            let (listener, address) = listen();
            inject(Call::LookUp, Fault::hang());
            let pool = || Handle::current().blocking_pool();
            while pool().running < LOOK_UPS {
                // One whose thread comes too late is taken back, and counts no more.
                let all: Vec<_> = (0..LOOK_UPS / 2).map(|_| on.spawn(give_up)).collect();
                all.into_iter().for_each(|task| task.join());
            }
            let error = TcpStream::connect(("localhost", address.port())).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ResourceBusy, "{error}");
            assert!(error.to_string().contains("32 look-ups of before were given up"), "{error}");
            assert_eq!(pool().running, LOOK_UPS);
            // What needs no look-up goes on, and so does what needs the pool.
            drop(TcpStream::connect(address).unwrap());
            drop(listener.accept().unwrap());
            assert!(fs::read_to_string("/proc/self/status").unwrap().contains("Threads:"));
            clear();
            on.eventually(|| pool().running == 0);
            drop(TcpStream::connect(("localhost", address.port())).unwrap());
        });
    });
    assert!(output.status.success(), "{output:?}");
}
