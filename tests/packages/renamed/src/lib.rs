//! Hygiene: no prelude, the crate under another name, and every name of an expansion taken by something else.
#![no_implicit_prelude]
#![cfg(test)]
#![expect(dead_code, non_camel_case_types, reason = "names that must not be found")]

mod fibers {}
mod core {}
mod std {}

struct Some;
struct None;
struct Ok;
struct Err;
struct Result;
struct Option;
struct Clone;
struct Op;
struct Arm;
struct A0;
struct Builder;
struct Runtime;
struct value;
struct out;

fn choice() {}
fn biased() {}
fn arm() {}
fn receive() {}
fn transmit() {}
fn never() {}
fn drop() {}
fn spawn() {}
fn defer() {}
fn perform() {}

#[expect(unused_macros)]
macro_rules! panic {
    () => {};
}

fn three() -> u8 {
    3
}

#[::f::test(crate = ::f, workers = 1)]
fn every_macro() {
    let (tx, rx) = ::f::channel::<u8>(1);
    let __out = 1u8;
    let __value = 2u8;
    ::f::select! { tx <- __out => {} default => ::std::unreachable!() }
    let got = ::f::select! { biased; ::std::result::Result::Ok(v) = <-rx else { return } => v + __value, };
    ::std::assert_eq!(got, 3);
    ::f::select! { r = tx <- 1 if __out == 1 => r.unwrap(), v = <-&rx if __out != 1 => { v.unwrap(); } }
    ::f::defer!(three());
    ::f::defer!(tx <- 1);
    ::f::defer! { three(); }
    ::f::go!(clone(tx), name = "x"; { tx.capacity() });
    ::std::assert_eq!(::f::go!(three()).join().unwrap(), 3);
    ::f::go!(local; <-rx);
}

/// A temporary at the end of a body borrows from what the arm has bound.
#[::f::test(crate = ::f)]
fn temporaries_at_the_end_of_a_body() {
    use ::std::cell::RefCell;
    let first = ::f::select! { v = ::f::op::always(RefCell::new(1)) => *v.borrow() };
    let second = ::f::select! { (v, 1) = ::f::op::always((RefCell::new(1), 1)) else { return } => *v.borrow() };
    ::std::assert_eq!(first, second);
    let c = true;
    ::f::select! { v = ::f::op::always(RefCell::new(1)) if c => { let _ = *v.borrow(); } }
}
