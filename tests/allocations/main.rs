//! Hot paths allocate nothing, and a spawn allocates only if what it runs is large: counted by the
//! allocator, on the thread or the two threads that run all fibers.

use fibers::fiber::Builder;
use fibers::net::UnixStream;
use fibers::sync::atomic::{AtomicU64, Waitable};
use fibers::sync::{Barrier, Condvar, IVar, Lazy, MVar, Mutex, Once, OnceCell, RwLock, Semaphore, Swap, Watch};
use fibers::{Cond, Op, Runtime, WaitGroup, channel, op, select, sleep, spawn, yield_now};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

#[expect(unsafe_code, reason = "an allocator")]
// SAFETY: everything is handed to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's contract.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const ROUNDS: u64 = 1000;

/// Runs `main` on a runtime whose one worker is this thread.
fn on_one_worker<T>(main: impl FnOnce() -> T) -> T {
    Runtime::builder().workers(1).build().expect("a runtime").run(main)
}

/// How many allocations of this thread `ROUNDS` rounds take, once everything that is kept has grown to its size.
#[track_caller]
fn allocations(mut round: impl FnMut()) -> u64 {
    (0..ROUNDS).for_each(|_| round());
    let before = ALLOCATIONS.get();
    (0..ROUNDS).for_each(|_| round());
    ALLOCATIONS.get() - before
}

#[test]
fn the_count_is_true() {
    assert_eq!(allocations(|| drop(Box::new(0_u64))), ROUNDS);
}

#[test]
fn rendezvous() {
    on_one_worker(|| {
        let (there, received) = channel::<u64>(0);
        let (answer, back) = channel(0);
        spawn(move || received.iter().try_for_each(|v| answer.send(v)));
        assert_eq!(allocations(|| assert_eq!((there.send(7), back.recv()), (Ok(()), Ok(7)))), 0);
    });
}

#[test]
fn buffered() {
    on_one_worker(|| {
        let (tx, rx) = channel::<u64>(8);
        // Endless: at times the producer waits for room, at times the consumer for a value.
        spawn(move || (0..).try_for_each(|i| tx.send(i)));
        assert_eq!(allocations(|| assert!(rx.recv().is_ok())), 0);
    });
}

#[test]
fn select_of_2_and_4() {
    on_one_worker(|| {
        let [a, b, c, d] = std::array::from_fn(|_| {
            let (tx, rx) = channel::<u64>(0);
            spawn(move || (0..).try_for_each(|i| tx.send(i)));
            rx
        });
        let (_quiet, quit) = channel::<()>(0);
        let (to, numbers) = channel::<u64>(0);
        spawn(move || numbers.iter().for_each(drop));
        let of_2 = || {
            select! {
                v = <-a => assert!(v.is_ok()),
                <-quit => unreachable!(),
            }
        };
        assert_eq!(allocations(of_2), 0);
        let of_4 = || {
            select! {
                v = <-a => assert!(v.is_ok()),
                v = <-b => assert!(v.is_ok()),
                v = <-c => assert!(v.is_ok()),
                v = <-d => assert!(v.is_ok()),
            }
        };
        assert_eq!(allocations(of_4), 0);
        let of_both_sides = || {
            select! {
                to <- 1 => {}
                <-quit => unreachable!(),
            }
        };
        assert_eq!(allocations(of_both_sides), 0);
    });
}

#[test]
fn select_with_default() {
    on_one_worker(|| {
        let (_a_tx, a) = channel::<u64>(0);
        let (_b_tx, b) = channel::<u64>(0);
        let nothing_ready = || {
            select! {
                <-a => unreachable!(),
                <-b => unreachable!(),
                default => {}
            }
        };
        assert_eq!(allocations(nothing_ready), 0);
    });
}

#[test]
fn combinators() {
    on_one_worker(|| {
        let (tx, rx) = channel::<u64>(0);
        spawn(move || (0..).try_for_each(|i| tx.send(i)));
        let (_quiet, quit) = channel::<u64>(0);
        let combined = || {
            let data = op::guard(|| rx.recv_op().wrap(|v| v.unwrap()).label("data"));
            let quit = quit.recv_op().on_abort(|| ()).wrap(|_| 0);
            data.or(quit).perform();
        };
        assert_eq!(allocations(combined), 0);
        // A nack can be kept by anybody: it is an object of its own.
        let nacked = || {
            op::with_nack(|_nack| rx.recv_op()).perform().unwrap();
        };
        assert_eq!(allocations(nacked), ROUNDS);
    });
}

