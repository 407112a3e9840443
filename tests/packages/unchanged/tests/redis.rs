//! The crate redis through its own trait, against a real server: see `RedisConnection`.

use fibers_test_unchanged::{RedisServer, count, each};
use fibers_tests::on_workers;
use redis::ConnectionLike;
use services::RedisConnection;
use std::net::SocketAddr;
use std::time::Duration;

fn connect(address: SocketAddr) -> RedisConnection {
    RedisConnection::open(address, Duration::from_secs(60)).unwrap()
}

#[test]
fn redis_commands() {
    let Some(server) = RedisServer::start("redis_commands") else {
        return;
    };
    let address = server.address();
    on_workers(&[1, 2], |on| {
        let mut ours = connect(address);
        redis::cmd("FLUSHALL").exec(&mut ours).unwrap();
        each(on, move |i| {
            let mut connection = connect(address);
            let (key, value) = (format!("key {i}"), format!("value {i} ").repeat(1_000));
            redis::cmd("SET").arg(&key).arg(&value).exec(&mut connection).unwrap();
            for _ in 0..5 {
                redis::cmd("INCR").arg("all").exec(&mut connection).unwrap();
                let found: String = redis::cmd("GET").arg(&key).query(&mut connection).unwrap();
                assert!(found == value);
            }
            // A transaction: its answers are at the end of several.
            let mut pipe = redis::pipe();
            pipe.atomic().cmd("RPUSH").arg(&key).arg(1).ignore();
            let refused = pipe.query::<()>(&mut connection);
            assert!(refused.unwrap_err().to_string().contains("WRONGTYPE"));
            let mut pipe = redis::pipe();
            pipe.atomic().cmd("APPEND").arg(&key).arg("!").cmd("STRLEN").arg(&key);
            let (after, length): (usize, usize) = pipe.query(&mut connection).unwrap();
            assert_eq!((after, length), (value.len() + 1, value.len() + 1));
            assert!(connection.is_open());
        });
        let all: u64 = redis::cmd("GET").arg("all").query(&mut ours).unwrap();
        assert_eq!(all, 5 * count());
    });
}

/// Who blocks in the server suspends its fiber alone.
#[test]
fn a_blocking_pop_waits_for_a_push() {
    let Some(server) = RedisServer::start("a_blocking_pop_waits_for_a_push") else {
        return;
    };
    let address = server.address();
    on_workers(&[1, 2], |on| {
        let mut ours = connect(address);
        let waiting: Vec<_> = (0..count())
            .map(|_| {
                on.spawn(move || {
                    let mut connection = connect(address);
                    let (_, value): (String, u64) = redis::cmd("BLPOP").arg("list").arg(0).query(&mut connection).unwrap();
                    value
                })
            })
            .collect();
        for i in 0..count() {
            redis::cmd("RPUSH").arg("list").arg(i).exec(&mut ours).unwrap();
        }
        let mut popped: Vec<_> = waiting.into_iter().map(|task| task.join()).collect();
        popped.sort_unstable();
        assert!(popped.into_iter().eq(0..count()));
    });
}

/// A server that is silent is given up, and the connection with it.
#[test]
fn a_silent_server_is_given_up() {
    on_workers(&[1, 2], |_| {
        let listener = fibers::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut connection = connect(listener.local_addr().unwrap());
        connection.set_timeout(Some(Duration::from_millis(20))).unwrap();
        let error = redis::cmd("PING").exec(&mut connection).unwrap_err();
        assert!(error.is_timeout(), "{error:?}");
        assert!(!connection.is_open());
    });
}

/// After an answer that did not come, the connection says that it is of no use.
#[test]
fn a_server_that_goes_breaks_the_connection() {
    let Some(server) = RedisServer::start("a_server_that_goes_breaks_the_connection") else {
        return;
    };
    let mut connection = connect(server.address());
    assert!(connection.check_connection() && connection.is_open());
    drop(server);
    assert!(!connection.check_connection());
    assert!(!connection.is_open());
}
