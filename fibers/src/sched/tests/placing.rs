//! Where fibers start, by the rules of placement. On one CPU nothing is split, so there is nothing to see there.

use std::sync::atomic::AtomicUsize;

use super::basics::nap;
use super::*;

/// Eight fibers that begin so, spawned by a main that goes on so, and how many of them have started on worker 0.
fn started_here(begin: fn(&Event), main: fn(&AtomicUsize)) -> usize {
    runtime(2).run(|| {
        let jobs = Arc::new(Event::default());
        let (here_count, elsewhere) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let all: Vec<_> = (0..8)
            .map(|_| {
                let (jobs, here_count, elsewhere) = (jobs.clone(), here_count.clone(), elsewhere.clone());
                go(move || {
                    let count = if here().unwrap().worker().0 == 0 {
                        here_count
                    } else {
                        elsewhere
                    };
                    count.fetch_add(1, Ordering::SeqCst);
                    begin(&jobs);
                })
            })
            .collect();
        main(&elsewhere);
        (0..8).for_each(|_| jobs.signal());
        all.iter().for_each(|done| done.event.wait());
        here_count.load(Ordering::SeqCst)
    })
}

/// Whether half of them start here. The host of a virtual machine may stop one worker and not the other, and nobody notices,
/// so it may take some tries.
fn are_split(begin: fn(&Event), main: fn(&AtomicUsize)) -> bool {
    let _dog = watchdog(60);
    one_cpu() || (0..20).any(|_| started_here(begin, main) == 4)
}

fn one_cpu() -> bool {
    std::thread::available_parallelism().map_or(1, usize::from) == 1
}

fn receive(jobs: &Event) {
    jobs.wait_as(WaitKind::Receive);
}

#[test]
fn replicas_that_wait_before_their_jobs_come_are_split() {
    assert!(are_split(receive, |_| nap(5_000_000)));
}

#[test]
fn sleepers_are_split_even_beside_a_busy_main() {
    let sleep = |_: &Event| nap(1_000_000);
    assert!(are_split(sleep, |_| nap(5_000_000)));
    assert!(are_split(sleep, |_| (0..100).for_each(|_| yield_now())));
}

#[test]
fn a_main_that_computes_first_keeps_its_share_of_the_pool() {
    assert!(are_split(receive, |elsewhere| {
        while elsewhere.load(Ordering::SeqCst) < 4 {
            std::hint::spin_loop();
        }
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(2) {
            std::hint::spin_loop();
        }
    }));
}

#[test]
fn a_main_that_computes_for_ever_is_relieved_of_all() {
    let _dog = watchdog(60);
    let here_count = started_here(receive, |elsewhere| {
        while elsewhere.load(Ordering::SeqCst) < 8 {
            std::hint::spin_loop();
        }
    });
    assert_eq!(here_count, 0);
}

#[test]
fn a_main_that_blocks_its_thread_is_relieved() {
    let _dog = watchdog(60);
    let here_count = started_here(
        |_| (),
        |elsewhere| {
            while elsewhere.load(Ordering::SeqCst) < 8 {
                std::thread::sleep(Duration::from_millis(1)); // blocks the worker, as a fiber should not
            }
        },
    );
    assert_eq!(here_count, 0);
}

#[test]
fn a_chain_overflows_to_the_other_worker() {
    let _dog = watchdog(60);
    let here_count = runtime(2).run(|| {
        let (end, count) = (Arc::new(Event::default()), Arc::new(AtomicUsize::new(0)));
        let all: Vec<_> = (0..600)
            .map(|_| {
                let (begun, end, count) = (Arc::new(Event::default()), end.clone(), count.clone());
                let tell = begun.clone();
                let done = go(move || {
                    count.fetch_add(usize::from(here().unwrap().worker().0 == 0), Ordering::SeqCst);
                    tell.signal();
                    end.wait();
                });
                begun.wait();
                done
            })
            .collect();
        all.iter().for_each(|_| end.signal());
        all.iter().for_each(|done| done.event.wait());
        count.load(Ordering::SeqCst)
    });
    assert!(
        one_cpu() || (200..400).contains(&here_count),
        "{here_count} of 600 are on worker 0"
    );
}
