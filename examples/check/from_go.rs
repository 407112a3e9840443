//! The tables of the README: each right-hand side of "Coming from Go" stands here as well, and compiles, and runs; so does each
//! operation of the page of combinators.

use fibers::context::{ContextError, Key};
use fibers::net::{TcpListener, TcpStream};
use fibers::process::Command;
use fibers::signal::{self, Signal};
use fibers::sync::atomic::{AtomicI64, Waitable};
use fibers::sync::{Barrier, Condvar, IVar, Lazy, MVar, Mutex, Once, Pool, RwLock, Semaphore, SingleFlight, Swap, Watch};
use fibers::time::{Ticker, Timer};
use fibers::{Cond, Context, JoinError, Op, Receiver, Runtime, Sender, WaitGroup, channel, defer, fs, go, io, net, op, scope, select, sleep, spawn_blocking, time, yield_now};
use std::io::{Read, Write};
use std::time::{Duration, Instant};

const README: &str = include_str!("../../README.md");
const HERE: &str = include_str!("from_go.rs");

fn f(_: i32) {}
fn g() {}
fn report(_: JoinError) {}
fn say(_: String) {}
fn read_file() -> Vec<u8> {
    vec![]
}

mod main_function {
    use super::g;

    #[fibers::main] fn main() { g() }

    #[test]
    fn runs() {
        main();
    }
}

#[fibers::test]
fn goroutines() {
    let x = 1;
    go!(f(x));
    go! { f(x); };
    go!(f(x)).join().expect("f does not panic");
    if let Err(e) = go!(f(x)).join() { report(e) }
    yield_now();
    spawn_blocking(read_file).join().unwrap();
}

#[test]
fn workers() {
    let n = 2;
    Runtime::builder().workers(n).build().expect("a runtime").run(|| ());
}

#[fibers::test]
fn channels() {
    let v = 1;
    let (tx, rx) = channel::<i32>(0);
    drop((tx, rx));
    let (tx, rx) = channel::<i32>(8);
    let _: (&Sender<i32>, &Receiver<i32>) = (&tx, &rx);
    for _ in 0..4 {
        tx.send(v).unwrap();
    }
    assert_eq!((rx.len(), rx.capacity()), (4, Some(8)));
    let v = rx.recv().unwrap();
    assert_eq!(v, 1);
    if let Ok(v) = rx.recv() { f(v) }
    tx.close();
    for v in &rx { f(v) }
}

#[fibers::test]
fn selects() {
    let (tx, rx) = channel::<i32>(8);
    let (a, b) = (rx.clone(), rx.clone());
    let (v, d, wanted) = (1, Duration::from_micros(1), false);
    tx.send(v).unwrap();
    select! { v = <-a => f(v), w = <-b => f(w) }
    select! {
        tx <- v => g(),
    }
    select! {
        Ok(v) = <-rx else { return } => f(v),
    }
    select! {
        <-time::after(d) => g(),
        v = <-rx if wanted => f(v),
    }
    select! {
        _ = <-rx => unreachable!("it is empty"),
        default => g(),
    }
    go! {
        select! {}
    };

    fn f<T>(_: T) {}
}

#[fibers::test]
fn times() {
    let d = Duration::from_micros(1);
    sleep(d);
    let t = Ticker::new(d); t.recv(); t.stop();
    let t = Timer::new(d); t.reset(d); t.recv();
}

#[fibers::test]
fn deferring() {
    let x = 1;
    defer!(f(x));
    defer! { f(x); }
}

#[fibers::test]
fn waiting() {
    let wg = WaitGroup::new();
    wg.go(g);
    wg.add(1); go!(clone(wg); { defer!(wg.done()); g() });
    wg.wait();
    let done = Cond::new(); done.signal(); done.wait();
}

