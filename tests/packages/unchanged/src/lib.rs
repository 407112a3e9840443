//! What the tests of this package share: peers by the hundred, a certificate for them, a Redis server, and the adapters of those
//! crates that open their connections themselves.
//!
//! The tests stand in a package of their own because their crates are large, and the other tests are also built for the model
//! checker, the interpreter and the sanitizer.

mod http;
mod peers;
mod redis;
mod tls;

pub use http::{FiberConnector, FiberResolver, FiberTransport};
pub use peers::{count, each, meet};
pub use redis::{RedisConnection, RedisServer};
pub use tls::Tls;
