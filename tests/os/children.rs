//! Child processes: their ends, their pipes, signals to them, and that none is left as a zombie.

use fibers::fault::{Call, Fault, scoped};
use fibers::process::{Child, Command, Stdio, Unfinished};
use fibers::signal::Signal;
use fibers::{Cond, Op, Runtime, Shutdown, op, select, spawn, time};
use fibers_tests::{HANG, On, everywhere, on_workers, rounds, runtime, subprocess, under_stress, watchdog};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::time::Duration;

fn sh(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.arg("-c").arg(script);
    command
}

/// The state of a process as /proc has it; `None` if there is none of that number.
fn state(id: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

fn gone(id: u32) -> bool {
    state(id).is_none()
}

#[test]
fn a_status_is_waited_for_in_every_way() {
    everywhere(|on| {
        assert!(Command::new("true").status().unwrap().success());
        assert_eq!(sh("exit 7").status().unwrap().code(), Some(7));
        let mut child = sh("exit 3").spawn().unwrap();
        assert_eq!(child.wait_op().perform().unwrap().code(), Some(3));
        assert_eq!(child.wait().unwrap().code(), Some(3), "again");
        assert_eq!(child.try_wait().unwrap().unwrap().code(), Some(3));
        let child = sh("exit 4").spawn().unwrap();
        on.eventually(|| child.try_wait().unwrap().is_some());
        let child = sh("exit 5").spawn().unwrap();
        let code = select! {
            status = <-child => status.unwrap().code(),
            _ = op::never::<()>() => None,
        };
        assert_eq!(code, Some(5));
        assert_eq!(
            Command::new("/no/such/program").spawn().unwrap_err().kind(),
            ErrorKind::NotFound
        );
    });
}

#[test]
fn all_who_wait_get_the_status() {
    everywhere(|on| {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let stdin = child.stdin.take();
        let child = Arc::new(child);
        let waiting: Vec<_> = (0..20)
            .map(|_| {
                let child = child.clone();
                on.spawn(move || child.wait_op().perform().unwrap().success())
            })
            .collect();
        assert!(child.wait_op().timeout(Duration::from_millis(1)).perform().is_err());
        drop(stdin);
        assert!(waiting.into_iter().all(|task| task.join()));
    });
}

#[test]
fn waiting_closes_standard_input() {
    everywhere(|_| {
        let mut child = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        assert!(child.wait().unwrap().success());
    });
}

#[test]
fn f41_a_storm_of_children_leaves_no_zombie() {
    under_stress(|on| {
        let total = rounds(40, 1000);
        let ids: Vec<_> = (0..8)
            .map(|i| {
                on.spawn(move || {
                    let mut ids = Vec::new();
                    for _ in 0..total / 8 {
                        let mut child = Command::new("true").spawn().unwrap();
                        // Some are waited for, some are dropped before their end or after it.
                        match i % 4 {
                            0 | 1 => assert!(child.wait().unwrap().success()),
                            2 => drop(child.wait_op().timeout(Duration::from_micros(300)).perform()),
                            _ => {}
                        }
                        ids.push(child.id());
                    }
                    ids
                })
            })
            .collect::<Vec<_>>()
            .into_iter()
            .flat_map(|task| task.join())
            .collect();
        // Numbers may be used again, by other tests' children: those end as well.
        for id in ids {
            on.eventually(|| state(id) != Some('Z'));
        }
    });
}

#[test]
fn f41_a_thousand_children_at_a_time() {
    on_workers(&[1, 2], |_| {
        let count = rounds(60, 1000);
        let children: Vec<_> = (0..count).map(|_| spawn(|| sh("exit 9").status().unwrap().code())).collect();
        assert!(children.into_iter().all(|child| child.join().unwrap() == Some(9)));
    });
}

#[test]
fn f41_a_dropped_child_is_reaped_when_it_ends() {
    everywhere(|on| {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let (id, stdin) = (child.id(), child.stdin.take());
        drop(child);
        assert!(!gone(id), "it runs on");
        drop(stdin);
        on.eventually(|| gone(id));
    });
}

/// Nobody can be told of its end: it is looked for when the next child is started.
#[test]
fn f41_a_dropped_child_is_reaped_without_a_caretaker() {
    let child = Command::new("cat").stdin(Stdio::piped()).spawn();
    let mut child = child.unwrap();
    let (id, stdin) = (child.id(), child.stdin.take());
    {
        let _fault = scoped(Call::EpollCtl, Fault::always(libc::ENOSPC));
        drop(child);
    }
    drop(stdin);
    On::Threads.eventually(|| Command::new("true").status().is_ok() && gone(id));
}

/// As on an old kernel, or in a sandbox: a thread waits for each.
#[test]
fn f41_children_without_pidfds() {
    for refusal in [libc::ENOSYS, libc::EPERM] {
        everywhere(|on| {
            let _fault = scoped(Call::PidfdOpen, Fault::always(refusal));
            assert_eq!(sh("exit 7").status().unwrap().code(), Some(7));
            assert_eq!(Command::new("echo").arg("x").output().unwrap().stdout, b"x\n");
            let mut child = Command::new("sleep").arg("600").process_group(0).spawn().unwrap();
            assert!(child.wait_op().timeout(Duration::from_millis(1)).perform().is_err());
            child.signal(Signal::TERM).unwrap();
            assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGTERM));
            child.kill().unwrap();
            let child = sh("exit 3").spawn().unwrap();
            on.eventually(|| child.try_wait().unwrap().is_some());
            assert_eq!(
                child.wait_op().perform().unwrap().code(),
                Some(3),
                "whoever waits hears of it as well"
            );
            let killed = Command::new("sleep").arg("600").kill_on_drop(true).spawn().unwrap();
            let dropped = Command::new("true").spawn().unwrap();
            let ids = [killed.id(), dropped.id()];
            drop((killed, dropped));
            on.eventually(|| ids.into_iter().all(gone));
            let marker = format!("6{refusal}.{}", std::process::id());
            let _no_thread = scoped(Call::Thread, Fault::always(libc::EAGAIN));
            let error = Command::new("sleep").arg(&marker).spawn().unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EAGAIN));
            assert!(!has_process_with_argument(&marker), "neither a process nor a zombie");
        });
    }
}