#[test]
fn yielding_and_sleeping() {
    on_one_worker(|| {
        spawn(|| {
            loop {
                yield_now();
            }
        });
        assert_eq!(allocations(yield_now), 0);
        assert_eq!(allocations(|| sleep(Duration::from_micros(1))), 0);
    });
}

#[test]
fn timeouts() {
    on_one_worker(|| {
        let (tx, rx) = channel::<u64>(0);
        spawn(move || (0..).try_for_each(|i| tx.send(i)));
        // The receive has to wait each time, so that the timeout is armed, and cancelled when the value comes.
        assert_eq!(allocations(|| assert!(rx.recv_timeout(Duration::from_secs(60)).is_ok())), 0);
        let (_quiet, rx) = channel::<u64>(0);
        assert_eq!(allocations(|| assert!(rx.recv_timeout(Duration::from_micros(1)).is_err())), 0);
    });
}

#[test]
fn spawns() {
    on_one_worker(|| {
        let number = 7;
        assert_eq!(allocations(|| assert_eq!(spawn(move || number).join().unwrap(), 7)), 0);
        let large = [number; 100];
        let sum = || assert_eq!(spawn(move || large.iter().sum::<i32>()).join().unwrap(), 700);
        assert_eq!(allocations(sum), ROUNDS);
        const BURST: u64 = 100;
        let burst = || {
            let (tx, rx) = channel::<u64>(BURST as usize);
            for i in 0..BURST {
                let tx = tx.clone();
                spawn(move || tx.send(i));
            }
            drop(tx);
            assert_eq!(rx.iter().sum::<u64>(), BURST * (BURST - 1) / 2);
        };
        // The two are the channel and its buffer.
        assert_eq!(allocations(burst), ROUNDS * 2);
    });
}

/// Runs `main` on a runtime of one worker, and on one of two. It is told which worker is the farthest from it.
fn near_and_far(main: impl Fn(usize)) {
    for workers in [1, 2] {
        let runtime = Runtime::builder().workers(workers).build().expect("a runtime");
        runtime.run(|| main(workers - 1));
    }
}

/// As [`allocations`], of this thread and of worker `far`.
#[track_caller]
fn allocations_with(far: usize, mut round: impl FnMut()) -> u64 {
    let count_there = || {
        let reader = Builder::new().worker(far).spawn(|| ALLOCATIONS.get());
        reader.expect("a stack").join().expect("it reads a number")
    };
    (0..ROUNDS).for_each(|_| round());
    // Some at first, so that what is kept over there has grown to its size.
    let there = [(); 4].map(|()| count_there())[3];
    let here = ALLOCATIONS.get();
    (0..ROUNDS).for_each(|_| round());
    let here = ALLOCATIONS.get() - here;
    // On one worker both are the same thread, and to ask allocates no more than the rounds do.
    if far == 0 { here } else { here + count_there() - there }
}

fn partner(far: usize, f: impl FnOnce() + Send + 'static) {
    drop(Builder::new().worker(far).spawn(f).expect("a stack"));
}

#[test]
fn channels_near_and_far() {
    near_and_far(|far| {
        let (there, received) = channel::<u64>(0);
        let (answer, back) = channel(0);
        partner(far, move || {
            received.iter().for_each(|v| answer.send(v).expect("it waits for that"))
        });
        let round_trip = || assert_eq!((there.send(7), back.recv()), (Ok(()), Ok(7)));
        assert_eq!(allocations_with(far, round_trip), 0);
        let (tx, rx) = channel::<u64>(8);
        partner(far, move || while tx.send(1).is_ok() {});
        assert_eq!(allocations_with(far, || assert_eq!(rx.recv(), Ok(1))), 0);
        let (_quiet, quit) = channel::<()>(0);
        let data_or_quit = || {
            select! {
                v = <-rx => assert_eq!(v, Ok(1)),
                <-quit => unreachable!(),
            }
        };
        assert_eq!(allocations_with(far, data_or_quit), 0);
        let ask_or_quit = || {
            select! {
                there <- 7 => assert_eq!(back.recv(), Ok(7)),
                <-quit => unreachable!(),
            }
        };
        assert_eq!(allocations_with(far, ask_or_quit), 0);
        // The answer from afar may be there at once, each time so far, and then there has been no alarm yet.
        sleep(Duration::from_micros(1));
        let in_time = || {
            there.send(7).expect("the partner lives");
            assert_eq!(back.recv_timeout(Duration::from_secs(60)), Ok(7));
        };
        assert_eq!(allocations_with(far, in_time), 0);
    });
}

