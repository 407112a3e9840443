//! Signals: received, coalesced, shared by subscribers, restored; and what children get to see of it.
//!
//! What changes dispositions for good, or floods the process, runs in a process of its own. The others use signals that no other test
//! of this binary uses.

use fibers::process::Command as FiberCommand;
use fibers::signal::{self, Signal};
use fibers::{Op, op, select, spawn, time};
use fibers_tests::{On, everywhere, on_workers, rounds, subprocess};
use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// One test at a time: a signal reaches all subscribers of the process.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn signals_are_received_by_whoever_has_subscribed() {
    let _alone = alone();
    everywhere(|on| {
        let (one, both) = (
            signal::notify(&[Signal::USR1]).unwrap(),
            signal::notify(&[Signal::USR1, Signal::USR2]).unwrap(),
        );
        let waiting = on.spawn(move || (one.recv(), one));
        Signal::USR1.raise().unwrap();
        let (signal, one) = waiting.join();
        assert_eq!((signal, both.recv()), (Signal::USR1, Signal::USR1));
        Signal::USR2.raise().unwrap();
        assert_eq!(both.recv(), Signal::USR2);
        assert_eq!((one.try_recv(), both.try_recv()), (None, None));
        assert_eq!(both.subscribed().collect::<Vec<_>>(), [Signal::USR1, Signal::USR2]);
    });
}

#[test]
fn a_subscriber_receives_nothing_of_before() {
    let _alone = alone();
    everywhere(|_| {
        for _ in 0..rounds(300, 20_000) {
            let first = signal::notify(&[Signal::USR1]).unwrap();
            // SAFETY: there is a handler. It has run on this very thread when the call returns.
            assert_eq!(unsafe { libc::raise(libc::SIGUSR1) }, 0);
            let second = signal::notify(&[Signal::USR1, Signal::USR2]).unwrap();
            assert_eq!(first.recv(), Signal::USR1);
            Signal::USR2.raise().unwrap();
            assert_eq!(second.recv(), Signal::USR2, "not one of before");
        }
    });
}

#[test]
fn several_fibers_share_one_subscription() {
    let _alone = alone();
    everywhere(|on| {
        let signals = Arc::new(signal::notify(&[Signal::USR1, Signal::USR2]).unwrap());
        let tasks: Vec<_> = (0..2)
            .map(|_| {
                let signals = signals.clone();
                on.spawn(move || signals.recv())
            })
            .collect();
        Signal::USR1.raise().unwrap();
        Signal::USR2.raise().unwrap();
        let mut got: Vec<_> = tasks.into_iter().map(|task| task.join()).collect();
        got.sort();
        assert_eq!(got, [Signal::USR1, Signal::USR2]);
    });
}

#[test]
fn a_branch_that_loses_takes_no_signal() {
    let _alone = alone();
    everywhere(|_| {
        let signals = signal::notify(&[Signal::USR1]).unwrap();
        for _ in 0..rounds(200, 100_000) {
            assert_eq!(signals.recv_op().timeout(Duration::ZERO).perform(), Err(fibers::Elapsed));
        }
        Signal::USR1.raise().unwrap();
        let mut lost = 0;
        loop {
            let got = select! {
                signal = <-signals => Some(signal),
                _ = op::always(()) => None,
            };
            match got {
                Some(signal) => break assert_eq!(signal, Signal::USR1),
                None => lost += 1,
            }
            assert!(lost < 100_000_000);
        }
        assert_eq!(signals.try_recv(), None);
    });
}

/// A commit that nobody gets to see is none.
#[test]
fn a_signal_survives_a_perform_that_panics() {
    let _alone = alone();
    everywhere(|_| {
        let signals = signal::notify(&[Signal::USR1]).unwrap();
        Signal::USR1.raise().unwrap();
        assert_eq!(signals.recv(), Signal::USR1);
        Signal::USR1.raise().unwrap();
        let other = op::never().on_abort(|| fibers_tests::quiet_panic("not chosen"));
        let performed = catch_unwind(AssertUnwindSafe(|| signals.recv_op().or(other).perform()));
        assert!(performed.is_err());
        assert_eq!(signals.try_recv(), Some(Signal::USR1));
        assert_eq!(signals.try_recv(), None);
    });
}

#[test]
fn what_cannot_be_received() {
    for signal in [
        Signal::KILL,
        Signal::STOP,
        Signal::SEGV,
        Signal::BUS,
        Signal::ILL,
        Signal::FPE,
    ] {
        let error = signal::notify(&[Signal::USR1, signal]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains(&signal.to_string()), "{error}");
    }
    assert_eq!((Signal::from_raw(0), Signal::from_raw(65)), (None, None));
    assert_eq!(Signal::from_raw(40).unwrap().to_string(), "signal 40");
}

#[test]
fn the_disposition_of_before_is_restored() {
    let output = subprocess("signals::the_disposition_of_before_is_restored", || {
        let first = signal::notify(&[Signal::TERM]).unwrap();
        let second = signal::notify(&[Signal::TERM, Signal::HUP]).unwrap();
        drop(first);
        Signal::TERM.raise().unwrap();
        assert_eq!(second.recv(), Signal::TERM);
        drop(second);
        println!("still here");
        Signal::TERM.raise().unwrap();
        loop {
            std::thread::park();
        }
    });
    assert_eq!(output.status.signal(), Some(libc::SIGTERM), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("still here"));
}

