//! What children may do with the frame of their scope, and when it goes on.

use fibers::fiber::Builder;
use fibers::{Op, Scope, ScopedJoinHandle, channel, go, op, scope, select, sleep, yield_now};
use fibers_tests::{Counter, Drops, on_workers, panics_with, rounds, under_stress};
use std::cell::Cell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

const WORKERS: [usize; 3] = [1, 2, 4];

#[test]
fn children_read_and_write_the_frame() {
    on_workers(&WORKERS, |_| {
        let text = String::from("shared");
        let (mut one, mut many) = (0, vec![0; 100]);
        let value = scope(|s| {
            s.spawn(|| one = text.len());
            for (i, place) in many.iter_mut().enumerate() {
                let text = &text;
                s.spawn(move || {
                    yield_now();
                    *place = i + text.len();
                });
            }
            "value"
        });
        assert_eq!((value, one), ("value", 6));
        assert!(many.iter().enumerate().all(|(i, place)| *place == i + 6));
    });
}

#[test]
fn returns_after_the_last_child() {
    on_workers(&WORKERS, |_| {
        let ended = AtomicUsize::new(0);
        for children in 0..20 {
            ended.store(0, Ordering::Relaxed);
            scope(|s| {
                for i in 0..children {
                    let ended = &ended;
                    s.spawn(move || {
                        match i % 3 {
                            0 => yield_now(),
                            1 => sleep(Duration::from_micros(200)),
                            _ => {}
                        }
                        ended.fetch_add(1, Ordering::Relaxed);
                    });
                }
            });
            assert_eq!(ended.load(Ordering::Relaxed), children);
        }
    });
}

#[test]
fn handles_join_and_tell() {
    on_workers(&WORKERS, |_| {
        let text = String::from("borrowed");
        let (tx, rx) = channel::<()>(0);
        scope(|s| {
            let child = Builder::new()
                .name("reader")
                .spread()
                .spawn_scoped(s, || {
                    rx.recv().unwrap();
                    (fibers::current().id(), &text[..3])
                })
                .unwrap();
            assert_eq!((child.name(), child.is_finished(), s.running()), (Some("reader"), false, 1));
            assert!(format!("{child:?}").contains("reader"), "{child:?}");
            assert!(child.join_op().try_perform().is_none());
            assert!(child.join_op().timeout(Duration::from_micros(10)).perform().is_err());
            tx.send(()).unwrap();
            let id = child.id();
            assert_eq!(select! { result = <-child => result.unwrap() }, (id, "bor"));
            assert!(child.is_finished());
            let again = child.join().unwrap_err();
            assert!(!again.is_panic() && !again.is_cancelled());
        });
    });
}

#[test]
fn a_worker_cannot_be_chosen() {
    on_workers(&[2], |_| {
        let drops = Drops::default();
        scope(|s| {
            let counted = drops.make(());
            let error = Builder::new().worker(1).spawn_scoped(s, move || drop(counted)).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
            assert_eq!(s.running(), 0);
        });
        assert_eq!(drops.live(), 0);
    });
}

#[test]
fn a_stack_that_cannot_be_had_is_an_error_and_counts_nothing() {
    on_workers(&[1], |_| {
        let drops = Drops::default();
        scope(|s| {
            let counted = drops.make(());
            let result = Builder::new()
                .stack_size(usize::MAX / 2)
                .spawn_scoped(s, move || drop(counted));
            assert!(result.is_err());
            assert_eq!((s.running(), drops.live()), (0, 0));
        });
    });
}

#[test]
fn children_spawn_siblings() {
    fn tree<'scope>(s: &'scope Scope<'scope, '_>, depth: u32, leaves: &'scope AtomicU64) {
        if depth == 0 {
            leaves.fetch_add(1, Ordering::Relaxed);
            return;
        }
        for _ in 0..2 {
            s.spawn(move || tree(s, depth - 1, leaves));
        }
    }
    under_stress(|on| {
        if on == fibers_tests::On::Threads {
            return;
        }
        let leaves = AtomicU64::new(0);
        scope(|s| tree(s, 10, &leaves));
        assert_eq!(leaves.into_inner(), 1024);
    });
}