#[test]
fn time_near_and_far() {
    near_and_far(|far| {
        partner(far, || {
            loop {
                yield_now();
            }
        });
        assert_eq!(allocations_with(far, yield_now), 0);
        assert_eq!(allocations_with(far, || sleep(Duration::from_micros(1))), 0);
        let (_quiet, rx) = channel::<u64>(0);
        let too_late = || assert!(rx.recv_timeout(Duration::from_micros(1)).is_err());
        assert_eq!(allocations_with(far, too_late), 0);
    });
}

#[test]
fn spawn_and_join_near_and_far() {
    near_and_far(|far| {
        let join = || assert_eq!(spawn(|| 7).join().unwrap(), 7);
        let count = allocations_with(far, join);
        // A watcher that takes some of them has to hold them.
        assert!(if far == 0 { count == 0 } else { count <= ROUNDS }, "{count}");
        let join = || assert_eq!(Builder::new().worker(far).spawn(|| 7).unwrap().join().unwrap(), 7);
        let count = allocations_with(far, join);
        assert!(count <= ROUNDS, "{count}");
    });
}

#[test]
fn wait_group_near_and_far() {
    near_and_far(|far| {
        let wg = WaitGroup::new();
        let (tx, rx) = channel::<()>(0);
        let done = wg.clone();
        partner(far, move || rx.iter().for_each(|()| done.done()));
        let wait = || {
            wg.add(1);
            tx.send(()).expect("the partner lives");
            wg.wait();
        };
        assert_eq!(allocations_with(far, wait), 0);
    });
}

#[test]
fn cond_near_and_far() {
    near_and_far(|far| {
        // A cond is an object of its own, and can be signalled once.
        let conds: Arc<[Cond]> = (0..2 * ROUNDS).map(|_| Cond::new()).collect();
        let (tx, rx) = channel::<usize>(0);
        let to_signal = conds.clone();
        partner(far, move || rx.iter().for_each(|i| to_signal[i].signal()));
        let mut i = 0;
        let wait = || {
            tx.send(i).expect("the partner lives");
            conds[i].wait();
            i += 1;
        };
        assert_eq!(allocations_with(far, wait), 0);
    });
}

/// Workers that have nothing to do look whether the process is at a deadlock.
#[test]
fn waiting_for_a_thread() {
    near_and_far(|_| {
        let (wake, woken) = channel(0);
        let sender = std::thread::spawn(move || {
            // So long that the workers sleep deeply, once what is kept has grown to its size.
            for _ in 0..2 {
                std::thread::sleep(Duration::from_millis(100));
                wake.send(()).expect("it is waited for");
            }
        });
        assert_eq!(woken.recv(), Ok(()));
        let before = ALLOCATIONS.get();
        assert_eq!(woken.recv(), Ok(()));
        assert_eq!(ALLOCATIONS.get(), before);
        sender.join().expect("it has sent");
    });
}

