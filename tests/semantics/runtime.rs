//! Cases that need a runtime: shutdown, deadlock reports, fibers of one worker, runtimes that meet (1, 23, 30, 53, 58, 64, 70;
//! faults 8, 13, 25 and 30).

use fibers::fiber::Builder;
use fibers::op::{Nack, base, choice, never, with_nack};
use fibers::{Op, Receiver, channel, spawn, spawn_local, time, unbounded, yield_now};
use fibers_tests::{Counter, Drops, HANG, On, finish, on_workers, quiet_panic, rounds, runtime, watchdog};
use std::process::Command;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(3600);

#[test]
fn c01_never_alone_blocks_until_the_shutdown() {
    on_workers(&[1, 2], |_| {
        let (started, begun) = unbounded();
        let handles: Vec<_> = (0..3)
            .map(|i| {
                let started = started.clone();
                spawn(move || {
                    started.send(()).unwrap();
                    match i {
                        0 => never().perform(),
                        1 => choice(Vec::<fibers::op::Never<()>>::new()).perform(),
                        _ => None::<fibers::op::Never<()>>.perform(),
                    }
                })
            })
            .collect();
        (0..3).for_each(|_| begun.recv().unwrap());
        (0..50).for_each(|_| yield_now());
        assert!(handles.iter().all(|handle| !handle.is_finished()));
    });
}

#[test]
fn c23_shutdown_fires_nacks() {
    for workers in [1, 2, 4] {
        watchdog(HANG, || {
            let (escape, escaped) = unbounded::<Nack>();
            let (aborted, withdrawn, drops) = (Counter::default(), Counter::default(), Drops::default());
            let (tx, rx) = channel::<u32>(0);
            let handles = runtime(workers).run(|| {
                let handles: Vec<_> = (0..12)
                    .map(|i| {
                        let (escape, rx, tx) = (escape.clone(), rx.clone(), tx.clone());
                        let (aborted, withdrawn, held) = (aborted.clone(), withdrawn.clone(), drops.make(i));
                        spawn(move || {
                            let _held = held;
                            let nacked = with_nack(|nack| {
                                escape.send(nack).unwrap();
                                rx.recv_op().wrap(drop)
                            });
                            let nacked = nacked.on_abort(|| aborted.add());
                            let mut slot = Some(1);
                            match i % 4 {
                                0 => nacked.perform(),
                                1 => choice((rx.recv_op().wrap(drop), nacked.timeout(LONG).wrap(drop), never())).perform(),
                                2 => choice((nacked, base(|| None, |_| (), || withdrawn.add()))).perform(),
                                _ => {
                                    let idle = tx.send_slot_op(&mut slot).on_abort(|| ()).wrap(drop);
                                    match tx.is_closed() {
                                        true => idle.perform(),
                                        false => nacked.perform(),
                                    }
                                }
                            }
                        })
                    })
                    .collect();
                // A choice of the second kind stands there twice.
                while rx.waiting_receivers() < 12 + 3 {
                    yield_now();
                }
                assert!(escaped.len() == 12 && drops.live() == 12);
                handles
            });
            let nacks: Vec<_> = escaped.try_iter().collect();
            assert!(nacks.len() == 12 && nacks.iter().all(Nack::is_fired));
            assert_eq!((aborted.get(), withdrawn.get(), drops.live()), (12, 3, 0));
            assert_eq!((tx.waiting_receivers(), tx.waiting_senders()), (0, 0));
            // Nobody is there any more, and the results say why.
            assert!(tx.try_send(1).is_err());
            assert!(handles.into_iter().all(|handle| handle.join().unwrap_err().is_cancelled()));
        });
    }
}

#[test]
fn c23_a_commit_that_races_the_shutdown_is_delivered() {
    for workers in [1, 2] {
        watchdog(HANG, || {
            for round in 0..rounds(100, 5_000) {
                let (tx, rx) = channel::<fibers_tests::Counted<u64>>(0);
                let (quit_tx, quit) = channel::<()>(0);
                let (drops, received, stop) = (Drops::default(), Counter::default(), Arc::new(AtomicBool::new(false)));
                let sender = {
                    let (drops, stop) = (drops.clone(), stop.clone());
                    thread::spawn(move || {
                        let mut sent = 0;
                        while !stop.load(Ordering::Acquire) {
                            sent += u64::from(tx.send_timeout(drops.make(0), Duration::from_micros(20)).is_ok());
                        }
                        sent
                    })
                };
                runtime(workers).run(|| {
                    for i in 0..3 {
                        let (rx, quit, received) = (rx.clone(), quit.clone(), received.clone());
                        spawn(move || {
                            loop {
                                let value = match i {
                                    0 => rx.recv().unwrap(),
                                    1 => choice((rx.recv_op().wrap(|v| v.unwrap()), quit.recv_op().wrap(|_| unreachable!())))
                                        .perform(),
                                    _ => match rx.recv_timeout(Duration::from_micros(10)) {
                                        Ok(value) => value,
                                        Err(_) => continue,
                                    },
                                };
                                received.add();
                                drop(value);
                            }
                        });
                    }
                    time::sleep(Duration::from_micros(200 + round % 300));
                });
                assert_eq!(rx.waiting_receivers(), 0);
                stop.store(true, Ordering::Release);
                assert_eq!((sender.join().unwrap(), drops.live()), (received.get(), 0));
                drop(quit_tx);
            }
        });
    }
}

