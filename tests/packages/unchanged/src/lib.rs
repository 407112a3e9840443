//! What the tests of this package share: peers by the hundred, a certificate for them, a Redis server, and the adapter of ureq,
//! which opens its connections itself. (So does redis; its adapter is that of the examples.)
//!
//! The tests stand in a package of their own because their crates are large, and the other tests are also built for the model
//! checker, the interpreter and the sanitizer.

mod http;
mod peers;
mod redis_server;
mod tls;

pub use http::{FiberConnector, FiberResolver, FiberTransport};
pub use peers::{count, each, meet};
pub use redis_server::RedisServer;
pub use tls::Tls;
