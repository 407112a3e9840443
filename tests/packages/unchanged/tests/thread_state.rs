//! What a crate keeps for the whole thread, several fibers of it share.

use fibers::{channel, fiber_local, no_suspend, spawn_local, sync, yield_now};
use fibers_tests::{HANG, quiet_panic, runtime, watchdog};
use std::cell::Cell;
use std::sync::Mutex;
use std::thread;

/// The worker is a thread of its own, so that no other test finds what this one leaves behind.
fn on_one_worker(test: impl FnOnce() + Send + 'static) {
    let worker = thread::spawn(|| runtime(1).run(test));
    watchdog(HANG, || worker.join().unwrap());
}

scoped_tls::scoped_thread_local!(static CURRENT: u32);

/// Static: what is left behind of a scope then points to something that is still there.
static ONE: u32 = 1;
static TWO: u32 = 2;

/// Whoever sets the value last is seen by all, and whoever leaves his scope first takes the value of the others with him.
#[test]
fn scoped_tls_gets_out_of_order() {
    on_one_worker(|| {
        let ((end_one, one), (end_two, two)) = (channel::<()>(0), channel::<()>(0));
        let one = spawn_local(move || {
            CURRENT.set(&ONE, || {
                assert!(CURRENT.with(|current| *current) == ONE);
                let _ = one.recv();
                CURRENT.with(|current| *current)
            })
        });
        while end_one.waiting_receivers() == 0 {
            yield_now();
        }
        let two = spawn_local(move || {
            CURRENT.set(&TWO, || {
                let _ = two.recv();
                CURRENT.is_set()
            })
        });
        while end_two.waiting_receivers() == 0 {
            yield_now();
        }
        drop(end_one);
        assert_eq!(one.join().unwrap(), TWO, "that of the other fiber");
        drop(end_two);
        assert!(!two.join().unwrap(), "the first one has cleared it");
        assert!(CURRENT.is_set(), "both have gone, and the value of the first is back");
        assert_eq!(CURRENT.with(|current| *current), ONE);
    });
}

/// Where nothing suspends inside, it is in order; `no_suspend` makes sure of that.
#[test]
fn scoped_tls_in_order_without_a_suspension() {
    on_one_worker(|| {
        let fibers: Vec<_> = (0..10_u32)
            .map(|i| {
                spawn_local(move || {
                    let seen = no_suspend(|| CURRENT.set(&i, || CURRENT.with(|current| *current)));
                    yield_now();
                    assert!(!CURRENT.is_set());
                    seen == i
                })
            })
            .collect();
        assert!(fibers.into_iter().all(|fiber| fiber.join().unwrap()));
    });
}

fiber_local! {
    static MINE: Cell<u32> = Cell::new(0);
}

#[test]
fn a_fiber_local_is_nobody_elses() {
    on_one_worker(|| {
        let (end, ended) = channel::<()>(0);
        let fibers: Vec<_> = (0..10_u32)
            .map(|i| {
                let ended = ended.clone();
                spawn_local(move || {
                    MINE.with(|mine| mine.set(i));
                    let _ = ended.recv();
                    MINE.with(Cell::get) == i
                })
            })
            .collect();
        while end.waiting_receivers() < 10 {
            yield_now();
        }
        drop(end);
        assert!(fibers.into_iter().all(|fiber| fiber.join().unwrap()));
    });
}

/// Waits when it is dropped.
struct WaitsAtTheEnd(fibers::Receiver<()>);

impl Drop for WaitsAtTheEnd {
    fn drop(&mut self) {
        let _ = self.0.recv();
    }
}

/// A fiber is suspended in the middle of its panic. Then std believes that its siblings panic as well, and poisons what they unlock.
#[test]
fn siblings_of_a_panic_seem_to_panic() {
    on_one_worker(|| {
        let (poisoned, ours) = (Mutex::new(0), sync::Mutex::new(0));
        let guards = (poisoned.lock().unwrap(), ours.lock());
        assert!(!thread::panicking());
        let (end, ended) = channel(0);
        let panics = spawn_local(move || {
            let _waits = WaitsAtTheEnd(ended);
            quiet_panic("on purpose")
        });
        while end.waiting_receivers() == 0 {
            yield_now();
        }
        assert!(thread::panicking());
        drop(guards);
        assert!(poisoned.lock().is_err());
        assert_eq!(ours.try_lock().as_deref(), Some(&0));
        drop(end);
        assert!(panics.join().is_err());
        assert!(!thread::panicking());
    });
}