/// In a process of its own, where nobody else waits by such threads.
#[test]
fn f41_threads_that_wait_for_children_are_bounded() {
    const MOST: usize = 128;
    let output = subprocess("children::f41_threads_that_wait_for_children_are_bounded", || {
        On::Threads.run(|on| {
            let _fault = scoped(Call::PidfdOpen, Fault::always(libc::ENOSYS));
            let cat = || Command::new("cat").stdin(Stdio::piped()).spawn();
            let mut children: Vec<_> = (0..MOST).map(|_| cat().unwrap()).collect();
            let marker = format!("600.{}", std::process::id());
            let error = Command::new("sleep").arg(&marker).spawn().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ResourceBusy, "{error}");
            assert!(error.to_string().contains("128 threads wait"), "{error}");
            assert!(!has_process_with_argument(&marker), "neither a process nor a zombie");
            assert!(children.pop().unwrap().wait().unwrap().success());
            on.eventually(|| cat().is_ok());
        });
    });
    assert!(output.status.success(), "{output:?}");
}

/// Without pidfds to send signals by, they go to the number, while it is the child's.
#[test]
fn f41_signals_without_pidfds() {
    everywhere(|_| {
        let _fault = scoped(Call::PidfdSendSignal, Fault::always(libc::ENOSYS));
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
        child.kill().unwrap();
    });
}

#[test]
fn f41_a_kill_after_the_wait_does_nothing() {
    everywhere(|_| {
        let mut child = Command::new("true").process_group(0).spawn().unwrap();
        assert!(child.wait().unwrap().success());
        child.kill().unwrap();
        child.signal(Signal::TERM).unwrap();
        child.kill_group().unwrap();
        assert!(child.wait().unwrap().success());
    });
}

#[test]
fn signals_reach_a_child() {
    everywhere(|_| {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        child.signal(Signal::TERM).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGTERM));
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
        assert_eq!(child.signal_group(Signal::TERM).unwrap_err().kind(), ErrorKind::InvalidInput);
    });
}

/// A shell and what it has started are one group.
#[test]
fn a_group_is_killed_as_a_whole() {
    everywhere(|_| {
        let mut child = sh("sleep 600 & echo $!; wait")
            .process_group(0)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert!(!gone(line.trim().parse().unwrap()));
        child.kill_group().unwrap();
        // The pipe ends when the grandchild has ended as well.
        assert_eq!(stdout.read_to_string(&mut line).unwrap(), 0);
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
    });
}

