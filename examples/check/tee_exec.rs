//! The example `tee_exec`, around commands that behave in all the ways they can.

use crate::program::{Program, Run};
use crate::running::Running;
use std::fs;
use std::path::PathBuf;

/// `tee_exec` with these options, around a script of the shell.
fn tee_exec(options: &[&str], script: &str) -> Program {
    Program::new("tee_exec").args(options).args(["--", "sh", "-c", script])
}

fn run(options: &[&str], script: &str) -> Run {
    tee_exec(options, script).run()
}

/// A file for a log, removed at the end.
struct Log(PathBuf);

impl Log {
    fn new(test: &str) -> Log {
        Log(std::env::temp_dir().join(format!("tee_exec-{test}-{}", std::process::id())))
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("a path that is text")
    }

    fn read(&self) -> Vec<u8> {
        fs::read(&self.0).expect("the log")
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn both_outputs_and_the_code() {
    run(&[], "echo one; echo two >&2").check(0, "one\n", "two\n");
    run(&[], "printf 'no end'; printf half >&2; exit 3").check(3, "no end", "half");
    run(&["--prefix"], "printf 'a\\n\\nb'; echo c >&2").check(0, "out: a\nout: \nout: b", "err: c\n");
    run(&[], "kill -KILL $$").check(128 + 9, "", "");
    // Options end where the command begins.
    Program::new("tee_exec")
        .args(["echo", "--log", "x", "--help"])
        .run()
        .check(0, "--log x --help\n", "");
}

#[test]
fn stamps() {
    let text = run(&["--stamp", "--prefix"], "echo a; echo b");
    let mut last = 0.0;
    for (line, word) in text.stdout().lines().zip(["a", "b"]) {
        let (stamp, rest) = line
            .strip_prefix('[')
            .and_then(|line| line.split_once("] "))
            .expect("a stamp");
        let seconds: f64 = stamp.trim().parse().expect("seconds");
        assert!(stamp.len() == 10 && seconds >= last, "{line}");
        assert_eq!(rest, format!("out: {word}"));
        last = seconds;
    }
    assert_eq!(text.stdout().lines().count(), 2);
}

#[test]
fn every_byte_of_it_and_in_the_log_as_well() {
    let log = Log::new("bytes");
    let bytes = r"i=0; while [ $i -lt 256 ]; do printf \\$(printf %o $i); i=$((i + 1)); done";
    let text = run(&["--log", log.path()], bytes);
    let all: Vec<u8> = (0..=255).collect();
    assert_eq!((text.code, &text.out, text.err.len()), (Some(0), &all, 0));
    assert_eq!(log.read(), all);

    // What was in the log is lost. A line may be longer than anything here has room for.
    let long = "head -c 1000000 /dev/zero; echo; seq 100000";
    let text = run(&["--log", log.path()], long);
    let numbers: String = (1..=100_000).map(|i| format!("{i}\n")).collect();
    let expected = [&vec![0; 1_000_000][..], b"\n", numbers.as_bytes()].concat();
    assert!(text.out == expected && log.read() == expected, "{} bytes", text.out.len());
}

/// Whole lines, whichever output they come from.
#[test]
fn lines_do_not_mix_in_the_log() {
    let log = Log::new("mix");
    let loud = "(for i in $(seq 2000); do echo oooooooooo; done) & for i in $(seq 2000); do echo eeeeeeeeee >&2; done; wait";
    let text = run(&["--prefix", "--log", log.path()], loud);
    assert_eq!((text.out.len(), text.err.len()), (2000 * 16, 2000 * 16));
    let log = String::from_utf8(log.read()).expect("text");
    let out = log.lines().filter(|line| *line == "out: oooooooooo").count();
    let err = log.lines().filter(|line| *line == "err: eeeeeeeeee").count();
    assert_eq!((out, err, log.lines().count()), (2000, 2000, 4000));
}

/// Each line while the command still runs, and a question before it has its answer.
#[test]
fn a_conversation() {
    let log = Log::new("talk");
    let script = "echo ready; read x; printf \"what is $x? \" >&2; read y; echo $x is $y";
    let mut running = Running::start_with_input(tee_exec(&["--prefix", "--log", log.path()], script));
    assert_eq!(running.out.line(), "out: ready\n");
    running.say("this\n");
    assert_eq!(running.err.until(b"? "), "err: what is this? ");
    running.say("that\n");
    running.end().check(0, "out: this is that\n", "");
    assert_eq!(log.read(), b"out: ready\nerr: what is this? out: this is that\n");
}

#[test]
fn standard_input() {
    tee_exec(&[], "cat").input("all\nof it").run().check(0, "all\nof it", "");
    tee_exec(&["--no-stdin"], "cat").input("none").run().check(0, "", "");
    // What the command leaves is for the next one.
    let shared = format!("{} -- head -c 1; cat", crate::program::path("tee_exec").display());
    let mut program = Program::at("/bin/sh".into()).args(["-c", &shared]);
    program = program.input("1234");
    program.run().check(0, "1234", "");
}

/// A command that is to say something before or when its time is over. On a busy machine, it may take a while to begin.
fn run_too_long(script: &str, expected: &str) {
    let mut run = run(&["--timeout", "0.1"], script);
    for seconds in ["0.5", "2", "10", "60"] {
        if run.out.is_empty() {
            run = tee_exec(&["--timeout", seconds], script).run();
        }
    }
    run.check(124, expected, "");
}

#[test]
fn too_long() {
    run_too_long("echo begun; exec sleep 600", "begun\n");
    // Time for a last word. (The shell would say what has become of its own children.)
    run_too_long(
        "exec 2>&-; trap 'echo tidy; exit 0' TERM; while :; do sleep 0.01; done",
        "tidy\n",
    );
    // One that is stopped has it as well.
    run_too_long("trap 'echo woken; exit' TERM; kill -STOP $$; sleep 600", "woken\n");
    // All that it has started ends with it.
    run(&["--timeout", "0.1"], "sleep 600 & sleep 600; echo never").check(124, "", "");
    // Who does not listen is killed.
    let deaf = "exec 2>&-; trap '' TERM; while :; do sleep 0.01; done";
    run(&["--timeout", "0.1", "--grace", "0.1"], deaf).check(124, "", "");
    // One that has left the group is left to itself.
    let gone = "setsid sleep 5 & exec sleep 600";
    run(&["--timeout", "0.1", "--grace", "0.1"], gone).check(124, "", "");
    // The command itself is not, wherever it has gone.
    let elsewhere = "command -v perl >/dev/null || exec sleep 600; exec perl -e 'setpgrp 0, getpgrp getppid; sleep 600'";
    run(&["--timeout", "0.5", "--grace", "0.1"], elsewhere).check(124, "", "");
    // In time.
    run(&["--timeout", "600"], "echo quick").check(0, "quick\n", "");
}

#[test]
fn signals_are_passed_on() {
    for signal in ["HUP", "INT", "QUIT", "TERM"] {
        let script = format!("exec 2>&-; trap 'echo caught; exit 7' {signal}; echo ready; while :; do sleep 0.01; done");
        let mut running = Running::start(tee_exec(&[], &script));
        assert_eq!(running.out.line(), "ready\n");
        running.signal(signal);
        running.end().check(7, "caught\n", "");
    }
    // The whole group is hit, or else the sleep would keep the output open.
    let mut running = Running::start(tee_exec(&[], "echo ready; sleep 600; echo never"));
    assert_eq!(running.out.line(), "ready\n");
    running.signal("INT");
    running.end().check(128 + 2, "", "");
    // One that ignores it goes on.
    let mut running = Running::start_with_input(tee_exec(&[], "trap '' INT; echo ready; read x; echo $x"));
    assert_eq!(running.out.line(), "ready\n");
    running.signal("INT");
    running.say("on\n");
    running.end().check(0, "on\n", "");
}

/// As if it wrote there itself.
#[test]
fn nobody_reads_it() {
    let first = tee_exec(&[], "exec yes").run_for_one_line();
    first.check(128 + 13, "y\n", "");
}

#[test]
fn what_goes_wrong() {
    let nothing = Program::new("tee_exec").args(["/no/such/command"]).run();
    nothing.check(
        127,
        "",
        "tee_exec: /no/such/command: No such file or directory (os error 2)\n",
    );
    let cannot = Program::new("tee_exec").args(["/etc/passwd"]).run();
    cannot.check(126, "", "tee_exec: /etc/passwd: Permission denied (os error 13)\n");
    let no_log = run(&["--log", "/no/such/file"], "echo begun");
    no_log.check(125, "", "tee_exec: the log: No such file or directory (os error 2)\n");
    let full = run(&["--log", "/dev/full"], "seq 3");
    full.check(
        125,
        "1\n2\n3\n",
        "tee_exec: the log ends here: No space left on device (os error 28)\n",
    );
    run(&["--log", "/dev/full"], "exit 9").check(9, "", "");
    let mut full = tee_exec(&[], "echo lost");
    full.command.stdout(fs::File::create("/dev/full").expect("a device"));
    let message = "tee_exec: the output ends here: No space left on device (os error 28)\n";
    full.run().check(125, "", message);
}

#[test]
fn command_line() {
    let help = Program::new("tee_exec").args(["--help"]).run();
    assert!(help.stdout().starts_with("usage: tee_exec ["), "{help:?}");
    help.check(0, help.stdout(), "");
    for (args, message) in [
        (&[][..], "COMMAND is missing"),
        (&["--stamp", "--"], "COMMAND is missing"),
        (&["--log"], "--log needs a path"),
        (
            &["--timeout", "soon", "true"],
            "--timeout needs a number of seconds, not 'soon'",
        ),
        (&["--grace", "-1", "true"], "--grace needs a number of seconds, not '-1'"),
        (&["--colour", "true"], "unknown option --colour"),
    ] {
        let run = Program::new("tee_exec").args(args).run();
        run.check(2, "", &format!("{message}\n{}", help.stdout()));
    }
}
