//! Limits of the process: address space, memory, and what the environment says.

use fibers::fault::{self, Call, Fault};
use fibers::fiber::Builder;
use fibers::{Runtime, channel};
use std::io::Write;
use std::sync::atomic::Ordering;

/// Bytes of memory that the process has touched.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").expect("the system tells how much memory is used");
    let pages: usize = text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number");
    pages * 4096
}

/// Bytes of address space of the process.
fn mapped() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("the system tells how much memory is used");
    text.split(' ')
        .next()
        .and_then(|pages| pages.parse::<u64>().ok())
        .expect("a number")
        * 4096
}

fn limit_address_space(bytes: u64) {
    let limit = libc::rlimit {
        rlim_cur: bytes,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: `limit` is a valid limit.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) }, 0);
}

pub(crate) fn address_space() {
    Runtime::builder().workers(1).build().unwrap().run(|| {
        fibers::spawn(|| ()).join().unwrap();
        limit_address_space(mapped() + (100 << 20));
        let (tx, rx) = channel::<()>(0);
        let mut handles = Vec::new();
        let error = loop {
            let rx = rx.clone();
            match Builder::new().spawn(move || rx.recv().is_err()) {
                Ok(handle) => handles.push(handle),
                Err(error) => break error.to_string(),
            }
            assert!(handles.len() < 10_000);
            fibers::sleep(std::time::Duration::from_micros(200));
        };
        assert!(handles.len() > 250, "{} of 400", handles.len());
        assert!(error.contains("ulimit -v") && error.contains("stacks in use"), "{error}");
        drop(tx);
        assert!(handles.into_iter().all(|handle| handle.join().unwrap()));
        // A stack of its own size that does not fit.
        let error = Builder::new().stack_size(1 << 30).spawn(|| ()).unwrap_err().to_string();
        assert!(error.contains("ulimit -v"), "{error}");
        fibers::spawn(|| ()).join().unwrap();
    });
}

/// Spawns suspended fibers until a spawn fails; returns how many there were and what was said.
fn spawn_until_exhausted(limit: usize) -> (usize, String) {
    let (tx, rx) = channel::<()>(0);
    let mut handles = Vec::new();
    let error = loop {
        assert!(handles.len() < limit, "no limit was met");
        let theirs = rx.clone();
        match Builder::new().spawn(move || theirs.recv().is_err()) {
            Ok(handle) => handles.push(handle),
            Err(error) => break error,
        }
        // They start while this one sleeps, unless there is no stack for them.
        let mut patience = 20;
        while handles.len() % 100 == 0 && rx.waiting_receivers() < handles.len() && patience > 0 {
            fibers::sleep(std::time::Duration::from_millis(1));
            patience -= 1;
        }
    };
    // Whoever runs is not disturbed: the fibers that there are still meet their partner.
    let count = handles.len();
    tx.send(()).unwrap();
    drop(tx);
    let closed = handles.into_iter().map(|h| h.join().unwrap()).filter(|closed| *closed);
    assert_eq!(closed.count(), count - 1);
    // And there is room again.
    assert_eq!(Builder::new().spawn(|| 5).unwrap().join().unwrap(), 5);
    (count, error.to_string())
}

/// In a process of its own: while it lasts, no thread of the process can be started.
pub(crate) fn too_many_mappings() {
    let _fault = fault::scoped(Call::MadviseGuard, Fault::always(libc::EINVAL));
    let runtime = Runtime::builder().workers(1).stack_size(128 << 10).build().unwrap();
    let (count, message) = runtime.run(|| spawn_until_exhausted(40_000));
    assert!(count > 10_000, "{count}");
    for word in ["vm.max_map_count", "MADV_GUARD_INSTALL", "stacks in use"] {
        assert!(message.contains(word), "{message}");
    }
}

/// The main fiber waits for one that never gets a stack, since all others sleep on theirs.
pub(crate) fn stuck() {
    Runtime::builder().workers(1).build().unwrap().run(|| {
        let (tx, rx) = channel::<()>(0);
        let _fault = fault::scoped(Call::Mmap, Fault::always(libc::ENOMEM));
        let handle = fibers::spawn(move || drop(tx));
        let _ = rx.recv();
        handle.join().unwrap();
    });
}

pub(crate) fn burst() {
    const FIBERS: usize = 10_000;
    Runtime::builder().workers(1).build().unwrap().run(|| {
        let (tx, rx) = channel::<()>(0);
        let handles: Vec<_> = (0..FIBERS)
            .map(|_| {
                let rx = rx.clone();
                fibers::spawn(move || rx.recv().is_err())
            })
            .collect();
        while rx.waiting_receivers() < FIBERS {
            fibers::sleep(std::time::Duration::from_millis(1));
        }
        let before = resident();
        assert!(before > FIBERS * 4096, "{before}");
        drop(tx);
        handles.into_iter().for_each(|handle| assert!(handle.join().unwrap()));
        for _ in 0..100 {
            fibers::sleep(std::time::Duration::from_millis(10));
            if resident() < before - FIBERS * 4096 * 9 / 10 {
                return;
            }
        }
        panic!("{} of {before} bytes are still in use", resident());
    });
}

/// `FIBERS_STACK_SIZE` is 512 KiB: 64 of it are the guard.
pub(crate) fn stack_size() {
    #[inline(never)]
    fn deep() -> u8 {
        std::hint::black_box([1_u8; 210 << 10])[7]
    }
    assert_eq!(fibers::run(|| fibers::spawn(deep).join()).unwrap(), 1);
}

/// Builds a runtime with what the environment says and tells how many workers it has, or why there is none.
pub(crate) fn build() {
    match Runtime::new() {
        Ok(runtime) => println!("{runtime:?}"),
        Err(error) => println!("{:?}: {error}", error.kind()),
    }
}

pub(crate) fn failing_allocator() {
    let after = std::env::var("FAIL_AFTER").expect("a number").parse().expect("a number");
    let runtime = Runtime::builder().workers(2).build().unwrap();
    // Made before, so that writing needs no memory.
    let mut out = std::io::stdout().lock();
    let mut line = Vec::with_capacity(16);
    runtime.run(|| {
        crate::LEFT.store(after, Ordering::SeqCst);
        let (tx, rx) = channel(3);
        let (sums, sum) = fibers::unbounded();
        let sender = fibers::spawn(move || {
            for i in 0..500_u32 {
                tx.send(i).unwrap();
                let sums = sums.clone();
                fibers::spawn(move || sums.send(vec![i; 10]).unwrap());
            }
        });
        for i in rx.iter() {
            line.clear();
            let _ = writeln!(line, "{i}");
            let _ = out.write_all(&line);
            let _ = out.flush();
        }
        sender.join().unwrap();
        assert_eq!(sum.iter().take(500).map(|v| v.len()).sum::<usize>(), 5000);
        crate::LEFT.store(i64::MAX, Ordering::SeqCst);
    });
}

pub(crate) fn panic() {
    fibers::run(|| {
        let handle = Builder::new().name("clumsy").spawn(|| panic!("over my own feet")).unwrap();
        let error = handle.join().unwrap_err();
        assert_eq!(error.to_string(), "the fiber panicked: over my own feet");
    });
}
