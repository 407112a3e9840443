//! What the tests of this package share: peers by the hundred, and a certificate for them.
//!
//! The tests stand in a package of their own because their crates are large, and the other tests are also built for the model
//! checker, the interpreter and the sanitizer.

mod peers;
mod tls;

pub use peers::{count, meet};
pub use tls::Tls;