#[test]
fn a_subscription_that_fails_changes_nothing() {
    use fibers::fault::{Call, Fault, scoped};
    let output = subprocess("signals::a_subscription_that_fails_changes_nothing", || {
        let fault = Fault {
            after: 2,
            times: 1,
            errno: libc::EINVAL,
        };
        let fault = scoped(Call::Sigaction, fault);
        assert!(signal::notify(&[Signal::USR1, Signal::TERM]).is_err());
        drop(fault);
        Signal::USR1.raise().unwrap();
        loop {
            std::thread::park();
        }
    });
    assert_eq!(output.status.signal(), Some(libc::SIGUSR1), "{output:?}");
}

#[test]
fn ctrl_c_ends_a_loop() {
    let output = subprocess("signals::ctrl_c_ends_a_loop", || {
        fibers::run(|| {
            let stop = signal::ctrl_c_op().unwrap();
            spawn(|| Signal::INT.raise().unwrap());
            select! {
                signal = stop => assert_eq!(signal, Signal::INT),
                _ = time::sleep_op(Duration::from_secs(50)) => panic!("no signal"),
            }
            // The operation was the last subscriber.
            Signal::INT.raise().unwrap();
            loop {
                std::thread::park();
            }
        });
    });
    assert_eq!(output.status.signal(), Some(libc::SIGINT), "{output:?}");
}

#[test]
fn f42_a_storm_is_coalesced() {
    let output = subprocess("signals::f42_a_storm_is_coalesced", || {
        for workers in [1, 2] {
            On::Fibers(workers).run(|on| {
                let signals = signal::notify(&[Signal::USR1]).unwrap();
                let ends = signal::notify(&[Signal::USR2]).unwrap();
                let total = rounds(20_000, 100_000);
                let sender = std::thread::spawn(move || {
                    for _ in 0..total {
                        Signal::USR1.raise().unwrap();
                    }
                    Signal::USR2.raise().unwrap();
                });
                let mut seen = 0;
                loop {
                    let ended = select! {
                        _ = <-signals => false,
                        _ = <-ends => true,
                    };
                    if ended {
                        break;
                    }
                    seen += 1;
                }
                sender.join().unwrap();
                // The last ones may still be on their way, all as one.
                on.eventually(|| {
                    seen += u64::from(signals.try_recv().is_some());
                    seen > 0
                });
                assert!(seen <= total);
            });
        }
    });
    assert!(output.status.success(), "{output:?}");
}

/// A system call that a signal interrupts goes on: nothing of the process sees EINTR.
#[test]
fn f42_a_storm_disturbs_nobody() {
    let output = subprocess("signals::f42_a_storm_disturbs_nobody", || {
        let signals = signal::notify(&[Signal::USR1]).unwrap();
        On::Fibers(2).run(|_| {
            let sender = std::thread::spawn(|| (0..rounds(5_000, 50_000)).for_each(|_| Signal::USR1.raise().unwrap()));
            while !sender.is_finished() {
                let output = FiberCommand::new("echo").arg("calm").output().unwrap();
                assert_eq!(output.stdout, b"calm\n");
                fibers::sleep(Duration::from_micros(100));
            }
            sender.join().unwrap();
        });
        drop(signals);
    });
    assert!(output.status.success(), "{output:?}");
}

/// The masks of a process, as /proc has them.
fn masks(status: &str) -> [u64; 3] {
    ["SigBlk:", "SigIgn:", "SigCgt:"].map(|name| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        u64::from_str_radix(line.trim(), 16).unwrap()
    })
}

#[test]
fn children_start_with_a_clean_slate() {
    let _alone = alone();
    everywhere(|_| {
        let _signals = signal::notify(&[Signal::USR1, Signal::CHLD, Signal::WINCH]).unwrap();
        let mut command = FiberCommand::new("cat");
        let status = command.arg("/proc/self/status").output().unwrap().stdout;
        let [blocked, ignored, caught] = masks(&String::from_utf8(status).unwrap());
        let ours = [Signal::USR1, Signal::CHLD, Signal::WINCH]
            .map(|s| 1_u64 << (s.as_raw() - 1))
            .iter()
            .sum::<u64>();
        assert_eq!((blocked, ignored & ours, caught & ours), (0, 0, 0));
        // With code between fork and exec std takes another way.
        command.parent_death_signal(Signal::KILL);
        let status = command.output().unwrap().stdout;
        let [blocked, ignored, caught] = masks(&String::from_utf8(status).unwrap());
        assert_eq!((blocked, ignored & ours, caught & ours), (0, 0, 0));
    });
}

#[test]
fn the_fibers_of_one_worker_go_on() {
    let _alone = alone();
    on_workers(&[1], |_| {
        let signals = signal::notify(&[Signal::USR2]).unwrap();
        let waiting = spawn(move || signals.recv());
        fibers::yield_now();
        Signal::USR2.raise().unwrap();
        assert_eq!(waiting.join().unwrap(), Signal::USR2);
    });
}
