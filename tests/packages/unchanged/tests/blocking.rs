//! What blocks a worker, and what to use instead.
//!
//! One worker, and on it a sibling that is always ready to run. A call that blocks the worker gives it no turn, however long it takes;
//! it is released when the kernel says that the thread is blocked. Its replacement is released only after the sibling has had a
//! turn, so it would hang if there were none.

use fibers::{Cond, channel, fs, process, spawn_blocking, spawn_local, sync, yield_now};
use fibers_tests::{Counter, HANG, runtime, subprocess, watchdog};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

/// Runs `test` beside the sibling, whose turns it is given.
fn beside_a_sibling(test: impl FnOnce(&Counter)) {
    watchdog(HANG, || {
        runtime(1).run(|| {
            let (turns, stop) = (Counter::default(), Cond::new());
            let (theirs, stopped) = (turns.clone(), stop.clone());
            let sibling = spawn_local(move || {
                while !stopped.is_signalled() {
                    theirs.add();
                    yield_now();
                }
            });
            while turns.get() == 0 {
                yield_now();
            }
            test(&turns);
            stop.signal();
            sibling.join().unwrap();
        });
    });
}

/// What the kernel knows of the calling thread.
fn status() -> String {
    let task = std::fs::read_link("/proc/thread-self").expect("proc is mounted");
    format!("/proc/{}/stat", task.display())
}

fn is_blocked(status: &str) -> bool {
    let text = std::fs::read_to_string(status).expect("the thread lives");
    // The name is in parentheses, and may hold anything.
    text.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('S'))
}

/// Makes a call that blocks the worker until it is released.
fn blocks<R>(turns: &Counter, release: impl FnOnce() + Send + 'static, call: impl FnOnce() -> R) -> R {
    let (status, begins) = (status(), Arc::new(AtomicBool::new(false)));
    let begun = begins.clone();
    let releaser = thread::spawn(move || {
        while !begun.load(Ordering::Acquire) || !is_blocked(&status) {
            thread::yield_now();
        }
        release();
    });
    let before = turns.get();
    begins.store(true, Ordering::Release);
    let result = call();
    assert_eq!(turns.get(), before, "the sibling had a turn");
    releaser.join().expect("the release does not panic");
    result
}

/// Makes a call that suspends the fiber alone. It is released once the sibling has had a turn.
fn suspends<R>(turns: &Counter, release: impl FnOnce() + Send + 'static, call: impl FnOnce() -> R) -> R {
    let (theirs, before) = (turns.clone(), turns.get());
    let releaser = thread::spawn(move || {
        while theirs.get() == before {
            thread::yield_now();
        }
        release();
    });
    let result = call();
    assert!(turns.get() > before);
    releaser.join().expect("the release does not panic");
    result
}

fn nothing() {}

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (near, listener.accept().unwrap().0)
}

#[test]
fn sockets_of_std() {
    beside_a_sibling(|turns| {
        let (mut near, mut far) = pair();
        blocks(turns, move || far.write_all(b"x").unwrap(), || near.read(&mut [0])).unwrap();
        let (near, mut far) = pair();
        let mut near = fibers::net::TcpStream::try_from(near).unwrap();
        suspends(turns, move || far.write_all(b"x").unwrap(), || near.read(&mut [0])).unwrap();
    });
}

#[test]
fn sleeping_by_std() {
    const SHORT: Duration = Duration::from_millis(2);
    beside_a_sibling(|turns| {
        blocks(turns, nothing, || thread::sleep(SHORT));
        suspends(turns, nothing, || fibers::sleep(SHORT));
    });
}

#[test]
fn channels_of_std() {
    beside_a_sibling(|turns| {
        let (tx, rx) = mpsc::channel();
        blocks(turns, move || tx.send(1).unwrap(), || rx.recv()).unwrap();
        let (tx, rx) = channel(0);
        suspends(turns, move || tx.send(1).unwrap(), || rx.recv()).unwrap();
    });
}

/// One that a plain thread holds.
#[test]
fn locks_of_std() {
    beside_a_sibling(|turns| {
        let (lock, (locked, is_locked), (free, freed)) = (Arc::new(Mutex::new(0)), mpsc::channel(), mpsc::channel::<()>());
        let theirs = lock.clone();
        let holder = thread::spawn(move || {
            let _guard = theirs.lock().unwrap();
            locked.send(()).unwrap();
            let _ = freed.recv();
        });
        is_locked.recv().unwrap();
        *blocks(turns, move || drop(free), || lock.lock()).unwrap() += 1;
        holder.join().unwrap();

        let (lock, (locked, is_locked), (free, freed)) = (Arc::new(sync::Mutex::new(0)), mpsc::channel(), mpsc::channel::<()>());
        let theirs = lock.clone();
        let holder = thread::spawn(move || {
            let _guard = theirs.lock();
            locked.send(()).unwrap();
            let _ = freed.recv();
        });
        is_locked.recv().unwrap();
        *suspends(turns, move || drop(free), || lock.lock()) += 1;
        holder.join().unwrap();
    });
}

