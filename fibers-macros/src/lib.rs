//! The macros of the crate `fibers`. Use them through that crate.
//!
//! Macros written as functions arrive here through a `macro_rules!` of `fibers`, which hands in the path of that crate first:
//! `[$crate] ..`. Each macro is a pure function from tokens to tokens or errors.

#![forbid(unsafe_code)]

extern crate proc_macro;

mod action;
mod attribute;
mod defer;
mod error;
mod go;
mod operation;
mod select;
#[cfg(test)]
mod tests;

use attribute::{Kind, attribute};
use proc_macro::TokenStream;

/// See `fibers::select!`.
#[doc(hidden)]
#[proc_macro]
pub fn select(input: TokenStream) -> TokenStream {
    select::select(input.into())
        .unwrap_or_else(|error| error::block(&error))
        .into()
}

/// See `fibers::go!`.
#[doc(hidden)]
#[proc_macro]
pub fn go(input: TokenStream) -> TokenStream {
    go::go(input.into()).unwrap_or_else(|error| error::block(&error)).into()
}

/// See `fibers::defer!`.
#[doc(hidden)]
#[proc_macro]
pub fn defer(input: TokenStream) -> TokenStream {
    defer::defer(input.into()).unwrap_or_else(|error| error::block(&error)).into()
}

/// Runs the body of `main` as the main fiber of a runtime.
///
/// `#[fibers::main(workers = 2)]` sets options of the runtime: `workers`, `stack_size` and `guard_size` (bytes), `seed`, and
/// `shutdown`, each with the value that the method of that name of `RuntimeBuilder` takes. `crate = path` names the crate `fibers`
/// where it is known by another name. The function may return whatever a `main` may return.
///
/// # Panics
/// If the runtime cannot be started; `Runtime::builder()` gives the error instead.
#[proc_macro_attribute]
pub fn main(options: TokenStream, item: TokenStream) -> TokenStream {
    attribute(Kind::Main, options.into(), item.into()).into()
}

/// Makes a test whose body runs as the main fiber of a runtime.
///
/// Takes the options of `#[fibers::main]`. Other attributes of tests, such as `#[should_panic]` and `#[ignore]`, stay.
#[proc_macro_attribute]
pub fn test(options: TokenStream, item: TokenStream) -> TokenStream {
    attribute(Kind::Test, options.into(), item.into()).into()
}
