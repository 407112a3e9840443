//! Several workers: stealing, pinning, wakes from afar, placement, the blocking pool, building.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::thread::ThreadId;

use super::basics::nap;
use super::*;
use crate::sched::watcher::Io;
use crate::sys::fault::{Call, Fault, scoped};

fn spin(d: Duration) {
    let began = Instant::now();
    while began.elapsed() < d {
        std::hint::spin_loop();
    }
}

/// The threads on which the fibers ran, each of which has been looked at before and after suspensions.
fn threads_of(workers: usize, fibers: usize, work: impl Fn() + Send + Sync + 'static) -> HashSet<ThreadId> {
    let (seen, work) = (Arc::new(Mutex::new(HashSet::new())), Arc::new(work));
    runtime(workers).run(|| {
        let all: Vec<_> = (0..fibers)
            .map(|i| {
                let (seen, work) = (seen.clone(), work.clone());
                go(move || {
                    let before = std::thread::current().id();
                    work();
                    yield_now();
                    nap(100_000 * (i as u64 % 3));
                    assert_eq!(std::thread::current().id(), before, "a started fiber has moved");
                    seen.lock().unwrap().insert(before);
                })
            })
            .collect();
        all.iter().for_each(|done| done.event.wait());
        assert!(all.iter().all(|done| !done.panicked.load(Ordering::SeqCst)));
    });
    Arc::try_unwrap(seen).unwrap().into_inner().unwrap()
}

#[test]
fn computing_fibers_spread_and_stay() {
    let _dog = watchdog(60);
    for workers in [2, 4] {
        assert_eq!(threads_of(workers, 64, || spin(Duration::from_millis(1))).len(), workers);
    }
}

#[test]
fn one_worker_is_one_thread() {
    let threads = threads_of(1, 64, || ());
    assert_eq!(threads, HashSet::from([std::thread::current().id()]));
}

#[test]
fn a_main_that_computes_is_relieved() {
    let _dog = watchdog(60);
    runtime(2).run(|| {
        let flag = Arc::new(AtomicBool::new(false));
        nap(50_000_000); // the other worker sleeps deeply by now
        let f = flag.clone();
        go(move || f.store(true, Ordering::SeqCst));
        let began = Instant::now();
        while !flag.load(Ordering::SeqCst) {
            std::hint::spin_loop();
        }
        assert!(
            began.elapsed() < Duration::from_millis(500),
            "relieved after {:?}",
            began.elapsed()
        );
    });
}

#[test]
fn hints_are_kept() {
    let _dog = watchdog(60);
    runtime(3).run(|| {
        for n in 0..6 {
            let on = Arc::new(AtomicUsize::new(usize::MAX));
            let on2 = on.clone();
            go_to(Place::Worker(n % 3), move || {
                on2.store(here().unwrap().worker().0, Ordering::SeqCst)
            })
            .event
            .wait();
            assert_eq!(on.load(Ordering::SeqCst), n % 3);
        }
        let all: Vec<_> = (0..3)
            .map(|_| go_to(Place::Local, || assert_eq!(here().unwrap().worker().0, 0)))
            .collect();
        all.iter().for_each(|done| done.event.wait());
        assert!(all.iter().all(|done| !done.panicked.load(Ordering::SeqCst)));
    });
}

