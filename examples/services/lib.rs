//! What the programs beside this file share.

mod redis;

pub use redis::RedisConnection;
