//! The example `tail_f`, on files to which everything happens that happens to logs.

use crate::program::Program;
use crate::running::Running;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

/// A directory of its own for a test, removed at its end. The programs run in it.
struct Temp(PathBuf);

impl Temp {
    fn new(test: &str) -> Temp {
        let path = std::env::temp_dir().join(format!("tail_f-{test}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a temporary directory");
        Temp(path)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.0.join(name), content).expect("a file");
    }

    fn append(&self, name: &str, content: &str) {
        self.open(name).write_all(content.as_bytes()).expect("a file");
    }

    fn open(&self, name: &str) -> File {
        OpenOptions::new().append(true).open(self.0.join(name)).expect("a file")
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.0.join(from), self.0.join(to)).expect("a file");
    }

    fn program(&self, args: &[&str]) -> Program {
        let mut program = Program::new("tail_f").args(args);
        program.command.current_dir(&self.0);
        program
    }

    fn follow(&self, args: &[&str]) -> Running {
        Running::start(self.program(args))
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn the_last_lines_and_what_comes() {
    let temp = Temp::new("lines");
    let twelve: String = (1..=12).map(|i| format!("{i}\n")).collect();
    temp.write("whole", &twelve);
    temp.write("half", "1\n\n2");
    for (args, begin) in [
        (&["whole"][..], "3\n4\n5\n6\n7\n8\n9\n10\n11\n12\n"),
        (&["-n", "1", "whole"], "12\n"),
        (&["-n", "12", "--", "whole"], &twelve),
        (&["whole", "-n", "18446744073709551615"], &twelve),
        (&["-n", "1", "half"], "2"),
        (&["-n", "2", "half"], "\n2"),
        (&["-n", "3", "half"], "1\n\n2"),
    ] {
        let mut running = temp.follow(args);
        assert_eq!(running.out.until(begin.as_bytes()), begin, "{args:?}");
        running.interrupt().check(0, "", "");
    }
    for signal in ["INT", "TERM"] {
        let mut running = temp.follow(&["-n", "1", "whole"]);
        assert_eq!(running.out.line(), "12\n");
        temp.append("whole", "no end");
        assert_eq!(running.out.until(b"end"), "no end");
        temp.append("whole", " yet\n12\n");
        assert_eq!((running.out.line(), running.out.line()), (" yet\n".into(), "12\n".into()));
        running.signal(signal);
        running.end().check(0, "", "");
    }
}

#[test]
fn large_files_and_any_bytes() {
    let temp = Temp::new("large");
    let bytes: Vec<u8> = (0..1_000_000u64).map(|i| ((i * i) >> 7) as u8).collect();
    temp.write("bytes", &bytes);
    let lines = bytes.iter().filter(|byte| **byte == b'\n').count().to_string();
    let begin = bytes.iter().position(|byte| *byte == b'\n').expect("a line") + 1;
    // Those after the first newline, the last of which has none.
    let mut running = temp.follow(&["-n", &lines, "bytes"]);
    temp.append("bytes", "the end");
    let text = running.out.until(b"the end");
    assert_eq!(text, String::from_utf8_lossy(&[&bytes[begin..], b"the end"].concat()));

    let long = "x".repeat(300_000);
    temp.write("long", format!("{long}\n{long}\n"));
    let mut running = temp.follow(&["-n", "1", "long"]);
    assert!(running.out.line() == long.clone() + "\n");
    temp.append("long", &format!("{long}{long}\n"));
    assert!(running.out.line() == long.repeat(2) + "\n");
}

#[test]
fn several_files() {
    let temp = Temp::new("several");
    temp.write("a", "a1\n");
    temp.write("b", "");
    let mut running = temp.follow(&["-n", "0", "a", "b"]);
    assert_eq!(running.out.until(b"==> b <==\n"), "==> a <==\n\n==> b <==\n");
    temp.append("b", "b1\n");
    assert_eq!(running.out.line(), "b1\n");
    temp.append("a", "a2\n");
    assert_eq!(running.out.until(b"a2\n"), "\n==> a <==\na2\n");
    temp.append("a", "a3\n");
    assert_eq!(running.out.line(), "a3\n");
    running.interrupt().check(0, "", "");
}

#[test]
fn a_file_that_is_cut_off() {
    let temp = Temp::new("cut");
    temp.write("log", "one\ntwo\n");
    let mut running = temp.follow(&["log"]);
    assert_eq!(running.out.until(b"two\n"), "one\ntwo\n");
    temp.open("log").set_len(0).expect("a shorter file");
    assert_eq!(running.err.line(), "tail_f: log has been cut off\n");
    temp.append("log", "three, and longer than before\n");
    assert_eq!(running.out.line(), "three, and longer than before\n");
    temp.write("log", "4\n");
    assert_eq!(running.out.line(), "4\n");
    running.interrupt().check(0, "", "tail_f: log has been cut off\n");
}

#[test]
fn a_file_that_is_replaced() {
    let temp = Temp::new("rotate");
    temp.write("log", "one\n");
    let mut running = temp.follow(&["log"]);
    assert_eq!(running.out.line(), "one\n");
    for i in 0..5 {
        // As programs do it that rotate logs: who writes does not notice at once.
        let mut old = temp.open("log");
        writeln!(old, "before {i}").expect("a file");
        temp.rename("log", &format!("log.{i}"));
        writeln!(old, "late {i}").expect("a file");
        temp.write("new", format!("new {i}\n"));
        temp.rename("new", "log");
        for expected in ["before", "late", "new"] {
            assert_eq!(running.out.line(), format!("{expected} {i}\n"));
        }
        temp.append("log", "more\n");
        assert_eq!(running.out.line(), "more\n");
    }
    let run = running.interrupt();
    assert_eq!((run.code, run.stdout()), (Some(0), ""));
    // It may have been seen while there was none.
    let replaced = run
        .stderr()
        .lines()
        .filter(|line| *line == "tail_f: log has been replaced")
        .count();
    let gone = run.stderr().lines().filter(|line| line.ends_with("; waiting for it")).count();
    assert_eq!((replaced, replaced + gone), (5, run.stderr().lines().count()), "{run:?}");
}

#[test]
fn a_file_that_comes_later_and_goes() {
    let temp = Temp::new("later");
    let mut running = temp.follow(&["log", "dir/log"]);
    for name in ["log", "dir/log"] {
        let message = format!("tail_f: {name}: No such file or directory (os error 2); waiting for it\n");
        assert_eq!(running.err.line(), message);
    }
    temp.write("log", "here\n");
    assert_eq!(running.err.line(), "tail_f: log has appeared\n");
    assert_eq!(running.out.until(b"here\n"), "==> log <==\nhere\n");
    fs::create_dir(temp.0.join("dir")).expect("a directory");
    temp.write("dir/log", "there\n");
    assert_eq!(running.err.line(), "tail_f: dir/log has appeared\n");
    assert_eq!(running.out.until(b"there\n"), "\n==> dir/log <==\nthere\n");

    // What is written to it without its name is still of interest.
    let mut old = temp.open("log");
    temp.rename("log", "other");
    assert!(running.err.line().contains("log: No such file"));
    writeln!(old, "last words").expect("a file");
    assert_eq!(running.out.until(b"words\n"), "\n==> log <==\nlast words\n");
    temp.rename("other", "log");
    assert_eq!(running.err.line(), "tail_f: log is back\n");
    fs::remove_file(temp.0.join("log")).expect("a file");
    assert!(running.err.line().contains("log: No such file"));
    temp.write("log", "again\n");
    assert_eq!(running.err.line(), "tail_f: log has been replaced\n");
    assert_eq!(running.out.line(), "again\n");
    running.interrupt().check(0, "", "");
}

#[test]
fn a_link_that_is_turned() {
    let temp = Temp::new("link");
    fs::create_dir(temp.0.join("dir")).expect("a directory");
    temp.write("dir/monday", "monday\n");
    temp.write("dir/tuesday", "tuesday\n");
    symlink("dir/monday", temp.0.join("today")).expect("a link");
    let mut running = temp.follow(&["today"]);
    assert_eq!(running.out.line(), "monday\n");
    temp.append("dir/monday", "evening\n");
    assert_eq!(running.out.line(), "evening\n");
    symlink("dir/tuesday", temp.0.join("new")).expect("a link");
    temp.rename("new", "today");
    assert_eq!(running.out.line(), "tuesday\n");
    temp.append("dir/tuesday", "morning\n");
    assert_eq!(running.out.line(), "morning\n");
    running.interrupt().check(0, "", "tail_f: today has been replaced\n");
}

/// Although it has nothing more to say.
#[test]
fn nobody_reads_it() {
    let temp = Temp::new("unread");
    temp.write("log", "one\ntwo\n");
    temp.program(&["-n", "1", "log"]).run_for_one_line().check(0, "two\n", "");
    temp.program(&["-n", "2", "log"]).run_for_one_line().check(0, "one\n", "");
}

#[test]
fn what_cannot_be_followed() {
    let temp = Temp::new("wrong");
    fs::create_dir(temp.0.join("log")).expect("a directory");
    let mut running = temp.follow(&["log"]);
    assert_eq!(running.err.line(), "tail_f: log: not a regular file; waiting for it\n");
    fs::remove_dir(temp.0.join("log")).expect("a directory");
    assert!(running.err.line().starts_with("tail_f: log: No such file"));
    temp.write("log", "at last\n");
    assert_eq!(running.out.line(), "at last\n");
    running.interrupt();

    temp.write("full", "text\n");
    let mut program = temp.program(&["full"]);
    program.command.stdout(File::create("/dev/full").expect("a device"));
    program.run().check(1, "", "tail_f: No space left on device (os error 28)\n");
}

#[test]
fn command_line() {
    let help = Program::new("tail_f").args(["--help"]).run();
    assert!(help.stdout().starts_with("usage: tail_f ["), "{help:?}");
    help.check(0, help.stdout(), "");
    for (args, message) in [
        (&[][..], "FILE is missing"),
        (&["-n"], "-n needs a number"),
        (&["-n", "-1", "log"], "-n needs a number, not '-1'"),
        (&["-f", "log"], "unknown option -f"),
    ] {
        let run = Program::new("tail_f").args(args).run();
        run.check(2, "", &format!("{message}\n{}", help.stdout()));
    }
}