#[test]
fn semaphore_near_and_far() {
    near_and_far(|far| {
        let semaphore = Arc::new(Semaphore::new(1));
        let at_once = || drop(semaphore.acquire().expect("it is open"));
        assert_eq!(allocations(at_once), 0);
        let owned = || drop(semaphore.clone().try_acquire_owned().expect("nobody holds it"));
        assert_eq!(allocations(owned), 0);
        let (_quiet, quit) = channel::<()>(0);
        let permit_or_quit = || {
            select! {
                permit = semaphore.acquire_op() => drop(permit),
                <-quit => unreachable!(),
            }
        };
        assert_eq!(allocations(permit_or_quit), 0);
        // Now it has to wait each time, lone or in a choice, until the partner adds permits.
        let (tx, rx) = channel::<()>(0);
        let theirs = semaphore.clone();
        partner(far, move || rx.iter().for_each(|()| theirs.add_permits(2)));
        let wait = || {
            tx.send(()).expect("the partner lives");
            semaphore.acquire_many(2).expect("it is open").forget();
        };
        assert_eq!(allocations_with(far, wait), 0);
        let wait_or_quit = || {
            tx.send(()).expect("the partner lives");
            select! {
                permit = semaphore.acquire_many_op(2) => permit.expect("it is open").forget(),
                <-quit => unreachable!(),
            }
        };
        assert_eq!(allocations_with(far, wait_or_quit), 0);
    });
}

#[test]
fn barrier_near_and_far() {
    near_and_far(|far| {
        let barrier = Arc::new(Barrier::new(2));
        let theirs = barrier.clone();
        partner(far, move || {
            loop {
                theirs.wait();
            }
        });
        assert_eq!(allocations_with(far, || _ = barrier.wait()), 0);
        let (_quiet, quit) = channel::<()>(0);
        let all_or_quit = || {
            select! {
                _ = barrier.wait_op() => {}
                <-quit => unreachable!(),
            }
        };
        assert_eq!(allocations_with(far, all_or_quit), 0);
    });
}

#[test]
fn once_near_and_far() {
    near_and_far(|far| {
        let once = Once::new();
        assert_eq!(allocations(|| once.call_once(|| ())), 0);
        assert_eq!(allocations(|| Once::new().call_once(|| ())), 0);
        assert_eq!(allocations(|| assert_eq!(*OnceCell::new().get_or_init(|| 7), 7)), 0);
        assert_eq!(allocations(|| assert_eq!(*Lazy::new(|| 7), 7)), 0);
        // The initialiser waits for the partner, and the caller for the initialiser.
        let cells: Arc<[OnceCell<usize>]> = (0..2 * ROUNDS).map(|_| OnceCell::new()).collect();
        let (tx, rx) = channel::<usize>(0);
        let theirs = cells.clone();
        partner(far, move || {
            rx.iter().for_each(|i| {
                theirs[i].get_or_init(|| {
                    yield_now();
                    i
                });
            });
        });
        let mut i = 0;
        let wait = || {
            tx.send(i).expect("the partner lives");
            assert_eq!(cells[i].wait(), &i);
            i += 1;
        };
        assert_eq!(allocations_with(far, wait), 0);
    });
}

#[test]
fn variables_near_and_far() {
    near_and_far(|far| {
        // An ivar is an object of its own, and can be written once.
        let ivars: Arc<[IVar<u64>]> = (0..2 * ROUNDS).map(|_| IVar::new()).collect();
        let (tx, rx) = channel::<usize>(0);
        let to_write = ivars.clone();
        partner(far, move || rx.iter().for_each(|i| to_write[i].put(7).expect("written once")));
        let mut i = 0;
        let get = || {
            tx.send(i).expect("the partner lives");
            assert_eq!(ivars[i].get(), 7);
            i += 1;
        };
        assert_eq!(allocations_with(far, get), 0);
        let (there, back) = (MVar::<u64>::empty(), MVar::empty());
        let theirs = (there.clone(), back.clone());
        partner(far, move || {
            loop {
                theirs.1.put(theirs.0.take());
            }
        });
        let put_and_take = || {
            there.put(7);
            assert_eq!(back.read() + back.swap(8) + back.take(), 22);
        };
        assert_eq!(allocations_with(far, put_and_take), 0);
        let swap = Swap::new();
        let theirs = swap.clone();
        partner(far, move || {
            loop {
                theirs.swap(1);
            }
        });
        assert_eq!(allocations_with(far, || assert_eq!(swap.swap(2), 1)), 0);
    });
}

#[test]
fn atomics_near_and_far() {
    near_and_far(|far| {
        let turn = Arc::new(Waitable::<AtomicU64>::new(0));
        let theirs = turn.clone();
        partner(far, move || {
            loop {
                theirs.wait_until(|turn| turn % 2 == 1);
                theirs.fetch_add(1);
            }
        });
        let round = || {
            let mine = turn.fetch_add(1) + 1;
            turn.wait_until(|turn| turn > mine);
        };
        assert_eq!(allocations_with(far, round), 0);
    });
}