#[test]
fn kill_on_drop_kills() {
    everywhere(|on| {
        let child = Command::new("sleep").arg("600").kill_on_drop(true).spawn().unwrap();
        let id = child.id();
        drop(child);
        on.eventually(|| gone(id));
    });
}

#[test]
fn the_end_of_a_runtime_kills_what_it_is_to_kill() {
    watchdog(HANG, || {
        let runtime = Runtime::builder().workers(2).shutdown(Shutdown::Unwind).build().unwrap();
        let (tx, rx) = fibers::channel(10);
        runtime.run(|| {
            for _ in 0..10 {
                let tx = tx.clone();
                spawn(move || {
                    let mut child = Command::new("sleep").arg("600").kill_on_drop(true).spawn().unwrap();
                    tx.send(child.id()).unwrap();
                    child.wait()
                });
            }
            (0..10).for_each(|_| tx.send(rx.recv().unwrap()).unwrap());
        });
        drop(tx);
        for id in rx {
            On::Threads.eventually(|| gone(id));
        }
    });
}

/// What one child writes another reads, past this process; in between the pipe is as blocking as programs expect.
#[test]
fn children_are_chained() {
    everywhere(|_| {
        let mut first = sh("printf 'b\\na\\n'").stdout(Stdio::piped()).spawn().unwrap();
        let pipe = first.stdout.take().unwrap().into_inner().unwrap();
        let sorted = Command::new("sort").stdin(pipe).output().unwrap();
        assert_eq!(sorted.stdout, b"a\nb\n");
        assert!(first.wait().unwrap().success());
    });
}

const CHATTY: &str = "i=0; while [ $i -lt 2000 ]; do echo \"out $i ........................................\"; echo \"err $i ........................................\" >&2; i=$((i+1)); done";

#[test]
fn both_outputs_of_a_chatty_child_are_captured() {
    everywhere(|_| {
        let output = sh(CHATTY).output().unwrap();
        assert!(output.status.success());
        for (bytes, name) in [(output.stdout, "out"), (output.stderr, "err")] {
            let text = String::from_utf8(bytes).unwrap();
            assert_eq!(text.lines().count(), 2000);
            for (i, line) in text.lines().enumerate() {
                assert!(line.starts_with(&format!("{name} {i} ")), "{line}");
            }
        }
    });
}

#[test]
fn output_leaves_the_command_as_it_was() {
    everywhere(|_| {
        let mut command = sh("cat; echo x");
        assert_eq!(command.output().unwrap().stdout, b"x\n", "no standard input");
        assert_eq!(command.output().unwrap().stdout, b"x\n");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        assert!(child.stdout.is_none() && child.stderr.is_none());
        assert_eq!(command.output().unwrap().stdout, b"", "somebody else has decided");
        assert!(child.wait_op().perform().unwrap().success());
    });
}

#[test]
fn a_pipeline_through_a_child() {
    everywhere(|on| {
        let mut child = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let data: Vec<u8> = (0..500_000_u32).map(|i| (i % 253) as u8).collect();
        let sent = data.clone();
        let writing = on.spawn(move || stdin.write_all(&sent));
        let mut all = Vec::new();
        stdout.read_to_end(&mut all).unwrap();
        writing.join().unwrap();
        assert!(all == data);
        assert!(child.wait().unwrap().success());
    });
}

#[test]
fn f41_a_time_limit_kills_and_keeps_what_was_written() {
    everywhere(|on| {
        let limit = Duration::from_millis(150);
        let error = sh("echo $$; exec sleep 600").output_timeout(limit).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        let unfinished = error.into_inner().unwrap().downcast::<Unfinished>().unwrap();
        // On a loaded machine the time may be over before the shell has said anything.
        if let Ok(id) = String::from_utf8(unfinished.stdout).unwrap().trim().parse() {
            on.eventually(|| gone(id));
        }
        let output = sh("echo done").output_timeout(Duration::from_secs(3600)).unwrap();
        assert_eq!(output.stdout, b"done\n");
    });
}

/// Its outputs are closed, but it does not end.
#[test]
fn f41_a_time_limit_holds_for_the_end_as_well() {
    everywhere(|_| {
        let error = sh("exec >&- 2>&-; exec sleep 600")
            .output_timeout(Duration::from_millis(20))
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    });
}