#[test]
fn a_scope_inside_of_a_scope() {
    on_workers(&WORKERS, |_| {
        let numbers: Vec<u64> = (0..1000).collect();
        let sums = Mutex::new(Vec::new());
        scope(|outer| {
            for chunk in numbers.chunks(100) {
                let sums = &sums;
                outer.spawn(move || {
                    let parts: Vec<u64> = scope(|inner| {
                        let parts: Vec<_> = chunk.chunks(10).map(|part| inner.spawn(|| part.iter().sum())).collect();
                        parts
                            .into_iter()
                            .map(|part: ScopedJoinHandle<'_, u64>| part.join().unwrap())
                            .collect()
                    });
                    // An inner child may spawn into the outer scope.
                    scope(|inner| {
                        inner.spawn(move || outer.spawn(move || sums.lock().unwrap().push(parts.iter().sum::<u64>())));
                    });
                });
            }
        });
        assert_eq!(sums.lock().unwrap().len(), 10);
        assert_eq!(sums.into_inner().unwrap().iter().sum::<u64>(), 499_500);
    });
}

#[test]
fn a_hundred_thousand_children() {
    on_workers(&[1, 2], |_| {
        let (drops, sum) = (Drops::default(), AtomicU64::new(0));
        let children = rounds(100_000, 1_000_000);
        scope(|s| {
            for i in 0..children {
                let (counted, sum) = (drops.make(i), &sum);
                s.spawn(move || sum.fetch_add(counted.value, Ordering::Relaxed));
            }
        });
        assert_eq!(sum.into_inner(), children * (children - 1) / 2);
        assert_eq!((drops.made() as u64, drops.live()), (children, 0));
    });
}

/// What borrows from the frame, and looks at it when it is dropped.
struct Looks<'a>(&'a AtomicU64, &'a Mutex<String>);

impl Drop for Looks<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
        assert_eq!(*self.1.lock().unwrap(), "alive");
    }
}

#[test]
fn results_that_borrow_are_dropped_before_the_scope_ends() {
    on_workers(&WORKERS, |_| {
        for round in 0..rounds(200, 20_000) {
            let (dropped, state) = (AtomicU64::new(0), Mutex::new(String::from("alive")));
            scope(|s| {
                // Detached before the end of the child, or after it, or joined, or dropped with the closure of the scope, or by
                // another child.
                s.spawn(|| Looks(&dropped, &state));
                let late = s.spawn(|| Looks(&dropped, &state));
                let joined = s.spawn(|| Looks(&dropped, &state));
                let kept = s.spawn(|| Looks(&dropped, &state));
                let other = s.spawn(|| Looks(&dropped, &state));
                for _ in 0..round % 4 {
                    yield_now();
                }
                drop(late);
                s.spawn(move || {
                    yield_now();
                    drop(other);
                });
                assert!(joined.join().is_ok());
                let _kept = kept;
            });
            *state.lock().unwrap() = String::from("dead");
            assert_eq!(dropped.into_inner(), 5);
        }
    });
}

#[test]
fn a_leaked_handle_does_not_keep_the_scope() {
    on_workers(&[1, 2], |_| {
        let drops = Drops::default();
        scope(|s| {
            std::mem::forget(s.spawn(|| 1));
            let counted = drops.make(());
            std::mem::forget(s.spawn(move || drop(counted)));
        });
        assert_eq!(drops.live(), 0);
    });
}

#[test]
fn fiber_locals_of_children_end_after_their_body() {
    thread_local! {
        static ENDED: Cell<u32> = const { Cell::new(0) };
    }
    struct Mark;
    impl Drop for Mark {
        fn drop(&mut self) {
            // It may suspend: the frame goes on meanwhile, and nothing here belongs to it.
            yield_now();
            ENDED.set(ENDED.get() + 1);
        }
    }
    fibers::fiber_local! { static LOCAL: Mark = Mark; }
    on_workers(&[1], |on| {
        ENDED.set(0);
        scope(|s| {
            s.spawn(|| LOCAL.with(|_| ()));
        });
        on.eventually(|| ENDED.get() == 1);
    });
}

