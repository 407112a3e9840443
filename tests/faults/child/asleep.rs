//! Programs in which everybody waits, for ever or not.

use fibers::fiber::Builder;
use fibers::{Deadlock, Op, Runtime, Shutdown, channel, op, spawn, spawn_blocking, time};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).build().unwrap()
}

/// A reader, a chooser and the main fiber wait for values that nobody sends.
fn everybody_waits() {
    let (_tx, rx) = channel::<u32>(0);
    let (tx2, _rx2) = channel::<&str>(0);
    let reader = rx.clone();
    let _reader = Builder::new().name("reader").spawn(move || reader.recv()).unwrap();
    let chooser = rx.clone();
    let _chooser = Builder::new().name("chooser").spawn(move || {
        op::choice((chooser.recv_op().map_to(()), tx2.send_op("x").map_to(()).label("the way out"))).perform();
    });
    let _ = rx.recv();
}

/// Forgets an operation's result.
trait MapTo: Op + Sized {
    fn map_to<T: Clone>(self, value: T) -> impl Op<Output = T> {
        self.wrap(move |_| value)
    }
}

impl<O: Op> MapTo for O {}

pub(crate) fn asleep() {
    runtime(1).run(everybody_waits);
}

pub(crate) fn asleep_workers() {
    runtime(3).run(|| {
        let (tx, rx) = channel::<u32>(0);
        let far = rx.clone();
        let _ = Builder::new().name("far reader").worker(2).spawn(move || far.recv());
        everybody_waits();
        drop(tx);
    });
}

/// The main fiber has ended, and the run waits for the others.
pub(crate) fn asleep_drain() {
    let runtime = Runtime::builder().workers(2).shutdown(Shutdown::Drain).build().unwrap();
    runtime.run(|| {
        let (tx, rx) = channel::<u32>(0);
        let _ = Builder::new().name("left behind").spawn(move || {
            let _tx = tx;
            rx.recv()
        });
    });
}

pub(crate) fn asleep_report() {
    let runtime = Runtime::builder().workers(1).deadlock(Deadlock::Report).build().unwrap();
    runtime.run(|| {
        let (tx, rx) = channel::<u32>(0);
        // When the report has been written there is a thread again.
        let handle = fibers::Handle::current();
        let _fiber = spawn(move || (tx, fibers::op::never::<()>().perform()));
        drop(handle);
        drop(rx);
        // SAFETY: sets an alarm that ends the process.
        unsafe { libc::alarm(2) };
        op::never::<()>().perform();
    });
}

/// The main fiber catches the panic and goes on.
pub(crate) fn asleep_caught() {
    runtime(2).run(|| {
        for _ in 0..3 {
            let caught = catch_unwind(AssertUnwindSafe(everybody_waits)).unwrap_err();
            assert_eq!(caught.downcast_ref::<&str>(), Some(&"deadlock: all fibers are asleep"));
        }
        assert_eq!(spawn(|| 5).join().unwrap(), 5);
    });
}

/// The main fiber's destructors run, and those of the others.
pub(crate) fn asleep_destructors() {
    let (words, heard) = fibers::unbounded();
    let caught = catch_unwind(AssertUnwindSafe(|| {
        runtime(2).run(|| {
            let word = words.clone();
            let _main = fibers::defer(move || word.send("main").unwrap());
            for _ in 0..2 {
                let word = words.clone();
                spawn(move || {
                    let _other = fibers::defer(move || word.send("other").unwrap());
                    op::never::<()>().perform();
                });
            }
            op::never::<()>().perform();
        });
    }));
    assert!(caught.is_err());
    assert_eq!(heard.try_iter().collect::<Vec<_>>(), ["main", "other", "other"]);
}

