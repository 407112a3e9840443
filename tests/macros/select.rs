use fibers::op::{always, never};
use fibers::{Op, Receiver, RecvError, Sender, channel, go, select, unbounded};
use std::cell::{Cell, RefCell};
use std::convert::Infallible;

#[fibers::test]
fn every_form_of_an_arm() {
    let (tx, rx) = channel::<u32>(1);
    assert_eq!(select! { tx <- 1 => 5, }, 5);
    assert_eq!(select! { v = <-rx => v.unwrap() }, 1);
    assert_eq!(select! { r = tx <- 3 => r, v = <-rx => panic!("{v:?}") }, Ok(()));
    let x: u32 = 'found: {
        select! { Ok(v) = <-rx else { break 'found 0 } => v }
    };
    assert_eq!(x, 3);
    select! { <-rx => panic!("nobody sent"), default => {} }
    assert_eq!(select! { v = always(3) => v, w = never::<i32>() => w }, 3);
    assert_eq!(select! { biased; v = always(3) => v, w = always(4) => w }, 3);
    assert_eq!(select! { default => 7 }, 7);
    tx.close();
    select! { Ok(_v) = <-rx else { return } => unreachable!(), }
}

#[test]
#[should_panic(expected = "send on a closed channel")]
fn an_unbound_send_panics_on_a_closed_channel() {
    let (tx, _rx) = channel(1);
    tx.close();
    select! { tx <- 1u8 => {} }
}

struct Pool {
    jobs: Vec<(Sender<String>, Receiver<String>)>,
}

impl Pool {
    fn end(&self, i: usize) -> &Sender<String> {
        &self.jobs[i].0
    }
}

#[test]
fn ends_are_postfix_expressions() -> Result<(), RecvError> {
    let pool = Pool {
        jobs: vec![channel(1), channel(1)],
    };
    let i = 1;
    select! { pool.jobs[i].0 <- "a".to_string() => {} v = <-pool.jobs[0].1 => drop(v) }
    let got = select! { v = <-pool.jobs[i].1 => v?, };
    assert_eq!(got, "a");
    select! { pool.end(0) <- format!("{}", 3) => (), }
    select! { r: Result<String, _> = <-pool.jobs[0].1 => assert_eq!(r.unwrap(), "3"), }
    Ok(())
}

#[test]
fn comparisons_and_if_expressions_stay_what_they_are() {
    let (a, b) = (3, 4);
    select! { x = always(a < -b) => assert!(!x), default => {} }
    select! { x = always(a < -b) if a < -b || a == 3 => assert!(!x) }
    select! { x = if a < b { always(1) } else { always(2) } => assert_eq!(x, 1) }
    select! { (1, x) | (2, x) | (_, x) = always((1, 2)) => assert_eq!(x, 2) }
    let default = always(1);
    select! { biased = default => assert_eq!(biased, 1) }
}

struct Noisy<'a>(&'a RefCell<Vec<&'static str>>, &'static str, Receiver<u32>);

impl Noisy<'_> {
    fn rx(&self) -> &Receiver<u32> {
        &self.2
    }
}

impl Drop for Noisy<'_> {
    fn drop(&mut self) {
        self.0.borrow_mut().push(self.1);
    }
}

#[test]
fn c46_operands_once_in_source_order_and_their_temporaries_end_before_the_body() {
    let log = RefCell::new(Vec::new());
    let (tx, rx) = channel::<u32>(1);
    let make = |name| {
        log.borrow_mut().push("make");
        Noisy(&log, name, rx.clone())
    };
    tx.send(1).unwrap();
    let yes = Cell::new(true);
    select! {
        biased;
        v = <-make("a").rx() => {
            log.borrow_mut().push("body");
            assert_eq!(v, Ok(1))
        }
        _ = <-make("b").rx() if yes.get() => {}
        _ = <-make("c").2 if yes.get() => {}
        _ = make("d").rx().recv_op() if yes.get() => {}
        _ = <-&make("e").rx() if !yes.get() => {}
    }
    log.borrow_mut().push("end");
    assert_eq!(
        *log.borrow(),
        ["make", "make", "make", "make", "a", "d", "c", "b", "body", "end"]
    );
    let count = Cell::new(0);
    let counted = || {
        count.set(count.get() + 1);
        &rx
    };
    select! { _ = <-counted() => {} _ = <-counted() if true => {} default => {} }
    assert_eq!(count.get(), 2);
}