/// Tells what was left in a slot when its fiber was unwound.
struct Slot(Option<u32>, fibers::Sender<Option<u32>>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.1.send(self.0.take()).unwrap();
    }
}

#[test]
fn c23_a_losing_slot_keeps_its_value_through_a_shutdown() {
    for alone in [true, false] {
        watchdog(HANG, || {
            let (tx, rx) = channel::<u32>(0);
            let (tell, told) = unbounded();
            runtime(2).run(|| {
                let tx = tx.clone();
                spawn(move || {
                    let mut slot = Slot(Some(6), tell);
                    match alone {
                        true => tx.send_slot_op(&mut slot.0).wrap(drop).perform(),
                        false => choice((tx.send_slot_op(&mut slot.0).wrap(drop), never())).perform(),
                    }
                });
                while rx.waiting_senders() < 1 {
                    yield_now();
                }
            });
            assert_eq!((told.try_recv(), rx.try_recv().is_err()), (Ok(Some(6)), true));
        });
    }
}

#[test]
fn c30_two_choices_on_one_worker_match() {
    on_workers(&[1, 2, 4], |_| {
        let (a, b) = (channel::<u32>(0), channel::<u32>(0));
        let (atx, btx) = (a.0.clone(), b.0.clone());
        // `Rc` proves that both are on this thread.
        let log = Rc::new(std::cell::RefCell::new(vec![]));
        let theirs = log.clone();
        let sender = spawn_local(move || {
            for i in 0..1_000 {
                choice((atx.send_op(i), btx.send_op(i))).perform().unwrap();
                theirs.borrow_mut().push(i);
            }
        });
        for i in 0..1_000 {
            let got = match i % 2 {
                0 => choice((b.1.recv_op(), a.1.recv_op())).perform(),
                _ => choice((a.1.recv_op(), b.1.recv_op(), a.1.recv_op())).perform(),
            };
            assert_eq!(got, Ok(i));
        }
        sender.join().unwrap();
        assert_eq!(*log.borrow(), (0..1_000).collect::<Vec<_>>());
    });
}

#[test]
fn c58_fibers_of_two_runtimes_meet() {
    watchdog(HANG, || {
        let n = rounds(3_000, 300_000);
        let ((a_tx, a_rx), (b_tx, b_rx)) = (channel::<u64>(0), channel::<u64>(0));
        let other = thread::spawn(move || {
            runtime(2).run(|| {
                for v in a_rx {
                    choice((b_tx.send_op(v + 1), never())).perform().unwrap();
                }
            });
        });
        runtime(2).run(|| {
            for i in 0..n {
                a_tx.send(i).unwrap();
                let got = choice((b_rx.recv_op(), b_rx.recv_op())).timeout(LONG).perform();
                assert_eq!(got, Ok(Ok(i + 1)));
            }
            drop(a_tx);
        });
        other.join().unwrap();
    });
}

#[test]
fn c58_a_handle_joined_from_a_thread() {
    watchdog(HANG, || {
        let runtime = runtime(2);
        let handle = runtime.handle();
        let joiner = thread::spawn(move || {
            let (tx, rx) = channel::<u32>(0);
            let fiber = handle.spawn(move || rx.recv().unwrap() * 2);
            tx.send(21).unwrap();
            fiber.join_op().timeout(LONG).perform().unwrap().unwrap()
        });
        let result = runtime.run(|| {
            while !joiner.is_finished() {
                yield_now();
            }
            joiner.join().unwrap()
        });
        assert_eq!(result, 42);
    });
}