#[test]
fn wakes_from_threads_are_never_lost() {
    let _dog = watchdog(120);
    for workers in [1, 2] {
        let events: Vec<_> = (0..4)
            .map(|_| (Arc::new(Event::default()), Arc::new(Event::default())))
            .collect();
        let rounds = if cfg!(debug_assertions) { 5_000 } else { 20_000 };
        let threads: Vec<_> = events
            .iter()
            .map(|(ping, pong)| {
                let (ping, pong) = (ping.clone(), pong.clone());
                std::thread::spawn(move || {
                    for _ in 0..rounds {
                        ping.signal();
                        pong.wait_blocking();
                    }
                })
            })
            .collect();
        runtime(workers).run(|| {
            let all: Vec<_> = events
                .iter()
                .map(|(ping, pong)| {
                    let (ping, pong) = (ping.clone(), pong.clone());
                    go(move || {
                        for _ in 0..rounds {
                            ping.wait();
                            pong.signal();
                        }
                    })
                })
                .collect();
            all.iter().for_each(|done| done.event.wait());
        });
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

#[test]
fn storms_of_wakes_between_workers_and_threads() {
    let _dog = watchdog(120);
    let rounds: u64 = if cfg!(debug_assertions) { 100_000 } else { 1_000_000 };
    let event = Arc::new(Event::default());
    let thread = {
        let event = event.clone();
        std::thread::spawn(move || (0..rounds).for_each(|_| event.signal()))
    };
    let received = Arc::new(AtomicU64::new(0));
    runtime(2).run(|| {
        let share = rounds / 8;
        let all: Vec<_> = (0..8)
            .map(|i| {
                let (event, received) = (event.clone(), received.clone());
                go_to(Place::Worker(i % 2), move || {
                    for _ in 0..share {
                        event.wait();
                        received.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        all.iter().for_each(|done| done.event.wait());
    });
    assert_eq!(received.load(Ordering::Relaxed), rounds);
    thread.join().unwrap();
}

#[test]
fn sleepers_hear_wakes_at_any_moment() {
    let _dog = watchdog(120);
    runtime(2).run(|| {
        let (a, b) = (Arc::new(Event::default()), Arc::new(Event::default()));
        let (a2, b2) = (a.clone(), b.clone());
        let rounds = 3000;
        let other = go_to(Place::Worker(1), move || {
            for i in 0..rounds {
                a2.wait();
                spin(Duration::from_nanos(i * 37 % 6000));
                b2.signal();
            }
        });
        for i in 0..rounds {
            spin(Duration::from_nanos(i * 53 % 7000));
            a.signal();
            b.wait();
        }
        other.event.wait();
    });
}

#[test]
fn a_hundred_thousand_spawns() {
    let _dog = watchdog(120);
    for workers in [1, 2, 4] {
        let count = Arc::new(AtomicUsize::new(0));
        let all = Arc::new(Event::default());
        runtime(workers).run(|| {
            for _ in 0..100_000 {
                let (count, all) = (count.clone(), all.clone());
                go(move || {
                    if count.fetch_add(1, Ordering::SeqCst) + 1 == 100_000 {
                        all.signal();
                    }
                });
            }
            all.wait();
        });
    }
}

#[test]
fn runtimes_side_by_side_talk_to_each_other() {
    let _dog = watchdog(120);
    let ring: Vec<_> = (0..4).map(|_| Arc::new(Event::default())).collect();
    let threads: Vec<_> = (0..4)
        .map(|i| {
            let (mine, next) = (ring[i].clone(), ring[(i + 1) % 4].clone());
            std::thread::spawn(move || {
                runtime(1 + i % 2).run(|| {
                    for _ in 0..1000 {
                        if i == 0 {
                            next.signal();
                            mine.wait();
                        } else {
                            mine.wait();
                            next.signal();
                        }
                    }
                });
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn many_runs_of_one_runtime_and_affinity_is_given_back() {
    let _dog = watchdog(60);
    let before = crate::sys::affinity().unwrap();
    let rt = runtime(2);
    for i in 0..200 {
        let done = rt.run(|| {
            let done = go(yield_now);
            done.event.wait();
            i
        });
        assert_eq!(done, i);
    }
    assert_eq!(crate::sys::affinity().unwrap(), before);
}

#[test]
fn spawned_between_runs_starts_with_the_next() {
    let rt = runtime(2);
    let handle = rt.handle();
    let body = job(|| ());
    let done = body.done.clone();
    // SAFETY: the closure is `Send`.
    unsafe { handle.spawn_raw(spec(Place::Auto), body) }.unwrap();
    rt.run(|| done.event.wait());
    drop(rt);
    let body = job(|| panic!("must not run"));
    let done = body.done.clone();
    // SAFETY: as above.
    unsafe { handle.spawn_raw(spec(Place::Auto), body) }.unwrap();
    assert!(done.cancelled.load(Ordering::SeqCst));
}

#[test]
fn building_can_fail() {
    let error = |builder: RuntimeBuilder| builder.build().unwrap_err().to_string();
    assert!(error(Runtime::builder().workers(0)).contains("at least one worker"));
    assert!(error(Runtime::builder().stack_size(10)).contains("too small"));
    let _fault = scoped(Call::Thread, Fault::always(libc::EAGAIN));
    let failed = Runtime::builder().workers(3).build().unwrap_err();
    assert_eq!(failed.kind(), std::io::ErrorKind::WouldBlock);
    assert!(failed.to_string().contains("the thread of worker 1"), "{failed}");
}

#[test]
fn spawn_fails_while_there_are_no_stacks() {
    let _dog = watchdog(60);
    runtime(1).run(|| {
        let hold = Arc::new(Event::default());
        let (h, started) = (hold.clone(), Arc::new(Event::default()));
        let s = started.clone();
        let first = go(move || {
            s.signal();
            h.wait();
        });
        started.wait();
        let fault = scoped(Call::Mmap, Fault::always(libc::ENOMEM));
        let advise = scoped(Call::MadviseGuard, Fault::always(libc::ENOMEM));
        let second = go(|| ());
        (0..100).for_each(|_| yield_now());
        // SAFETY: the closure is `Send`.
        let refused = unsafe { spawn(spec(Place::Auto), job(|| ())) };
        assert!(refused.is_err());
        let sized = Spec {
            stack_size: Some(1 << 20),
            ..spec(Place::Auto)
        };
        // SAFETY: as above.
        assert!(unsafe { spawn(sized, job(|| ())) }.is_err());
        drop((fault, advise));
        hold.signal();
        first.event.wait();
        second.event.wait();
        go(|| ()).event.wait();
    });
}

#[test]
fn own_stack_sizes() {
    runtime(2).run(|| {
        for size in [1 << 20, 16 << 10, 8 << 20] {
            let (name, done) = (format!("of {size}"), Arc::new(Event::default()));
            let d = done.clone();
            let big = Spec {
                name: Some(name.clone().into()),
                stack_size: Some(size),
                ..spec(Place::Auto)
            };
            let body = job(move || {
                assert!(here().unwrap().stack().size() >= size);
                assert_eq!(current().name(), Some(&*name));
                yield_now();
                d.signal();
            });
            // SAFETY: the closure is `Send`.
            let fiber = unsafe { spawn(big, body) }.unwrap();
            assert!(fiber.header().name().unwrap().starts_with("of"));
            done.wait();
        }
    });
}

#[test]
fn blocking_pool_is_bounded_and_jobs_can_be_taken_back() {
    let _dog = watchdog(60);
    let rt = Runtime::builder()
        .workers(1)
        .blocking_threads(1)
        .blocking_queue(2)
        .build()
        .unwrap();
    rt.run(|| {
        let here = here().unwrap();
        let (begun, hold) = (Arc::new(Event::default()), Arc::new(Event::default()));
        let (b, h) = (begun.clone(), hold.clone());
        let first = here.job(
            spec(Place::Auto),
            job(move || {
                b.signal();
                h.wait_blocking();
            }),
        );
        let pool = here.pool();
        // SAFETY: the closures are `Send`.
        let submit = |job: &FiberRef<_>| unsafe { pool.submit(job) };
        assert!(submit(&first).is_ok());
        begun.wait();
        let make = || here.job(spec(Place::Auto), job(|| ()));
        let waiting = [make(), make()];
        let too_many = make();
        // SAFETY: as above.
        unsafe {
            assert!(pool.submit(&waiting[0]).is_ok());
            assert!(pool.submit(&waiting[1]).is_ok());
            assert!(matches!(pool.submit(&too_many), Err(blocking::Refused::Full)));
        }
        let room = Arc::new(Event::default());
        let r = room.clone();
        pool.on_room(Box::new(move || r.signal()));
        assert!(pool.try_cancel(waiting[0].task().0));
        assert!(!pool.try_cancel(waiting[0].task().0));
        room.wait();
        // SAFETY: as above.
        assert!(unsafe { pool.submit(&too_many) }.is_ok());
        hold.signal();
        first.done.event.wait();
        waiting[1].done.event.wait();
        too_many.done.event.wait();
        assert!(!pool.try_cancel(first.task().0));
    });
}

/// Signals the event of the test that installed it.
struct Bell(Arc<Event>);

impl Io for Bell {
    fn event(&self, event: crate::epoll::Event) {
        assert!(event.token == 7 && event.is_readable());
        self.0.signal();
    }

    fn end(&self) {}

    fn as_any(&self) -> &(dyn std::any::Any + Send + Sync) {
        &self.0
    }
}

#[test]
fn events_are_served_even_for_a_worker_that_is_busy() {
    use std::io::Write;
    use std::os::fd::AsFd;
    let _dog = watchdog(60);
    runtime(2).run(|| {
        let (mut near, far) = std::os::unix::net::UnixStream::pair().unwrap();
        let bell = Arc::new(Event::default());
        let watcher = here().unwrap().watcher();
        watcher.io(|| Box::new(Bell(bell.clone())));
        watcher.add(far.as_fd(), 7, crate::epoll::Interest::READ).unwrap();
        near.write_all(b"1").unwrap();
        bell.wait(); // sleeping
        let rung = Arc::new(AtomicBool::new(false));
        let (r, b) = (rung.clone(), bell.clone());
        go_to(Place::Worker(1), move || {
            b.wait();
            r.store(true, Ordering::SeqCst);
        });
        near.write_all(b"2").unwrap();
        while !rung.load(Ordering::SeqCst) {
            std::hint::spin_loop(); // worker 0, whose poller it is, does nothing else
        }
        watcher.delete(far.as_fd()).unwrap();
    });
}
