//! System calls that the kernel itself interrupts, as a tracer has it do: those of this crate, and those of what it stands on.

use crate::tcp::{echo, listen, pair, talk};
use fibers::net::{TcpStream, UnixStream};
use fibers::process::Command;
use fibers::{Op, fs, spawn, time};
use fibers_tests::{is_subprocess, on_workers, skipped, subprocess_under};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::time::Duration;

/// Of each thread the first call of each of these, and every third after that, fails with `EINTR`. Unknown on some machine: `?`.
const CALLS: &str = "?recvfrom,?sendto,recvmsg,sendmsg,?accept4,?accept,connect,?poll,?ppoll,?epoll_wait,?epoll_pwait,?epoll_pwait2,\
                     ?wait4,?waitid,preadv2";
/// The same, after those with which a program and its threads are started, by others.
const LATER: &str = "read,write";

/// What must have been interrupted: by any of these names.
const SEEN: &[&[&str]] = &[
    &["recvfrom"],
    &["sendto"],
    &["recvmsg"],
    &["sendmsg"],
    &["accept4", "accept"],
    &["connect"],
    &["poll", "ppoll"],
    &["epoll_pwait2", "epoll_pwait", "epoll_wait"],
    &["waitid", "wait4"],
    &["read"],
    &["write"],
];

#[test]
fn f31_interrupted_anywhere() {
    const TEST: &str = "interrupted::f31_interrupted_anywhere";
    if !is_subprocess()
        && let Err(why) = tracer_works()
    {
        return skipped(&why);
    }
    let log = std::env::temp_dir().join(format!("fibers-interrupted-{}", std::process::id()));
    let tracer = [
        "strace",
        "-f",
        "-qq",
        "-o",
        log.to_str().unwrap(),
        "-e",
        &format!("trace={CALLS},{LATER},getsockopt"),
        "-e",
        &format!("inject={CALLS}:error=EINTR:when=1+3"),
        "-e",
        &format!("inject={LATER}:error=EINTR:when=12+3"),
    ];
    let output = subprocess_under(&tracer, TEST, || on_workers(&[1, 2], |_| a_little_of_everything()));
    let calls = std::fs::read_to_string(&log).unwrap();
    let _ = std::fs::remove_file(&log);
    assert!(output.status.success(), "{output:?}");
    for names in SEEN {
        let is_hit = |line: &str| {
            line.contains("(INJECTED)")
                && names
                    .iter()
                    .any(|name| line.contains(&format!("{name}(")) || line.contains(&format!(" {name} resumed")))
        };
        assert!(calls.lines().any(is_hit), "none of {names:?} was interrupted:\n{calls}");
    }
    // A connection in progress ends by this question.
    assert!(calls.contains("SO_ERROR, [ECONNREFUSED]"), "{calls}");
}

fn tracer_works() -> Result<(), String> {
    let output = std::process::Command::new("strace")
        .args(["-o", "/dev/null", "true"])
        .output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        Err(error) => Err(format!("strace cannot be run: {error}")),
    }
}

fn a_little_of_everything() {
    let (listener, address) = listen();
    let serving = spawn(move || (0..3).for_each(|_| echo(&listener.accept().unwrap().0)));
    (0..3).for_each(|i| talk(TcpStream::connect(address).unwrap(), 10, i));
    serving.join().unwrap();
    let refused = TcpStream::connect(address).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);

    let (near, far) = pair();
    far.readable_op().timeout(Duration::from_millis(1)).perform().unwrap_err();
    near.writable_op().perform().unwrap();

    let (near, far) = UnixStream::pair().unwrap();
    let (mut reader, mut writer) = fibers::io::pipe().unwrap();
    let passing = spawn(move || {
        for i in 0..10 {
            near.send_fds(&[i], &[near.as_fd()]).unwrap();
            time::sleep(Duration::from_millis(1));
            writer.write_all(&[i; 100]).unwrap();
        }
    });
    for i in 0..10 {
        let mut buffer = [0];
        let (count, fds) = far.recv_fds(&mut buffer).unwrap();
        assert_eq!((count, buffer, fds.len()), (1, [i], 1));
        let mut bytes = [0; 100];
        reader.read_exact(&mut bytes).unwrap();
        assert_eq!(bytes, [i; 100]);
    }
    passing.join().unwrap();

    assert!(fs::read("/proc/self/exe").unwrap().starts_with(b"\x7fELF"));
    for _ in 0..3 {
        assert!(Command::new("true").status().unwrap().success());
    }
}