#[test]
fn cancelling_is_an_operation() {
    on_workers(&WORKERS, |_| {
        let (_tx, rx) = channel::<u32>(0);
        let woken = Counter::default();
        scope(|s| {
            for _ in 0..50 {
                let (rx, woken) = (&rx, &woken);
                s.spawn(move || {
                    select! {
                        _ = <-rx => panic!("nobody sends"),
                        <-s => woken.add(),
                    }
                });
            }
            let late = s.spawn(|| s.cancelled_op().perform());
            assert!(!s.is_cancelled());
            assert!(s.cancelled_op().try_perform().is_none());
            assert!(s.cancelled_op().timeout(Duration::from_micros(10)).perform().is_err());
            s.cancel();
            s.cancel();
            assert!(s.is_cancelled());
            late.join().unwrap();
            op::choice((s.cancelled_op(), op::never())).perform();
            assert!(format!("{s:?} {:?}", s.cancelled_op()).contains("cancelled: true"));
        });
        assert_eq!((woken.get(), rx.waiting_receivers()), (50, 0));
    });
}

#[test]
fn a_losing_cancelled_op_leaves_nothing() {
    on_workers(&[1, 2], |_| {
        let (tx, rx) = channel::<u64>(0);
        let count = rounds(2000, 1_000_000);
        scope(|s| {
            s.spawn(|| (0..count).for_each(|i| tx.send(i).unwrap()));
            for i in 0..count {
                select! {
                    <-s => panic!("nobody cancels"),
                    v = <-rx => assert_eq!(v, Ok(i)),
                }
            }
        });
    });
}

#[test]
fn go_spawns_into_a_scope() {
    fn add(to: &AtomicU64, n: u64) {
        to.fetch_add(n, Ordering::Relaxed);
    }
    on_workers(&[1, 2], |_| {
        let total = AtomicU64::new(0);
        let sum = &total;
        let (tx, rx) = channel::<u64>(0);
        scope(|s| {
            go!(scope = s; add(sum, 1));
            go!(scope = s; { sum.fetch_add(10, Ordering::Relaxed); });
            go!(scope = s; || add(sum, 100));
            let named = go!(scope = s, name = "named", stack = 1 << 16; || fibers::current().name().map(String::from));
            assert_eq!(named.join().unwrap().as_deref(), Some("named"));
            go!(scope = s, spread; add(sum, 1000));
            go!(scope = s, clone(tx); { tx.send(10_000).unwrap(); });
            add(sum, rx.recv().unwrap());
            struct Holder<'scope, 'env>(&'scope Scope<'scope, 'env>);
            let holder = Holder(s);
            go!(scope = holder.0; add(sum, 100_000));
            go!(scope = s; || { go!(scope = s; add(sum, 1_000_000)); });
        });
        assert_eq!(total.into_inner(), 1_111_111);
    });
}

#[test]
fn outside_of_a_runtime_nothing_is_opened() {
    panics_with(
        "a scope was opened outside of a runtime: call it inside fibers::run(..) or Runtime::run(..)",
        || scope(|_| unreachable!("it was opened")),
    );
}

#[test]
fn nobody_spawns_into_a_scope_from_elsewhere() {
    const MESSAGE: &str = "a child was spawned outside of the runtime of its scope: spawn it from the closure of the scope, or \
                           from another child";
    on_workers(&[1], |_| {
        let drops = Drops::default();
        scope(|s| {
            std::thread::scope(|threads| {
                let counted = drops.make(());
                threads.spawn(move || panics_with(MESSAGE, || drop(s.spawn(move || drop(counted)))));
                let counted = drops.make(());
                threads.spawn(move || {
                    fibers::run(move || panics_with(MESSAGE, || drop(s.spawn(move || drop(counted)))));
                });
            });
            assert_eq!((s.running(), drops.live()), (0, 0));
        });
    });
}

/// A scope waits for its children, so none is opened where nobody may suspend.
#[test]
fn where_suspending_is_forbidden_nothing_is_opened() {
    on_workers(&[1], |_| {
        let op = op::base(|| None::<()>, |completer| scope(|_| drop(completer)), || ());
        panics_with("the publish function of a `base` operation must not suspend", || op.perform());
    });
}