/// The child never stops to write, so a read is always ready.
#[test]
fn f41_a_time_limit_ends_endless_output() {
    everywhere(|_| {
        let error = Command::new("yes").output_timeout(Duration::from_millis(5)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    });
}

#[test]
fn anything_may_stop_a_capture() {
    everywhere(|on| {
        let cancel = Cond::new();
        let child = sh("echo hello; exec sleep 600").stdout(Stdio::piped()).spawn().unwrap();
        let id = child.id();
        let theirs = cancel.clone();
        let capturing = on.spawn(move || child.wait_with_output_unless(theirs.wait_op()));
        on.pause();
        cancel.signal();
        assert!(capturing.join().unwrap_err().get_ref().unwrap().is::<Unfinished>());
        on.eventually(|| gone(id));
    });
}

/// Losing against another branch takes nothing: not the status, not a byte.
#[test]
fn win_and_lose() {
    everywhere(|_| {
        for _ in 0..rounds(10, 300) {
            let mut child = Command::new("cat")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let stdin = child.stdin.take().unwrap();
            let stdout = child.stdout.take().unwrap();
            let mut buffer = [0; 8];
            for _ in 0..5 {
                let lost = select! {
                    _ = child.wait_op() => false,
                    _ = stdout.read_op(&mut buffer) => false,
                    _ = time::sleep_op(Duration::from_micros(10)) => true,
                };
                assert!(lost);
            }
            (&stdin).write_all(b"bytes").unwrap();
            (&stdout).read_exact(&mut buffer[..5]).unwrap();
            assert_eq!(&buffer[..5], b"bytes");
            drop(stdin);
            let won = select! {
                status = child.wait_op() => status.unwrap().success(),
                _ = time::sleep_op(HANG) => false,
            };
            assert!(won);
        }
    });
}

/// Waiting for a child does not keep the worker, and is no deadlock.
#[test]
fn other_fibers_go_on() {
    on_workers(&[1], |_| {
        let child = sh("read line; test \"$line\" = go").stdin(Stdio::piped()).spawn();
        let mut child = child.unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let waiting = spawn(move || child.wait().unwrap().success());
        fibers::yield_now();
        stdin.write_all(b"go\n").unwrap();
        assert!(waiting.join().unwrap());
    });
}

#[test]
fn faults_leave_no_process_behind() {
    watchdog(HANG, || {
        runtime(1).run(|| {
            for call in [Call::PidfdOpen, Call::Fcntl] {
                let marker = format!("600.{}", std::process::id());
                let _fault = scoped(call, Fault::always(libc::EMFILE));
                let spawned = Command::new("sleep").arg(&marker).stdout(Stdio::piped()).spawn();
                assert_eq!(spawned.unwrap_err().raw_os_error(), Some(libc::EMFILE));
                On::Fibers(1).eventually(|| !has_process_with_argument(&marker));
            }
            let child = Command::new("sleep").arg("600").kill_on_drop(true).spawn().unwrap();
            let _fault = scoped(Call::PidfdSendSignal, Fault::always(libc::EPERM));
            assert_eq!(child.kill().unwrap_err().raw_os_error(), Some(libc::EPERM));
            drop(_fault);
            child.kill().unwrap();
        });
    });
}

fn has_process_with_argument(argument: &str) -> bool {
    std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|part| part == argument.as_bytes())
    })
}

#[test]
fn surroundings_are_handed_on() {
    everywhere(|_| {
        let mut command = sh("pwd; echo $ONE $TWO $THREE; echo $#-$1");
        command
            .args(["name", "arg"])
            .current_dir("/")
            .env("ONE", "1")
            .envs([("TWO", "2")])
            .env_remove("THREE");
        let output = command.output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "/\n1 2\n1-arg\n");
        assert!(format!("{command:?}").contains("sh"), "{command:?}");
        let child: Child = Command::new("true").env_clear().spawn().unwrap();
        assert!(format!("{child:?}").contains(&child.id().to_string()), "{child:?}");
    });
}

/// The parent is a thread, here one that ends.
#[test]
fn a_child_is_told_of_its_parents_death() {
    watchdog(HANG, || {
        let spawned = std::thread::spawn(|| {
            let mut command = Command::new("sleep");
            command.arg("600").parent_death_signal(Signal::TERM).spawn().unwrap()
        });
        let mut child = spawned.join().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGTERM));
    });
}
