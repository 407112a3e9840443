//! Programs that use the standard input and outputs, for tests that are at the other end of them.

#[cfg(not(loom))]
fn main() {
    programs::main();
}

#[cfg(loom)]
fn main() {}

#[cfg(not(loom))]
mod programs {
    use fibers::fault::{self, Call, Fault};
    use fibers::io::{BufReader, Deadline, Stdin, stderr, stdin, stdout};
    use fibers::{Op, Runtime, channel, op, select, spawn, time};
    use std::io::{self, BufRead, ErrorKind, Read, Write};
    use std::time::{Duration, Instant};

    /// The arguments: a scenario, how many workers (0: a plain thread), and what is wrong with the system calls.
    pub(super) fn main() {
        let arguments: Vec<_> = std::env::args().collect();
        let [_, scenario, workers, way] = &arguments[..] else {
            panic!("usage: stdio-child SCENARIO WORKERS own|shared|little");
        };
        match &**way {
            "shared" => fault::inject(Call::Open, Fault::always(libc::EACCES)),
            "little" => do_little(),
            _ => {}
        }
        let scenario = program(scenario);
        match workers.parse().unwrap() {
            0 => scenario(),
            workers => runtime(workers).run(scenario),
        }
    }

    /// Calls are interrupted, and move few bytes.
    fn do_little() {
        for call in [Call::Read, Call::Write, Call::RecvMsg, Call::SendMsg, Call::Poll] {
            let interrupted = Fault {
                after: 1,
                times: 3,
                errno: libc::EINTR,
            };
            fault::inject(call, interrupted);
            fault::inject(call, Fault::short(50));
        }
    }

    fn runtime(workers: usize) -> Runtime {
        Runtime::builder().workers(workers).build().unwrap()
    }

    fn program(name: &str) -> fn() {
        match name {
            "lines" => lines,
            "select" => select_lines,
            "cold" => cold,
            "bytes" => bytes,
            "busy" => busy,
            "shared" => shared,
            "flags" => flags,
            "runs" => runs,
            "pending" => pending,
            "unfinished" => unfinished,
            "flushed" => flushed,
            "flood" => flood,
            "mixed" => mixed,
            "losing" => losing,
            "broken" => broken,
            "buffers" => buffers,
            _ => panic!("there is no scenario {name}"),
        }
    }

    fn say(text: &str) {
        writeln!(stdout(), "{text}").unwrap();
    }

    /// Says each line, and how it ended.
    fn lines() {
        for line in stdin().lines() {
            match line {
                Ok(line) => say(&format!("<{line}>")),
                Err(error) => say(&format!("{:?}", error.kind())),
            }
        }
        say("end");
    }

    /// Nothing of the file is in memory.
    fn cold() {
        fault::inject(Call::ReadCached, Fault::always(libc::EAGAIN));
        assert_eq!(fibers::Handle::current().blocking_pool().threads, 0);
        lines();
        assert_ne!(fibers::Handle::current().blocking_pool().threads, 0);
    }

    /// The same, while something else wins most of the time.
    fn select_lines() {
        let input = stdin();
        let mut lost = 0_u64;
        loop {
            select! {
                line = input.line_op() => match line.unwrap() {
                    Some(line) => say(&format!("<{line}>")),
                    None => break,
                },
                _ = time::sleep_op(Duration::from_micros(50)) => lost += 1,
            }
        }
        say("end");
        writeln!(stderr(), "lost {lost} times").unwrap();
    }

    /// Says what it has read as one text.
    fn bytes() {
        let mut text = String::new();
        (&stdin()).read_to_string(&mut text).unwrap();
        write!(stdout(), "{}", text.to_uppercase()).unwrap();
        stdout().flush().unwrap();
    }

    /// One waits for a line while others go on: there is one worker.
    fn busy() {
        let waiting = spawn(|| stdin().line_op().perform().unwrap());
        let (ping, pong) = (channel::<u32>(0), channel::<u32>(0));
        let (echo_in, echo_out) = (ping.1, pong.0);
        spawn(move || echo_in.iter().for_each(|n| echo_out.send(n).unwrap()));
        for n in 0..1000 {
            ping.0.send(n).unwrap();
            assert_eq!(pong.1.recv(), Ok(n));
        }
        time::sleep(Duration::from_millis(1));
        assert!(!waiting.is_finished());
        say("going on");
        say(&waiting.join().unwrap().unwrap());
    }

    /// Fibers and threads take lines by turns, in several ways.
    fn shared() {
        let (tx, rx) = channel::<String>(0);
        let take = move |way: usize| {
            let mut line = String::new();
            loop {
                line.clear();
                let count = match way % 3 {
                    0 => stdin().read_line(&mut line).unwrap(),
                    1 => {
                        let mut bytes = Vec::new();
                        let count = stdin().read_until_op(b'\n', &mut bytes).perform().unwrap();
                        line = String::from_utf8(bytes).unwrap();
                        count
                    }
                    _ => match stdin().read_line_op(&mut line).timeout(Duration::from_micros(100)).perform() {
                        Ok(count) => count.unwrap(),
                        Err(_) => continue,
                    },
                };
                if count == 0 {
                    return;
                }
                tx.send(line.clone()).unwrap();
            }
        };
        for way in 0..6 {
            let (fiber, thread) = (take.clone(), take.clone());
            spawn(move || fiber(way));
            std::thread::spawn(move || thread(way));
        }
        drop(take);
        rx.iter().for_each(|line| write!(stdout(), "{line}").unwrap());
    }