#[test]
fn conditional_operands_may_borrow_from_temporaries() {
    fn post<'a>(tx: &'a Sender<String>, text: &str, log: &mut Vec<u8>) -> impl Op<Output = ()> + use<'a> {
        log.push(1);
        tx.send_op(text.into()).wrap(drop)
    }
    fn held<'a>(text: &'a str, _: &'a [u8]) -> impl Op<Output = &'a str> {
        always(text)
    }
    let (tx, rx) = unbounded::<String>();
    let c = true;
    select! { _ = post(&tx.clone(), &String::from("x"), &mut vec![]) if c => {} }
    assert_eq!(
        select! { n = held(&String::from("x"), &[1, 2]).wrap(|s: &str| s.len()) if c => n },
        1
    );
    select! { tx.clone() <- String::from(" y ").trim().to_string() if c => {} }
    select! { v = <-(rx.clone(), 1).0 if c => assert_eq!(v.unwrap(), "x") }
    select! { v = <-vec![rx.clone()][0] if c => assert_eq!(v.unwrap(), "y"), default => panic!("empty") }
}

#[test]
fn c44_an_absent_arm_is_not_evaluated() {
    let (_tx, rx) = channel::<u8>(0);
    let unreachable = || -> &Receiver<u8> { panic!("evaluated") };
    select! { _ = <-unreachable() if false => {} _ = <-rx => {} default => {} }
}

#[test]
fn an_unbound_value_is_dropped_before_the_body() {
    let log = RefCell::new(vec![]);
    let (_tx, rx) = channel::<u32>(1);
    select! { always(Noisy(&log, "value", rx.clone())) => log.borrow_mut().push("body") }
    select! { _ = always(Noisy(&log, "value", rx.clone())) => log.borrow_mut().push("body") }
    assert_eq!(*log.borrow(), ["value", "body", "value", "body"]);
}

#[test]
fn more_than_64_arms() {
    macro_rules! arms {
        ($rx:ident: $($n:literal)*) => { select! { $( v = <-$rx if $n == 70 => v.unwrap() + $n, )* default => 0 } };
    }
    let (tx, rx) = channel::<u32>(1);
    tx.send(1).unwrap();
    let got = arms!(rx: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36
        37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63 64 65 66 67 68 69 70);
    assert_eq!(got, 71);
}

#[test]
fn bodies_run_outside_of_closures() {
    let (tx, rx) = unbounded::<u32>();
    (0..10).for_each(|n| tx.send(n).unwrap());
    let mut sum = 0;
    let last = 'rounds: loop {
        select! {
            Ok(v) = <-rx else { unreachable!() } => {
                if v % 2 == 0 { continue 'rounds }
                sum += v;
                if v == 7 { break 'rounds v }
            }
        }
    };
    assert_eq!((sum, last), (1 + 3 + 5 + 7, 7));
}

#[test]
fn nested() {
    let (tx, rx) = unbounded::<u32>();
    tx.send(4).unwrap();
    let got = select! {
        v = always(select! { v = always(1) => v }) => select! { Ok(w) = <-rx else { return } => v + w },
    };
    assert_eq!(got, 5);
}

#[test]
fn an_empty_select_has_every_type() {
    fn number() -> u32 {
        select! {}
    }
    fn nothing() -> Infallible {
        select! {}
    }
    let _ = (number as fn() -> u32, nothing as fn() -> Infallible);
}

#[fibers::test(workers = 1)]
fn an_empty_select_blocks() {
    let (tx, rx) = channel::<u8>(0);
    go! { let _tx = tx; select! {} };
    select! { _ = <-rx => panic!("the sender is blocked"), _ = fibers::time::sleep_op(std::time::Duration::from_millis(2)) => {} }
}