pub(crate) fn asleep_timer() {
    for workers in [1, 2] {
        runtime(workers).run(|| {
            let (tx, rx) = channel::<u32>(0);
            spawn(move || {
                fibers::sleep(Duration::from_millis(300));
                tx.send(1).unwrap();
            });
            assert_eq!(rx.recv(), Ok(1));
            let ticker = time::Ticker::new(Duration::from_millis(100));
            ticker.recv();
            ticker.recv();
            time::after(Duration::from_millis(100)).perform();
            // One that is stopped is no hope any more, one that is running is.
            let timer = time::Timer::new(Duration::from_millis(100));
            timer.recv();
        });
    }
}

pub(crate) fn asleep_blocking() {
    for workers in [1, 2] {
        let runtime = Runtime::builder().workers(workers).blocking_threads(1).build().unwrap();
        runtime.run(|| {
            let (tx, rx) = channel::<u32>(0);
            let other = tx.clone();
            drop(spawn_blocking(move || {
                std::thread::sleep(Duration::from_millis(200));
                other.send(1).unwrap();
            }));
            // This one waits in the queue while the first one runs.
            drop(spawn_blocking(move || {
                std::thread::sleep(Duration::from_millis(200));
                tx.send(2).unwrap();
            }));
            assert_eq!((rx.recv(), rx.recv()), (Ok(1), Ok(2)));
            let result = spawn_blocking(|| std::thread::sleep(Duration::from_millis(200)));
            result.join().unwrap();
        });
    }
}

pub(crate) fn asleep_thread() {
    for workers in [1, 2] {
        runtime(workers).run(|| {
            let (tx, rx) = channel::<u32>(0);
            let thread = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(300));
                tx.send(1).unwrap();
            });
            assert_eq!(rx.recv(), Ok(1));
            thread.join().unwrap();
        });
    }
}

/// One run after the other, each with a deadlock.
pub(crate) fn asleep_again() {
    let runtime = runtime(2);
    for _ in 0..3 {
        let caught = catch_unwind(AssertUnwindSafe(|| runtime.run(everybody_waits))).unwrap_err();
        assert_eq!(caught.downcast_ref::<&str>(), Some(&"deadlock: all fibers are asleep"));
    }
    assert_eq!(runtime.run(|| 7), 7);
}

/// A runtime that waits for another one is not asleep.
pub(crate) fn asleep_two_runtimes() {
    let (tx, rx) = channel::<u32>(0);
    let other = std::thread::spawn(move || {
        runtime(1).run(move || {
            fibers::sleep(Duration::from_millis(1500));
            tx.send(1).unwrap();
        });
    });
    assert_eq!(runtime(2).run(|| rx.recv()), Ok(1));
    other.join().unwrap();
}

/// Whoever waits for a descriptor may be woken from outside of the process, which has one thread.
pub(crate) fn asleep_descriptor() {
    use std::io::Read;
    for workers in [1, 2] {
        runtime(workers).run(|| {
            let mut shell = std::process::Command::new("sh");
            let mut child = shell
                .args(["-c", "sleep 1.5; echo x"])
                .stdout(std::process::Stdio::piped())
                .spawn()
                .unwrap();
            let out = fibers::io::Fd::new(child.stdout.take().unwrap()).unwrap();
            let mut text = String::new();
            (&out).read_to_string(&mut text).unwrap();
            assert_eq!(text, "x\n");
            child.wait().unwrap();
        });
    }
}

/// The thread that watches descriptors for plain threads has nothing to watch, and wakes nobody.
pub(crate) fn asleep_beside_the_driver() {
    let (reader, _writer) = fibers::io::pipe().unwrap();
    let mut byte = [0];
    let late = reader.read_op(&mut byte).timeout(Duration::from_millis(1)).perform();
    assert!(late.is_err());
    drop(reader);
    let (near, _far) = fibers::io::duplex(1);
    runtime(2).run(move || {
        let _reader = Builder::new().name("reader").spawn(move || near.read_op(&mut [0]).perform());
        everybody_waits();
    });
}
