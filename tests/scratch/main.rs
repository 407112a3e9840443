use fibers::*;
use std::thread;
use std::time::*;
#[test]
fn pingpong() {
    let (a, ra) = channel(0);
    let (b, rb) = channel(0);
    let t = thread::spawn(move || {
        for v in ra {
            b.send(v + 1).unwrap();
        }
    });
    for i in 0..if cfg!(miri) { 30 } else { 20000u64 } {
        a.send(i).unwrap();
        assert_eq!(rb.recv(), Ok(i + 1));
    }
    drop(a);
    t.join().unwrap();
}
#[test]
fn crossed() {
    let n = if cfg!(miri) { 20 } else { 50000u64 };
    let (c, rc) = channel::<u64>(0);
    let (d, rd) = channel::<u64>(0);
    let mk = |c: Sender<u64>, rc: Receiver<u64>, d: Sender<u64>, rd: Receiver<u64>, swap: bool| {
        thread::spawn(move || {
            let (mut s, mut r) = (0u64, 0u64);
            for i in 0..n {
                let x = if swap {
                    op::choice((
                        d.send_op(i).wrap(|v| {
                            v.unwrap();
                            (i + 1, 0)
                        }),
                        rc.recv_op().wrap(|v| (0, v.unwrap() + 1)),
                    ))
                    .perform()
                } else {
                    op::choice((
                        rd.recv_op().wrap(|v| (0, v.unwrap() + 1)),
                        c.send_op(i).wrap(|v| {
                            v.unwrap();
                            (i + 1, 0)
                        }),
                    ))
                    .perform()
                };
                s += x.0;
                r += x.1;
            }
            (s, r)
        })
    };
    let x = mk(c.clone(), rc.clone(), d.clone(), rd.clone(), false);
    let y = mk(c, rc, d, rd, true);
    let (x, y) = (x.join().unwrap(), y.join().unwrap());
    assert_eq!(x.0, y.1);
    assert_eq!(x.1, y.0);
}
#[test]
fn timeouts() {
    let (_tx, rx) = channel::<u32>(0);
    assert_eq!(rx.recv_timeout(Duration::from_millis(5)), Err(RecvTimeoutError::Timeout));
    let t = time::Ticker::new(Duration::from_millis(2));
    let a = t.recv();
    let b = t.recv();
    assert_eq!(b - a, Duration::from_millis(2));
    let tm = time::Timer::new(Duration::from_secs(100));
    let tm2 = tm.clone();
    let h = thread::spawn(move || tm2.recv());
    while !tm.reset(Duration::from_millis(1)) {}
    h.join().unwrap();
}
#[test]
fn full_buffer() {
    let (tx, rx) = channel(1);
    tx.send(1).unwrap();
    let h = thread::spawn(move || {
        tx.send(2).unwrap();
        tx.send(3).unwrap();
    });
    assert_eq!(rx.iter().collect::<Vec<_>>(), [1, 2, 3]);
    h.join().unwrap();
}