#[test]
fn c64_resumed_only_after_the_switch() {
    // The decider runs on the other worker, and decides while the performer is between its publication and its switch.
    on_workers(&[2, 4], |_| {
        let n = rounds(5_000, 10_000_000);
        let ((a_tx, a_rx), (b_tx, b_rx)) = (channel::<u64>(0), channel::<u64>(0));
        let echo = Builder::new().worker(1).spawn(move || {
            for i in 0..n {
                let local = [i; 32];
                let v = a_rx.recv().unwrap();
                assert_eq!((std::hint::black_box(&local)[31], v), (i, i));
                choice((never(), b_tx.send_op(v))).perform().unwrap();
            }
        });
        let ping = Builder::new().worker(0).spawn(move || {
            for i in 0..n {
                let local = [i; 32];
                a_tx.send(i).unwrap();
                let v = choice((b_rx.recv_op(), b_rx.recv_op())).perform().unwrap();
                assert_eq!((std::hint::black_box(&local)[31], v), (i, i));
            }
        });
        ping.unwrap().join().unwrap();
        echo.unwrap().join().unwrap();
    });
}

#[test]
fn an_unstarted_fiber_does_not_wait_for_one_that_yields() {
    on_workers(&[1], |_| {
        for _ in 0..50 {
            let ran = Arc::new(AtomicBool::new(false));
            let theirs = ran.clone();
            spawn(move || theirs.store(true, Ordering::Relaxed));
            let mut yields = 0;
            while !ran.load(Ordering::Relaxed) {
                yields += 1;
                yield_now();
            }
            assert!(yields <= 64, "{yields} turns of a sibling before the first");
        }
    });
}

/// Whoever finds a value each time need not wait, but lets the others of its worker have their turns.
#[test]
fn c50_what_is_always_ready_lets_others_run() {
    const VALUES: u32 = 20_000;
    type Receive = fn(&Receiver<u32>, &Receiver<u32>);
    let receive: [(&str, Receive); _] = [
        ("lone", |rx, _| assert!(rx.recv().is_ok())),
        ("choice", |rx, never| {
            assert!(choice((rx.recv_op(), never.recv_op())).perform().is_ok())
        }),
        ("timeout", |rx, _| assert!(rx.recv_timeout(LONG).is_ok())),
    ];
    for (how, receive) in receive {
        on_workers(&[1], |_| {
            let (tx, rx) = unbounded();
            let (_silent, never) = unbounded();
            (0..VALUES).for_each(|i| tx.send(i).unwrap());
            let alarm = Arc::new(AtomicBool::new(false));
            let (ring, ran) = (alarm.clone(), spawn(|| ()));
            spawn(move || {
                time::sleep(Duration::from_nanos(1));
                ring.store(true, Ordering::Relaxed);
            });
            let mut received = 0;
            while !(ran.is_finished() && alarm.load(Ordering::Relaxed)) {
                assert!(
                    received < VALUES,
                    "{how}: all values were received before anybody else had a turn"
                );
                receive(&rx, &never);
                received += 1;
            }
        });
    }
}

#[test]
fn f08_a_panic_reaches_the_join() {
    on_workers(&[1, 2], |_| {
        let handle = spawn(|| -> u32 { quiet_panic("mine") });
        let error = handle.join().unwrap_err();
        assert!(error.is_panic() && error.to_string() == "the fiber panicked: mine");
        assert_eq!(*error.into_panic().downcast::<&str>().unwrap(), "mine");
        let odd = spawn(|| std::panic::resume_unwind(Box::new(17u8))).join().unwrap_err();
        assert_eq!(*odd.into_panic().downcast::<u8>().unwrap(), 17);
        // Detached: nobody minds, and what it held is dropped.
        let (tx, rx) = channel::<()>(0);
        drop(spawn(move || {
            let _tx = tx;
            quiet_panic("detached")
        }));
        assert!(rx.recv().is_err());
    });
}

#[test]
fn f08_a_panic_in_the_middle_of_a_perform() {
    // The panicking fiber is linked nowhere, its siblings and partners go on.
    on_workers(&[1, 2], |on: On| {
        let (tx, rx) = channel::<u32>(0);
        let crowd: Vec<_> = (0..20)
            .map(|i| {
                let rx = rx.clone();
                spawn(move || {
                    let v =
                        choice((rx.recv_op(), rx.recv_op())).wrap(|v| if i % 2 == 0 { quiet_panic("wrap") } else { v.unwrap() });
                    v.perform()
                })
            })
            .collect();
        (0..20).for_each(|v| tx.send(v).unwrap());
        on.pause();
        let outcomes: Vec<_> = crowd.into_iter().map(|f| f.join().is_ok()).collect();
        assert_eq!(outcomes, (0..20).map(|i| i % 2 == 1).collect::<Vec<_>>());
        assert_eq!(tx.waiting_receivers(), 0);
    });
}

thread_local! {
    static HERE: u8 = const { 0 };
}