#[fibers::test]
fn locks() {
    let mutex = Mutex::new(0); *mutex.lock() += 1;
    assert_eq!(mutex.try_lock().as_deref(), Some(&1));
    let (rw, condvar) = (RwLock::new(1), Condvar::new());
    assert_eq!(*rw.read(), 1);
    *rw.write() = 2;
    let guard = mutex.lock();
    let guard = condvar.wait_while(guard, |n| *n == 0);
    drop(guard);
    condvar.notify_one();
    condvar.notify_all();
    assert_eq!(*mutex.lock_op().perform(), 1);
    assert_eq!(*rw.read_op().perform(), 2);
    assert_eq!(*rw.write_op().perform(), 2);

    let (semaphore, once, barrier) = (Semaphore::new(3), Once::new(), Barrier::new(1));
    let _permits = semaphore.acquire_many(2).unwrap();
    assert!(semaphore.acquire_op().perform().is_ok());
    once.call_once(g);
    once.wait_op().perform();
    assert!(barrier.wait_op().perform().is_leader());
    let v = Lazy::new(read_file);
    let flights = SingleFlight::new();
    assert_eq!(flights.run(1, read_file), *v);
    let pool = Pool::new(1, read_file);
    drop(pool.get());
    let counter = Waitable::<AtomicI64>::new(0);
    counter.fetch_add(1);
    counter.wait_until(|n| n == 1);
    assert_eq!(counter.wait_until_op(|n| n == 1).perform(), 1);
}

#[fibers::test]
fn variables() {
    let (mvar, ivar, swap, watch) = (MVar::new(1), IVar::new(), Swap::new(), Watch::new(1));
    let v = mvar.take_op().perform();
    mvar.put_op(v).perform();
    ivar.put(v).unwrap();
    assert_eq!(ivar.wait_op().perform(), &1);
    assert_eq!(swap.swap_op(v).try_perform(), None);
    let watcher = watch.subscribe();
    watch.set(2);
    assert_eq!(*watcher.changed_op().perform().unwrap(), 2);
}

#[fibers::test]
fn contexts() {
    static KEY: Key<i32> = Key::new("number");
    let (ctx, d, v) = (Context::background(), Duration::ZERO, 7);
    let ctx = ctx.with_value(&KEY, v);
    assert_eq!(ctx.value(&KEY), Some(&7));
    let (ctx, _cancel) = ctx.with_cancel();
    drop(ctx.after_func(g));
    let (ctx, _cancel) = ctx.with_timeout(d);
    let (_tx, rx) = channel(0);
    let wait = || -> Result<(), ContextError> {
        loop {
            select! {
                v = <-rx => f(v.unwrap()),
                why = <-ctx => return Err(why),
            }
        }
    };
    assert_eq!(wait(), Err(ContextError::DeadlineExceeded));
    assert_eq!(ctx.done_op().perform(), ContextError::DeadlineExceeded);
}

#[fibers::test]
fn scopes() {
    let x = 1;
    let check = |_: i32| Err::<(), _>("no");
    scope(|s| { s.spawn(|| f(x)); });
    assert_eq!(scope::try_scope(|s| { s.spawn(|| check(x)); Ok(()) }), Err("no"));
    scope(|s| {
        s.cancel();
        s.cancelled_op().perform();
    });
}

#[fibers::test]
fn outside() -> std::io::Result<()> {
    let (a, d) = ("127.0.0.1:0", Duration::from_secs(60));
    let l = TcpListener::bind(a)?;
    let a = l.local_addr()?;
    let client = go!({ TcpStream::connect_timeout(a, d)?.write_all(b"x") });
    let (c, _) = l.accept()?;
    let (t, mut b) = (Instant::now() + d, [0]);
    let n = c.with_deadline(t).read(&mut b)?;
    assert_eq!((n, &b), (1, b"x"));
    client.join().unwrap()?;
    assert!(l.accept_op().try_perform().is_none());

    let ctx = Context::background();
    let c = ctx.run(TcpStream::connect_op(a))??;
    let (mut other, _) = l.accept()?;
    other.write_all(b"a line\nanother")?;
    assert_eq!(io::BufReader::new(&c).line_op().perform()?.as_deref(), Some("a line"));
    let file = fs::File::open("../README.md")?;
    let sent = net::send_file(&file, &c, ..)?;
    assert_eq!(sent, README.len() as u64);
    let mut lines = io::BufReader::new(&other);
    let mut b = [0; 8];
    lines.read_exact_op(&mut b).perform()?;
    assert_eq!(&b, b"# fibers");
    let all = || -> std::io::Result<()> {
        for line in io::stdin().lines() { say(line?); }
        Ok(())
    };
    let _ = all; // the tests have no input of their own

    let (one, other) = io::duplex(64);
    drop(io::pipe()?);
    let (stream, mut b) = (&other, [0; 2]);
    (&one).write_all(b"xy")?;
    assert_eq!(stream.read_op(&mut b).perform()?, 2);
    assert_eq!(stream.write_op(&b).perform()?, 2);

    let p = std::env::temp_dir().join(format!("fibers-from-go-{}", std::process::id()));
    let (p, b) = (&p, &b);
    fs::write(p, b)?;
    assert_eq!(fs::read(p)?, b"xy");
    fs::remove_file(p)?;
    assert!(Command::new("true").status()?.success());
    let child = Command::new("true").spawn()?;
    assert!(child.wait_op().perform()?.success());
    let signals = signal::notify(&[Signal::TERM])?;
    assert!(signals.recv_op().try_perform().is_none());
    Ok(())
}

