use fibers::{defer, unbounded};
use std::cell::RefCell;

#[test]
fn the_last_deferred_runs_first_with_the_arguments_of_its_time() {
    let log = RefCell::new(Vec::new());
    let push = |x: u32| log.borrow_mut().push(x);
    {
        let mut n = 1;
        defer!(push(n));
        n += 1;
        defer! { push(n); push(10) }
        defer! { log.borrow_mut().push(7); }
        let (tx, rx) = unbounded::<u32>();
        let values = [1];
        defer! { push(rx.recv().unwrap()); }
        defer!(tx <- values[0] + 40);
    }
    assert_eq!(*log.borrow(), [41, 7, 2, 10, 1]);
}

struct Counter(RefCell<Vec<&'static str>>);

impl Counter {
    fn note(&self, text: &'static str) {
        self.0.borrow_mut().push(text);
    }

    fn leave_early(&self) -> Option<()> {
        defer!(self.note("deferred"));
        self.note("first");
        None?;
        self.note("never");
        Some(())
    }
}

#[test]
fn a_receiver_is_borrowed_and_every_exit_counts() {
    let counter = Counter(RefCell::new(vec![]));
    assert_eq!(counter.leave_early(), None);
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        defer!(counter.note("unwound"));
        panic!("on purpose");
    }));
    assert!(caught.is_err());
    assert_eq!(*counter.0.borrow(), ["first", "deferred", "unwound"]);
}
