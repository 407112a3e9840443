//! Programs without another thread than those of this crate: what is a deadlock in them, and what is not.

#[cfg(not(loom))]
use fibers::{
    channel,
    process::{Command, Stdio},
    signal,
    signal::Signal,
    time::alarm,
};
#[cfg(not(loom))]
use std::time::{Duration, SystemTime};

/// In seconds: whoever looks for deadlocks does so as soon as nothing goes on.
#[cfg(not(loom))]
const LONG: &str = "0.4";

#[cfg(not(loom))]
fn main() {
    let scenario = std::env::args().nth(1).expect("a scenario");
    fibers::Runtime::builder()
        .workers(2)
        .build()
        .unwrap()
        .run(|| match &*scenario {
            "signal" => await_signal(),
            "child" => assert!(Command::new("sleep").arg(LONG).status().unwrap().success()),
            "alarm" => alarm::at(SystemTime::now() + Duration::from_millis(400)),
            "nothing" => await_nothing(),
            _ => panic!("there is no scenario {scenario}"),
        });
}

#[cfg(not(loom))]
fn await_signal() {
    let signals = signal::notify(&[Signal::USR1]).unwrap();
    let script = format!("sleep {LONG}; kill -USR1 $PPID");
    drop(Command::new("sh").arg("-c").arg(script).spawn().unwrap());
    assert_eq!(signals.recv(), Signal::USR1);
}

/// The caretaker is there, and looks after a child, the clock and the signals of before: it will wake nobody.
#[cfg(not(loom))]
fn await_nothing() {
    drop(signal::notify(&[Signal::USR1]).unwrap());
    assert_eq!(
        fibers::Op::try_perform(alarm::at_op(SystemTime::now() + Duration::from_secs(3600))),
        None
    );
    drop(Command::new("sleep").arg("3").stderr(Stdio::null()).spawn().unwrap());
    let (_tx, rx) = channel::<()>(0);
    let _ = rx.recv();
}

#[cfg(loom)]
fn main() {}