#[fibers::test]
fn combinators() {
    let (tx, rx) = channel::<i32>(8);
    let (v, d, f) = (1, Duration::from_micros(1), |v: i32| v + 1);
    assert_eq!(op::always(v).or(op::never()).perform(), 1);
    assert_eq!(tx.send_op(v).perform(), Ok(()));
    assert_eq!(rx.recv_op().perform(), Ok(1));
    let mut slot = Some(v);
    assert!(tx.send_slot_op(&mut slot).perform().is_ok());
    time::sleep_op(d).perform();
    time::after(d).perform();

    let (cond, wg, handle) = (Cond::new(), WaitGroup::new(), go!(g()));
    cond.signal();
    cond.wait_op().perform();
    wg.wait_op().perform();
    assert!(handle.join_op().perform().is_ok());

    let (a, b, c) = (op::always(v), op::always(v), op::always(v));
    assert_eq!(op::choice((a.clone(), b.clone(), c.clone())).perform(), 1);
    assert_eq!(op::biased((a.clone(), b.clone(), c)).perform(), 1);
    assert_eq!(a.clone().or(b.clone()).perform(), 1);
    assert_eq!(op::choice([a.clone(), b.clone()]).perform(), 1);
    assert_eq!(op::choice(vec![a.clone(), b.clone()]).perform(), 1);
    assert!(op::choice((0..3).map(op::always)).try_perform().is_some());
    assert_eq!(a.clone().wrap(f).perform(), 2);
    assert_eq!(op::guard(|| a.clone()).perform(), 1);
    assert_eq!(op::with_nack(|_| a.clone()).perform(), 1);
    let mut aborted = 0;
    assert_eq!(op::never::<i32>().on_abort(|| aborted += 1).try_perform(), None);
    assert_eq!(aborted, 1);
    assert_eq!(a.clone().timeout(d).perform(), Ok(1));
    assert_eq!(a.clone().label("name").boxed().perform(), 1);
    assert_eq!(Some(a.clone()).perform_or(|| 2), 1);
    assert_eq!(None::<op::Always<i32>>.perform_or(|| 2), 2);
    assert_eq!(op::base(|| Some(3), |_| (), || ()).perform(), 3);
    let graph = a.or(b).graph();
    assert!(!graph.to_string().is_empty() && !graph.to_dot().is_empty() && !graph.to_mermaid().is_empty());
}

/// The code in the cells of one column of the table below a heading.
fn cells(heading: &str, column: usize) -> Vec<String> {
    let section = README.split(heading).nth(1).expect("the heading is there");
    let rows = section.lines().skip_while(|line| !line.starts_with("|---")).skip(1).take_while(|line| line.starts_with('|'));
    let cell = |row: &str| row.replace("\\|", "\u{0}").split('|').nth(column).expect("a cell").replace('\u{0}', "|");
    rows.map(cell).collect()
}

/// What stands between backticks.
fn snippets(cell: &str) -> impl Iterator<Item = String> {
    cell.split('`').skip(1).step_by(2).map(normal)
}

fn normal(code: &str) -> String {
    code.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn every_row_stands_here() {
    let rows = cells("## Coming from Go", 2);
    assert!(rows.len() >= 25, "{} rows", rows.len());
    let here = normal(HERE);
    for snippet in rows.iter().flat_map(|row| snippets(row)) {
        assert!(here.contains(&snippet), "not in from_go.rs: {snippet}");
    }
}

#[test]
fn every_combinator_stands_here() {
    for snippet in cells("## The combinators on one page", 1).iter().flat_map(|row| snippets(row)) {
        let name = snippet.split(['(', '|']).next().expect("a name");
        let name = name.rsplit_once('.').map_or(name, |(_, method)| method);
        assert!(HERE.contains(&format!("{name}(")) || HERE.contains(&format!("{name}::<")), "not in from_go.rs: {snippet}");
    }
}