/// The worker waits for a fiber that waits for the worker: only from outside can that be ended.
#[test]
fn a_lock_of_std_across_a_suspension() {
    const STUCK: i32 = 7;
    let output = subprocess("a_lock_of_std_across_a_suspension", || {
        beside_a_sibling(|turns| {
            let (lock, (_tx, rx)) = (Arc::new(Mutex::new(0)), channel::<()>(0));
            let theirs = lock.clone();
            let holder = spawn_local(move || {
                let _guard = theirs.lock().unwrap();
                let _ = rx.recv();
            });
            while lock.try_lock().is_ok() {
                yield_now();
            }
            let end = || std::process::exit(STUCK);
            *blocks(turns, end, || lock.lock()).unwrap() += 1;
            holder.join().unwrap();
        });
    });
    assert_eq!(output.status.code(), Some(STUCK), "{output:?}");
    beside_a_sibling(|turns| {
        let (lock, (tx, rx)) = (Arc::new(sync::Mutex::new(0)), channel::<()>(0));
        let theirs = lock.clone();
        let holder = spawn_local(move || {
            let _guard = theirs.lock();
            let _ = rx.recv();
        });
        while lock.try_lock().is_some() {
            yield_now();
        }
        *suspends(turns, move || drop(tx), || lock.lock()) += 1;
        holder.join().unwrap();
    });
}

#[test]
fn child_processes_of_std() {
    beside_a_sibling(|turns| {
        let mut child = std::process::Command::new("cat")
            .stdin(process::Stdio::piped())
            .spawn()
            .unwrap();
        // Taken out of it: `wait` would close it first.
        let stdin = child.stdin.take();
        assert!(blocks(turns, move || drop(stdin), || child.wait()).unwrap().success());
        let mut child = process::Command::new("cat").stdin(process::Stdio::piped()).spawn().unwrap();
        let stdin = child.stdin.take();
        assert!(suspends(turns, move || drop(stdin), || child.wait()).unwrap().success());
    });
}

#[test]
fn names_looked_up_by_std() {
    const HOST: (&str, u16) = ("localhost", 80);
    beside_a_sibling(|turns| {
        blocks(turns, nothing, || HOST.to_socket_addrs()).unwrap();
        let (go, wait) = mpsc::channel();
        let look_up = move || {
            wait.recv().unwrap();
            HOST.to_socket_addrs().map(Iterator::count)
        };
        let found = suspends(turns, move || go.send(()).unwrap(), || spawn_blocking(look_up).join());
        assert_ne!(found.unwrap().unwrap(), 0);
    });
}

/// A file that has nothing to read yet: a named pipe.
#[test]
fn files_of_std() {
    let path = std::env::temp_dir().join(format!("fibers-unchanged-{}", std::process::id()));
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let theirs = path.clone();
    let write = move || std::fs::write(&theirs, "x").unwrap();
    beside_a_sibling(|turns| {
        assert_eq!(blocks(turns, write.clone(), || std::fs::read(&path)).unwrap(), b"x");
        assert_eq!(suspends(turns, write, || fs::read(&path)).unwrap(), b"x");
    });
    std::fs::remove_file(&path).unwrap();
}

/// A server of which nobody ever hears.
fn silent() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

/// As it is, without the adapter of `ureq.rs`.
#[test]
fn ureq_with_its_own_sockets() {
    beside_a_sibling(|turns| {
        let (server, address) = silent();
        let get = || ureq::get(format!("http://{address}/")).call();
        assert!(blocks(turns, move || drop(server), get).is_err());
        let (server, address) = silent();
        let get = move || ureq::get(format!("http://{address}/")).call().is_err();
        assert!(suspends(turns, move || drop(server), || spawn_blocking(get).join()).unwrap());
    });
}

/// As it is, without the adapter of `redis.rs`.
#[test]
fn redis_with_its_own_sockets() {
    beside_a_sibling(|turns| {
        let (server, address) = silent();
        let client = redis::Client::open(format!("redis://{address}/")).unwrap();
        assert!(blocks(turns, move || drop(server), || client.get_connection()).is_err());
        let (server, address) = silent();
        let client = redis::Client::open(format!("redis://{address}/")).unwrap();
        let connect = move || client.get_connection().is_err();
        assert!(suspends(turns, move || drop(server), || spawn_blocking(connect).join()).unwrap());
    });
}

/// The call itself may stay as it is.
#[test]
fn any_call_on_the_pool() {
    beside_a_sibling(|turns| {
        let (mut near, mut far) = pair();
        let read = move || near.read(&mut [0]).unwrap();
        assert_eq!(
            suspends(turns, move || far.write_all(b"x").unwrap(), || spawn_blocking(read).join()).unwrap(),
            1
        );
        let (tx, rx) = mpsc::channel();
        let receive = move || rx.recv().unwrap();
        assert_eq!(
            suspends(turns, move || tx.send(2).unwrap(), || spawn_blocking(receive).join()).unwrap(),
            2
        );
        let mut child = std::process::Command::new("cat")
            .stdin(process::Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take();
        let wait = move || child.wait().unwrap().success();
        assert!(suspends(turns, move || drop(stdin), || spawn_blocking(wait).join()).unwrap());
    });
}
