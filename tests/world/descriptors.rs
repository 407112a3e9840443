//! Any descriptor: waiting for it, in every role, and what ends a wait.

use fibers::io::{Closed, Fd};
use fibers::{Op, channel, op, select, time};
use fibers_tests::{Counter, HANG, On, everywhere, on_workers, rounds, runtime, under_stress, watchdog};
use std::io::{self, ErrorKind, PipeReader, PipeWriter, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

pub(crate) type Reader = Arc<Fd<PipeReader>>;
pub(crate) type Writer = Arc<Fd<PipeWriter>>;

pub(crate) fn pipe() -> (Reader, Writer) {
    let (reader, writer) = io::pipe().unwrap();
    (Arc::new(Fd::new(reader).unwrap()), Arc::new(Fd::new(writer).unwrap()))
}

fn read_byte(reader: &Reader) -> io::Result<u8> {
    let mut byte = [0];
    (&**reader).read_exact(&mut byte)?;
    Ok(byte[0])
}

#[track_caller]
fn assert_closed(error: &io::Error) {
    assert!(error.get_ref().is_some_and(|e| e.is::<Closed>()), "{error:?}");
}

#[test]
fn bytes_go_from_any_writer_to_any_reader() {
    everywhere(|on| {
        let (reader, writer) = pipe();
        let writing = on.spawn(move || {
            for byte in 0..200 {
                (&*writer).write_all(&[byte]).unwrap();
                on.pause();
            }
        });
        for byte in 0..200 {
            assert_eq!(read_byte(&reader).unwrap(), byte);
        }
        writing.join();
        assert_eq!(read_byte(&reader).unwrap_err().kind(), ErrorKind::UnexpectedEof);
    });
}

#[test]
fn a_writer_waits_for_room() {
    everywhere(|on| {
        let (reader, writer) = pipe();
        let data: Vec<u8> = (0..400_000_u32).map(|i| (i * 7 + i / 256) as u8).collect();
        let expected = data.clone();
        let writing = on.spawn(move || (&*writer).write_all(&data));
        let mut all = Vec::new();
        (&*reader).read_to_end(&mut all).unwrap();
        writing.join().unwrap();
        assert!(all == expected);
    });
}

/// Fibers and plain threads wait for one descriptor, wherever it was first waited for.
#[test]
fn fibers_and_threads_wait_together() {
    on_workers(&[1, 2], |on| {
        for thread_first in [false, true] {
            let (reader, writer) = pipe();
            let got = Counter::default();
            let wait = |on: On| {
                let (reader, got) = (reader.clone(), got.clone());
                on.spawn(move || {
                    read_byte(&reader).unwrap();
                    got.add();
                })
            };
            let kinds = match thread_first {
                true => [On::Threads, on, On::Threads, on],
                false => [on, On::Threads, on, On::Threads],
            };
            let waiting = kinds.map(wait);
            for n in 1..=4 {
                (&*writer).write_all(b"x").unwrap();
                on.eventually(|| got.get() == n);
            }
            waiting.into_iter().for_each(|task| task.join());
        }
    });
}

#[test]
fn a_losing_read_takes_no_byte() {
    everywhere(|on| {
        let (reader, writer) = pipe();
        let (tx, rx) = channel::<u8>(0);
        let count = rounds(300, 100_000);
        let feeding = on.spawn(move || {
            for i in 0..count {
                (&*writer).write_all(&[i as u8]).unwrap();
                if i % 3 == 0 {
                    on.pause();
                }
            }
        });
        let sending = on.spawn(move || (0..count).for_each(|i| tx.send(i as u8).unwrap()));
        let (mut from_pipe, mut from_channel) = (0, 0);
        let mut buffer = [0];
        while from_pipe < count || from_channel < count {
            select! {
                n = reader.read_op(&mut buffer) if from_pipe < count => {
                    assert_eq!((n.unwrap(), buffer[0]), (1, from_pipe as u8));
                    from_pipe += 1;
                }
                v = <-rx if from_channel < count => {
                    assert_eq!(v, Ok(from_channel as u8));
                    from_channel += 1;
                }
            }
        }
        feeding.join();
        sending.join();
    });
}

#[test]
fn readiness_is_what_the_kernel_says() {
    everywhere(|on| {
        let (reader, writer) = pipe();
        assert!(reader.readable_op().try_perform().is_none());
        writer.writable().unwrap();
        let waiting = {
            let reader = reader.clone();
            on.spawn(move || reader.readable())
        };
        (&*writer).write_all(b"xy").unwrap();
        waiting.join().unwrap();
        reader.readable().unwrap();
        read_byte(&reader).unwrap();
        reader.readable().unwrap();
        read_byte(&reader).unwrap();
        assert!(reader.readable_op().try_perform().is_none(), "both are taken");
        drop(writer);
        reader.readable().unwrap();
        assert_eq!((&*reader).read(&mut [0]).unwrap(), 0, "the end");
    });
}

#[test]
fn an_operation_that_is_ready_is_never_reported_as_not_ready() {
    everywhere(|_| {
        let (reader, writer) = pipe();
        for i in 0..50 {
            (&*writer).write_all(&[i]).unwrap();
            let mut buffer = [0];
            let read = reader.read_op(&mut buffer).try_perform();
            assert_eq!(read.expect("it is readable").unwrap(), 1);
            assert_eq!(buffer, [i]);
            assert!(reader.read_op(&mut buffer).try_perform().is_none());
        }
    });
}

#[test]
fn a_timeout_ends_a_wait_and_takes_nothing() {
    everywhere(|on| {
        let (reader, writer) = pipe();
        let mut buffer = [0];
        for _ in 0..5 {
            let late = reader.read_op(&mut buffer).timeout(Duration::from_millis(1)).perform();
            assert!(late.is_err());
        }
        let writing = on.spawn(move || (&*writer).write_all(b"z"));
        let read = reader.read_op(&mut buffer).timeout(Duration::from_secs(3600)).perform();
        assert_eq!(read.unwrap().unwrap(), 1);
        writing.join().unwrap();
    });
}

/// Both branches of one choice may be for the same descriptor, and in both directions.
#[test]
fn one_descriptor_twice_in_a_choice() {
    everywhere(|on| {
        let (near, far) = UnixStream::pair().unwrap();
        let (near, far) = (Fd::new(near).unwrap(), Fd::new(far).unwrap());
        // Nothing to read, and room to write.
        let first = op::choice((
            near.readable_op().wrap(|r| (1, r)),
            near.readable_op().wrap(|r| (2, r)),
            near.writable_op().wrap(|r| (3, r)),
        ));
        assert_eq!(first.perform().0, 3);
        let writing = on.spawn(move || {
            (&far).write_all(b"x").unwrap();
            far
        });
        let (mut a, mut b) = ([0], [0]);
        let (n, from) = op::choice((near.read_op(&mut a).wrap(|n| (n, 1)), near.read_op(&mut b).wrap(|n| (n, 2)))).perform();
        assert_eq!(n.unwrap(), 1);
        assert_eq!((a[0], b[0]), if from == 1 { (b'x', 0) } else { (0, b'x') });
        drop(writing.join());
    });
}

#[test]
fn f37_closing_ends_all_waits_and_the_number_is_not_reused_meanwhile() {
    everywhere(|on| {
        let (reader, writer) = pipe();
        let started = Counter::default();
        let waiting: Vec<_> = (0..20)
            .map(|i| {
                let (reader, started) = (reader.clone(), started.clone());
                on.spawn(move || {
                    started.add();
                    match i % 2 {
                        0 => read_byte(&reader).map(drop),
                        _ => reader.readable_op().or(op::never()).perform(),
                    }
                })
            })
            .collect();
        on.eventually(|| started.get() == 20);
        reader.close();
        for task in waiting {
            assert_closed(&task.join().unwrap_err());
        }
        assert_closed(&read_byte(&reader).unwrap_err());
        assert!(reader.is_closed());
        let others: Vec<_> = (0..10).map(|_| io::pipe().unwrap()).collect();
        (&*writer).write_all(b"x").unwrap();
        assert_closed(&read_byte(&reader).unwrap_err());
        drop(others);
    });
}

/// A descriptor with the number of a closed one, and its events, are not mixed up with it.
#[test]
fn f36_numbers_of_descriptors_are_used_again() {
    under_stress(|on| {
        for _ in 0..rounds(100, 20_000) {
            let (reader, writer) = pipe();
            let waiting = {
                let reader = reader.clone();
                on.spawn(move || read_byte(&reader))
            };
            on.pause();
            (&*writer).write_all(b"x").unwrap();
            drop(writer);
            assert_eq!(waiting.join().unwrap(), b'x');
        }
    });
}

/// Two events come together; the fiber of the first closes the descriptor of the second, and opens another one with its number.
#[test]
fn f36_an_event_of_before_is_not_the_new_ones() {
    on_workers(&[1, 2], |_| {
        for _ in 0..rounds(50, 5_000) {
            let ((first, tell_first), (second, tell_second)) = (pipe(), pipe());
            let late = second.read_op(&mut [0]).timeout(Duration::from_micros(50)).perform();
            assert!(late.is_err(), "it is watched now");
            let fiber = fibers::spawn(move || {
                read_byte(&first).unwrap();
                drop(second);
                let (third, tell_third) = pipe();
                let early = third.read_op(&mut [0]).timeout(Duration::from_micros(50)).perform();
                assert!(early.is_err(), "nothing was written to this one");
                (&*tell_third).write_all(b"3").unwrap();
                assert_eq!(read_byte(&third).unwrap(), b'3');
            });
            fibers::yield_now();
            (&*tell_second).write_all(b"2").unwrap();
            (&*tell_first).write_all(b"1").unwrap();
            fiber.join().unwrap();
        }
    });
}

/// Whoever reads while another one closes gets an error, never what belongs to the next descriptor of that number.
#[test]
fn f37_a_reused_number_is_never_read() {
    under_stress(|on| {
        for _ in 0..rounds(50, 5_000) {
            let (reader, _writer) = pipe();
            let tasks: Vec<_> = (0..3)
                .map(|_| {
                    let reader = reader.clone();
                    on.spawn(move || read_byte(&reader))
                })
                .collect();
            on.pause();
            reader.close();
            drop(reader);
            let others: Vec<_> = (0..3).map(|_| io::pipe().unwrap()).collect();
            others.iter().for_each(|(_, writer)| (&*writer).write_all(b"!").unwrap());
            for task in tasks {
                assert_closed(&task.join().unwrap_err());
            }
            for (reader, _) in &others {
                assert_eq!((&*reader).read(&mut [0]).unwrap(), 1, "nobody else has read it");
            }
        }
    });
}

/// What somebody else holds of a descriptor does not keep it watched.
#[test]
fn f36_a_duplicate_that_outlives_a_descriptor_wakes_nobody() {
    everywhere(|on| {
        let (reader, writer) = io::pipe().unwrap();
        let duplicate = reader.try_clone().unwrap();
        let reader = Arc::new(Fd::new(reader).unwrap());
        assert!(reader.read_op(&mut [0]).timeout(Duration::from_millis(1)).perform().is_err());
        drop(reader);
        (&writer).write_all(b"x").unwrap();
        let second = Fd::new(duplicate).unwrap();
        assert_eq!(second.read_op(&mut [0]).perform().unwrap(), 1);
        let (late, _keep) = pipe();
        let waiting = {
            let late = late.clone();
            on.spawn(move || read_byte(&late))
        };
        (&writer).write_all(b"y").unwrap();
        assert_eq!(second.read_op(&mut [0]).perform().unwrap(), 1);
        late.close();
        assert_closed(&waiting.join().unwrap_err());
    });
}

#[test]
fn f38_files_are_refused_with_advice() {
    let error = Fd::new(std::fs::File::open("/proc/self/exe").unwrap()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("spawn_blocking"), "{error}");
    let error = Fd::new(std::fs::File::open("/").unwrap()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

#[test]
fn a_descriptor_blocks_again_when_it_is_given_back() {
    let is_blocking = |fd: &PipeReader| {
        use std::os::fd::AsRawFd;
        let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).unwrap();
        let flags = text.lines().find_map(|line| line.strip_prefix("flags:")).unwrap().trim();
        i32::from_str_radix(flags, 8).unwrap() & libc::O_NONBLOCK == 0
    };
    let (reader, _writer) = io::pipe().unwrap();
    assert!(is_blocking(&reader));
    let fd = Fd::new(reader).unwrap();
    assert!(!is_blocking(fd.get_ref()));
    assert!(is_blocking(&fd.into_inner().unwrap()));
}

/// A descriptor outlives the run, and the runtime, in which it was first waited for.
#[test]
fn runs_end_and_descriptors_live_on() {
    watchdog(HANG, || {
        let (reader, writer) = pipe();
        let wait = |reader: &Reader| {
            let mut byte = [0];
            let late = reader.read_op(&mut byte).timeout(Duration::from_millis(1)).perform();
            assert!(late.is_err());
        };
        let first = runtime(2);
        for _ in 0..3 {
            first.run(|| wait(&reader));
        }
        // Registered with a runtime that does not run: by a thread that waits, and in another runtime.
        first.run(|| wait(&reader));
        (&*writer).write_all(b"1").unwrap();
        assert_eq!(read_byte(&reader).unwrap(), b'1');
        wait(&reader);
        first.run(|| wait(&reader));
        runtime(1).run(|| {
            wait(&reader);
            let (reader, writing) = (reader.clone(), writer.clone());
            let waiting = fibers::spawn(move || read_byte(&reader));
            fibers::yield_now();
            (&*writing).write_all(b"2").unwrap();
            assert_eq!(waiting.join().unwrap().unwrap(), b'2');
        });
        drop(first);
        (&*writer).write_all(b"3").unwrap();
        assert_eq!(read_byte(&reader).unwrap(), b'3');
    });
}

/// Whoever waits for a descriptor that a runtime watches goes on when that run ends.
#[test]
fn f44_a_run_ends_while_others_wait_for_its_descriptors() {
    watchdog(HANG, || {
        for round in 0..rounds(20, 2_000) {
            let (reader, writer) = pipe();
            let mine = reader.clone();
            let waiting = Arc::new(std::sync::OnceLock::new());
            let thread = runtime(2).run(|| {
                assert!(mine.read_op(&mut [0]).timeout(Duration::from_micros(100)).perform().is_err());
                let (started, theirs) = (waiting.clone(), mine.clone());
                let thread = std::thread::spawn(move || {
                    started.set(()).unwrap();
                    read_byte(&theirs)
                });
                while waiting.get().is_none() {
                    fibers::yield_now();
                }
                if round % 2 == 0 {
                    time::sleep(Duration::from_micros(200));
                }
                thread
            });
            (&*writer).write_all(b"x").unwrap();
            assert_eq!(thread.join().unwrap().unwrap(), b'x');
        }
    });
}

#[test]
fn a_shutdown_unwinds_those_who_wait() {
    watchdog(HANG, || {
        for workers in [1, 2] {
            let (reader, _writer) = pipe();
            let unwound = Counter::default();
            struct OnDrop(Counter);
            impl Drop for OnDrop {
                fn drop(&mut self) {
                    self.0.add();
                }
            }
            runtime(workers).run(|| {
                let started = Counter::default();
                for i in 0..50 {
                    let (reader, started, unwound) = (reader.clone(), started.clone(), unwound.clone());
                    fibers::spawn(move || {
                        let _end = OnDrop(unwound);
                        started.add();
                        let _ = match i % 2 {
                            0 => read_byte(&reader).map(drop),
                            _ => reader.readable_op().or(op::never()).perform(),
                        };
                        unreachable!();
                    });
                }
                while started.get() < 50 {
                    fibers::yield_now();
                }
            });
            assert_eq!(unwound.get(), 50);
        }
    });
}