/// The block of the value before is used again, if nobody holds it any more.
#[test]
fn watches() {
    on_one_worker(|| {
        let (watch, answer) = (Watch::new(0_u64), Watch::new(0_u64));
        let (watcher, answers) = (watch.subscribe(), answer.subscribe());
        spawn(move || {
            while let Ok(value) = watcher.changed().map(|value| *value) {
                answer.set(value);
            }
        });
        let mut i = 0;
        let round = || {
            i += 1;
            watch.set(i);
            assert_eq!(answers.wait_for(|v| *v == i).map(|v| *v), Ok(i));
            assert_eq!(watch.get(), i);
        };
        assert_eq!(allocations(round), 0);
        assert_eq!(allocations(|| watch.send_modify(|v| *v += 1)), 0);
    });
}

#[test]
fn locks_near_and_far() {
    near_and_far(|far| {
        let (mutex, lock) = (Arc::new(Mutex::new(0_u64)), Arc::new(RwLock::new(0_u64)));
        let free = || {
            *mutex.lock() += 1;
            *mutex.lock_owned() += 1;
            *lock.write() += 1;
            drop((lock.read(), lock.read_owned()));
        };
        assert_eq!(allocations_with(far, free), 0);
        // The partner suspends while it has them, so they are taken when the other one comes.
        let theirs = (mutex.clone(), lock.clone());
        partner(far, move || {
            loop {
                let guards = (theirs.0.lock(), theirs.1.write());
                yield_now();
                drop(guards);
                yield_now();
            }
        });
        let (_quiet, quit) = channel::<()>(0);
        let contended = || {
            yield_now();
            *mutex.lock() += 1;
            drop(lock.read());
            *lock.write() += 1;
            select! {
                mut guard = mutex.lock_op() => *guard += 1,
                <-quit => unreachable!(),
            }
            drop(mutex.lock_timeout(Duration::from_secs(60)));
        };
        assert_eq!(allocations_with(far, contended), 0);
    });
}

#[test]
fn condvar_near_and_far() {
    near_and_far(|far| {
        // Whose turn it is.
        let shared = Arc::new((Mutex::new(false), Condvar::new()));
        let turn = |shared: &(Mutex<bool>, Condvar), mine: bool| {
            *shared.1.wait_while(shared.0.lock(), |turn| *turn != mine) = !mine;
            shared.1.notify_all();
        };
        let theirs = shared.clone();
        partner(far, move || {
            loop {
                turn(&theirs, true);
            }
        });
        assert_eq!(allocations_with(far, || turn(&shared, false)), 0);
    });
}

/// Reads and writes of a connection: when there is something, when it has to be waited for, in a choice, and with a limit.
#[test]
fn sockets() {
    on_one_worker(|| {
        let (near, there) = UnixStream::pair().unwrap();
        spawn(move || echo(&there));
        let mut byte = [0];
        let ask = || {
            (&near).write_all(b"x").unwrap();
            (&near).read_exact(&mut byte).unwrap();
        };
        assert_eq!(allocations(ask), 0);
        let (_quit, quit) = channel::<()>(0);
        let in_choice = || {
            (&near).write_all(b"x").unwrap();
            select! {
                read = near.read_op(&mut byte) => assert_eq!(read.unwrap(), 1),
                <-quit => unreachable!(),
            }
        };
        assert_eq!(allocations(in_choice), 0);
        let readable = || {
            (&near).write_all(b"x").unwrap();
            near.readable_op().perform().unwrap();
            assert_eq!((&near).read(&mut byte).unwrap(), 1);
        };
        assert_eq!(allocations(readable), 0);
        near.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let in_time = || {
            (&near).write_all(b"x").unwrap();
            (&near).read_exact(&mut byte).unwrap();
        };
        assert_eq!(allocations(in_time), 0);
    });
}

fn echo(stream: &UnixStream) {
    let mut buffer = [0; 16];
    loop {
        match (&mut &*stream).read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(count) => (&mut &*stream).write_all(&buffer[..count]).unwrap(),
        }
    }
}
