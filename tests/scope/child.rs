//! What the scope tests run in processes of its own: deadlocks are found only where no other thread could wake anybody. The first
//! argument names the scenario. Under loom there are no fibers, and nothing to be run.

#[cfg(not(loom))]
fn main() {
    match std::env::args().nth(1).expect("the name of a scenario").as_str() {
        "asleep" => scenarios::asleep(),
        "asleep_stubborn" => scenarios::asleep_stubborn(),
        "asleep_leak" => scenarios::asleep_leak(),
        "asleep_listening" => scenarios::asleep_listening(),
        "asleep_twice" => scenarios::asleep_twice(),
        other => panic!("there is no scenario {other}"),
    }
}

#[cfg(loom)]
fn main() {}

#[cfg(not(loom))]
mod scenarios {
    use fibers::{Op, Runtime, Shutdown, channel, op, scope, spawn};
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

    struct Says(&'static str);

    impl Drop for Says {
        fn drop(&mut self) {
            println!("{} dropped", self.0);
        }
    }

    fn run(workers: usize, shutdown: Shutdown, main: impl FnOnce()) {
        let runtime = Runtime::builder().workers(workers).shutdown(shutdown).build().unwrap();
        let result = catch_unwind(AssertUnwindSafe(|| runtime.run(main)));
        // The runtime can be used again.
        runtime.run(|| scope(|s| s.spawn(|| println!("run again")).join().unwrap()));
        if let Err(payload) = result {
            resume_unwind(payload);
        }
    }

    /// A child waits for what only the frame could send, which waits for the child.
    pub(super) fn asleep() {
        run(2, Shutdown::Unwind, || {
            let (_tx, rx) = channel::<u32>(0);
            let _frame = Says("frame");
            spawn(|| op::never::<()>().perform());
            scope(|s| {
                s.spawn(|| {
                    let _child = Says("child");
                    rx.recv()
                });
            });
        });
    }

    /// As before, but the child does not let itself be unwound.
    pub(super) fn asleep_stubborn() {
        run(1, Shutdown::Unwind, || {
            scope(|s| {
                s.spawn(|| {
                    loop {
                        let _ = catch_unwind(|| op::never::<()>().perform());
                    }
                });
            });
        });
    }

    /// Nobody is unwound at the end of such a run.
    pub(super) fn asleep_leak() {
        run(1, Shutdown::Leak, || {
            scope(|s| {
                s.spawn(|| op::never::<()>().perform());
            });
        });
    }

    /// A child that listens ends when the frame is told.
    pub(super) fn asleep_listening() {
        run(1, Shutdown::Leak, || {
            scope(|s| {
                s.spawn(|| {
                    let _child = Says("child");
                    s.cancelled_op().perform();
                });
            });
        });
    }

    /// The main fiber catches the panic and goes on: it is still woken by whom it waits for, and told if there is nobody.
    pub(super) fn asleep_twice() {
        run(1, Shutdown::Unwind, || {
            let (tx, rx) = channel::<u32>(0);
            let asleep = || {
                scope(|s| {
                    s.spawn(|| rx.recv());
                });
            };
            assert!(catch_unwind(AssertUnwindSafe(asleep)).is_err());
            let thread = std::thread::spawn(move || {
                // Longer than the end of a run waits for a thread.
                std::thread::sleep(std::time::Duration::from_millis(300));
                tx.send(7).unwrap();
            });
            println!("woken: {:?}", rx.recv());
            thread.join().unwrap();
            op::never::<()>().perform();
        });
    }
}
