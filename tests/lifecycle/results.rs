//! What becomes of results that nobody joins, and of closures that never run.

use super::within_a_minute;
use fibers::{Op, Runtime, channel, defer, fiber_local, run, sleep, spawn, spawn_blocking};
use std::cell::Cell;
use std::time::Duration;

const A_MOMENT: Duration = Duration::from_millis(5);

struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// A result that panics when it is dropped harms neither its worker nor a thread for blocking calls.
#[test]
fn panic_when_dropped() {
    within_a_minute(|| {
        let rt = Runtime::builder().workers(1).blocking_threads(1).build().unwrap();
        rt.run(|| {
            drop(spawn(|| OnDrop(|| panic!("from the destructor of a result"))));
            drop(spawn_blocking(|| {
                std::thread::sleep(A_MOMENT); // until the handle is gone
                OnDrop(|| panic!("from the destructor of a result"))
            }));
            sleep(A_MOMENT);
            assert_eq!(spawn(|| 1).join().unwrap(), 1);
            let next = spawn_blocking(|| 2).join_op().timeout(Duration::from_secs(10)).perform();
            assert_eq!(next.expect("the thread is gone").unwrap(), 2);
        });
    });
}

/// A result whose destructor waits is unwound by the end of the runtime like anything else in the fiber.
#[test]
fn waits_when_dropped() {
    within_a_minute(|| {
        let (tx, rx) = channel::<()>(0);
        run(|| {
            let receiver = rx.clone();
            drop(spawn(move || OnDrop(move || assert!(receiver.recv().is_err()))));
            sleep(A_MOMENT);
            assert_eq!(tx.waiting_receivers(), 1);
        });
        assert_eq!(tx.waiting_receivers(), 0);
    });
}

fiber_local! {
    static MARK: Cell<u32> = Cell::new(0);
}

/// A destructor of a result may use fiber-locals; the next fiber on the same stack does not see them.
#[test]
fn locals_of_a_destructor_end_with_the_fiber() {
    within_a_minute(|| {
        let rt = Runtime::builder().workers(1).build().unwrap();
        rt.run(|| {
            drop(spawn(|| OnDrop(|| MARK.with(|mark| mark.set(7)))));
            sleep(A_MOMENT);
            assert_eq!(spawn(|| MARK.with(Cell::get)).join().unwrap(), 0);
        });
    });
}

/// A job that waits for room in the queue when the runtime ends is dropped with its closure.
#[test]
fn job_without_room_is_dropped() {
    within_a_minute(|| {
        let rt = Runtime::builder()
            .workers(1)
            .blocking_threads(1)
            .blocking_queue(1)
            .build()
            .unwrap();
        let (dropped, was_dropped) = channel::<&str>(2);
        let (release, hold) = channel::<()>(0);
        rt.run(|| {
            for _ in 0..2 {
                let hold = hold.clone();
                spawn_blocking(move || hold.recv());
            }
            spawn(move || {
                let theirs = dropped.clone();
                let _unwound = defer(move || theirs.send("fiber").unwrap());
                let in_closure = OnDrop(move || dropped.send("closure").unwrap());
                spawn_blocking(move || drop(in_closure));
            });
            sleep(A_MOMENT);
        });
        assert_eq!(was_dropped.try_iter().collect::<Vec<_>>(), ["closure", "fiber"]);
        drop(release);
    });
}
