use fibers::{channel, go};
use std::cell::Cell;
use std::rc::Rc;

fn add(a: u32, b: u32) -> u32 {
    a + b
}

fn increment(x: u8) -> u8 {
    x + 1
}

#[fibers::test]
fn a_call_evaluates_its_arguments_now() {
    let counter = Cell::new(0);
    let next = || {
        counter.set(counter.get() + 1);
        counter.get()
    };
    let handle = go!(add(next(), next() * 10));
    assert_eq!(counter.get(), 2);
    assert_eq!(handle.join().unwrap(), 21);
    let (x, words) = (3, String::from("abc"));
    assert_eq!(go!(add(x, 2 + 2)).join().unwrap(), 7);
    assert_eq!(go!(words.clone().len()).join().unwrap(), 3);
    assert_eq!(go!(words.len()).join().unwrap(), 3);
    assert_eq!(go!(std::convert::identity::<u8>(3)).join().unwrap(), 3);
    assert_eq!(go!(Vec::<u8>::with_capacity(3)).join().unwrap().len(), 0);
    let table = [increment as fn(u8) -> u8];
    assert_eq!(go!(table[0](3)).join().unwrap(), 4);
    assert_eq!(go!((table[0])(4)).join().unwrap(), 5);
}

#[fibers::test]
fn blocks_closures_operations() {
    let (tx, rx) = channel::<String>(0);
    let text = String::from("abc");
    go!(clone(tx, text); { tx.send(text).unwrap() });
    assert_eq!(rx.recv().unwrap(), "abc");
    go! { let n = 1; tx.send(n.to_string()).unwrap() };
    assert_eq!(rx.recv().unwrap(), "1");
    assert_eq!(go!(move || rx.capacity()).join().unwrap(), Some(0));
    let (tx, rx) = channel::<String>(0);
    let handle = go!(<-rx.clone());
    go!(tx <- text + "x");
    assert_eq!(handle.join().unwrap().unwrap(), "abcx");
}

#[fibers::test(workers = 2)]
fn options() {
    let id = String::from("7");
    let name = |_: &str| fibers::current().name().map(str::to_owned);
    assert_eq!(
        go!(name = format!("fiber {id}"), stack = 256 << 10, spread; name(&""))
            .join()
            .unwrap()
            .as_deref(),
        Some("fiber 7")
    );
    assert_eq!(go!(name = format!("fiber {id}"); id.len()).join().unwrap(), 1);
    let shared = Rc::new(3);
    assert_eq!(go!(local, clone(shared); move || *shared).join().unwrap(), 3);
    assert_eq!(go!(worker = 1; add(1, 1)).join().unwrap(), 2);
    assert_eq!(*shared, 3);
}