#[test]
fn f13_a_fiber_resumes_on_its_thread() {
    on_workers(&[1, 2, 4], |_| {
        let address = || HERE.with(|here| std::ptr::from_ref(here).addr());
        let (tx, rx) = channel::<u64>(0);
        let fibers: Vec<_> = (0..200u64)
            .map(|i| {
                let (tx, rx) = (tx.clone(), rx.clone());
                spawn(move || {
                    let (thread, before) = (thread::current().id(), address());
                    for k in 0..20 {
                        match (i + k) % 4 {
                            0 => yield_now(),
                            1 => time::sleep(Duration::from_micros(k)),
                            2 => drop(
                                choice((tx.send_op(i).wrap(|_| 0), rx.recv_op().wrap(|v| v.unwrap())))
                                    .timeout(Duration::from_micros(50))
                                    .perform(),
                            ),
                            _ => assert_eq!(spawn(move || i).join().unwrap(), i),
                        }
                        assert_eq!((thread::current().id(), address()), (thread, before));
                    }
                })
            })
            .collect();
        fibers.into_iter().for_each(|f| f.join().unwrap());
    });
}

#[test]
fn f25_values_that_are_not_send() {
    on_workers(&[1, 2], |_| {
        let shared = Rc::new(5);
        for capacity in [0, 1] {
            let (tx, rx) = channel::<Rc<u32>>(capacity);
            let theirs = shared.clone();
            let sender = spawn_local(move || {
                choice((tx.send_op(theirs.clone()), never())).perform().unwrap();
                tx.send(theirs.clone()).unwrap();
                theirs
            });
            let (a, b) = (rx.recv().unwrap(), rx.recv_op().perform().unwrap());
            assert!(Rc::ptr_eq(&a, &b) && Rc::ptr_eq(&a, &sender.join().unwrap()));
        }
        assert_eq!(Rc::strong_count(&shared), 1);
    });
}

#[test]
fn f25_huge_values_on_the_stack() {
    const SIZE: usize = 1 << 20;
    on_workers(&[1, 2], |_| {
        let (tx, rx) = channel::<[u8; SIZE]>(0);
        let big = || Builder::new().stack_size(64 << 20);
        let receiver = big().spawn(move || {
            let lone = rx.recv().unwrap();
            let chosen = choice((rx.recv_op(), rx.recv_op())).perform().unwrap();
            (lone[SIZE - 1], chosen[0])
        });
        let sender = big().spawn(move || {
            tx.send([3; SIZE]).unwrap();
            tx.send([4; SIZE]).unwrap();
        });
        sender.unwrap().join().unwrap();
        assert_eq!(receiver.unwrap().join().unwrap(), (3, 4));
    });
}

/// Runs a program of `child/main.rs`; whether it succeeded, and what it wrote on its standard error output.
fn alone(program: &str) -> (bool, String) {
    let output = finish(Command::new(env!("CARGO_BIN_EXE_child")).arg(program));
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn c70_a_deadlock_is_reported_branch_by_branch() {
    let (success, report) = alone("deadlock");
    assert!(!success, "{report}");
    let parts = [
        "deadlock: all fibers are asleep",
        "consumer",
        "producer",
        "choice",
        "receive from channel",
        "the data",
        "cond",
        "send to channel",
        "join",
        "programs.rs",
    ];
    for part in parts {
        assert!(report.contains(part), "no {part:?} in:\n{report}");
    }
}

#[test]
fn c53_c70_a_lost_timeout_does_not_hide_a_deadlock() {
    // The timeouts that lost are out of the wheels: with one of them left, the runtime would wait for an hour.
    let (success, report) = alone("lost timeouts");
    assert!(!success && report.contains("deadlock: all fibers are asleep"), "{report}");
}

#[test]
fn c70_who_may_still_be_woken_is_no_deadlock() {
    for program in ["timer", "foreign thread", "blocking job"] {
        let (success, report) = alone(program);
        assert!(success && !report.contains("deadlock"), "{program}: {report}");
    }
}

/// The alarm of the timeout goes off after the performer was told to look again, and before it does so.
#[test]
fn f30_a_timeout_that_is_over_does_not_begin_anew() {
    const TIMEOUT: Duration = Duration::from_millis(100);
    const MOMENT: Duration = Duration::from_millis(2);
    on_workers(&[1], |_| {
        let timer = time::Timer::new(LONG);
        let performer = {
            let timer = timer.clone();
            spawn(move || timer.recv_op().timeout(TIMEOUT).perform())
        };
        // A stack of its own ends in the worker's loop, which looks at its alarms before the performer goes on.
        let resetter = Builder::new().stack_size(4 << 20).spawn(move || {
            time::sleep(MOMENT);
            let began = time::now();
            while began.elapsed() < TIMEOUT + MOMENT {}
            timer.reset(LONG);
        });
        resetter.unwrap().join().unwrap();
        time::sleep(TIMEOUT / 2);
        assert!(performer.is_finished(), "the time that was over has begun anew");
        assert_eq!(performer.join().unwrap(), Err(fibers::Elapsed));
    });
}