    /// Whether the shared open files are as they were.
    fn flags() {
        let first = stdin().line_op().perform().unwrap().unwrap();
        say(&first);
        for fd in 0..3 {
            // SAFETY: asks for a number.
            let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
            assert!(flags >= 0);
            say(if flags & libc::O_NONBLOCK == 0 {
                "blocks"
            } else {
                "does not block"
            });
        }
    }

    /// A read is pending when a runtime ends; the next one gets the line.
    fn runs() {
        for shutdown in [fibers::Shutdown::Unwind, fibers::Shutdown::Leak] {
            let inner = Runtime::builder().workers(2).shutdown(shutdown).build().unwrap();
            std::thread::spawn(move || {
                inner.run(|| {
                    spawn(|| stdin().line_op().perform().unwrap());
                    time::sleep(Duration::from_millis(2));
                });
            })
            .join()
            .unwrap();
        }
        say("ended");
        say(&stdin().line_op().perform().unwrap().unwrap());
    }

    /// The process ends while a fiber and a thread wait for input.
    fn pending() {
        std::thread::spawn(|| stdin().line_op().perform().unwrap());
        if fibers::Handle::try_current().is_some() {
            spawn(|| stdin().line_op().perform().unwrap());
            time::sleep(Duration::from_millis(2));
        }
        write!(stdout(), "over").unwrap();
    }

    fn unfinished() {
        write!(stdout(), "a whole line\nand an unfinished one").unwrap();
        stdout().write_all(&[b'.'; 10_000]).unwrap();
        write!(stdout(), "end").unwrap();
        std::process::exit(7);
    }

    /// Flushes within a time, and ends in a way that writes nothing.
    fn flushed() {
        let out = stdout();
        let mut out = Deadline::new(&out, Instant::now() + Duration::from_secs(3600));
        write!(out, "unfinished").unwrap();
        out.flush().unwrap();
        // SAFETY: ends the process at once.
        unsafe { libc::_exit(0) }
    }

    /// More than a pipe holds, to a reader that is not there yet; meanwhile the worker goes on.
    fn flood() {
        let flooding = spawn(|| (0..20_000).for_each(|i| say(&format!("{i:060}"))));
        time::sleep(Duration::from_millis(3));
        assert!(!flooding.is_finished());
        // Through the other output, on the one worker.
        writeln!(stderr(), "going on").unwrap();
        flooding.join().unwrap();
    }

    fn mixed() {
        let tasks: Vec<_> = (b'a'..=b'h')
            .map(|letter| {
                spawn(move || {
                    let line = String::from_utf8(vec![letter; 9_000]).unwrap();
                    for _ in 0..20 {
                        writeln!(stdout(), "{line}").unwrap();
                    }
                })
            })
            .collect();
        tasks.into_iter().for_each(|task| task.join().unwrap());
    }

    /// Writes that lose have written nothing, those that win say how much.
    fn losing() {
        let line = [b'x'; 999].iter().copied().chain([b'\n']).collect::<Vec<u8>>();
        let mut rest = &line[..];
        let (mut sum, mut late) = (0, 0);
        while late < 3 {
            if rest.is_empty() {
                rest = &line;
            }
            match stdout().write_op(rest).timeout(Duration::from_millis(1)).perform() {
                Ok(count) => {
                    let count = count.unwrap();
                    sum += count;
                    rest = &rest[count..];
                }
                Err(_) => late += 1,
            }
            op::always(()).perform();
        }
        writeln!(stderr(), "{sum}").unwrap();
    }

    /// The reader is gone.
    fn broken() {
        let _ = stdin().line_op().perform();
        let error = loop {
            if let Err(error) = writeln!(stdout(), "is anybody there?") {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        writeln!(stderr(), "nobody is").unwrap();
    }

    /// A reader over the input, and the input itself, one behind the other.
    fn buffers() {
        let mut reader = BufReader::with_capacity(4, stdin());
        reader.set_max_line(20);
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let (_, mut rest): (Stdin, Vec<u8>) = reader.into_parts();
        rest.resize(10, 0);
        let from = rest.iter().position(|byte| *byte == 0).unwrap();
        let mut missing = &mut rest[from..];
        while !missing.is_empty() {
            let count = stdin().read_op(missing).perform().unwrap();
            missing = &mut missing[count..];
        }
        say(&format!("{line:?} {:?}", String::from_utf8(rest).unwrap()));
        let all: io::Result<Vec<_>> = stdin().lines().collect();
        say(&format!("{:?}", all.unwrap()));
    }
}
