//! Standard input and outputs, from the other end: pipes, files, sockets and terminals, and readers that are slow or gone.

use fibers_tests::{HANG, unlinked_file};
use std::fs::File;
use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A program of `stdio-child` that is running.
struct Program {
    child: Child,
    out: BufReader<PipeReader>,
    err: BufReader<PipeReader>,
}

/// By how many workers (0: by a thread), and how the standard descriptors are used.
const EVERYWHERE: [(&str, &str); 6] = [
    ("1", "own"),
    ("2", "own"),
    ("0", "own"),
    ("1", "shared"),
    ("0", "shared"),
    ("1", "little"),
];
const FIBERS: [(&str, &str); 4] = [("1", "own"), ("2", "own"), ("1", "shared"), ("2", "little")];

impl Program {
    fn start(scenario: &str, (workers, way): (&str, &str), input: impl Into<Stdio>) -> Program {
        println!("{scenario} on {workers} workers, {way}");
        let ((out, their_out), (err, their_err)) = (std::io::pipe().unwrap(), std::io::pipe().unwrap());
        let child = Command::new(env!("CARGO_BIN_EXE_stdio-child"))
            .args([scenario, workers, way])
            .stdin(input)
            .stdout(their_out)
            .stderr(their_err)
            .spawn()
            .unwrap();
        Program {
            child,
            out: BufReader::new(out),
            err: BufReader::new(err),
        }
    }

    fn piped(scenario: &str, how: (&str, &str)) -> (PipeWriter, Program) {
        let (input, writer) = std::io::pipe().unwrap();
        (writer, Program::start(scenario, how, input))
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        line
    }

    /// All that it has still written, and whether it has succeeded.
    #[track_caller]
    fn end(mut self) -> String {
        let mut text = String::new();
        self.out.read_to_string(&mut text).unwrap();
        assert_eq!(self.status(), Some(0), "{:?}", self.errors());
        text
    }

    fn errors(&mut self) -> String {
        let mut text = String::new();
        self.err.read_to_string(&mut text).unwrap();
        text
    }

    #[track_caller]
    fn status(&mut self) -> Option<i32> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(began.elapsed() < HANG, "it hangs");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The two sides of a pseudoterminal, which echoes nothing.
fn terminal() -> (File, OwnedFd) {
    let (mut master, mut slave) = (0, 0);
    // SAFETY: two places for the answers, and no names and sizes.
    unsafe {
        let result = libc::openpty(
            &mut master,
            &mut slave,
            std::ptr::null_mut(),
            std::ptr::null(),
            std::ptr::null(),
        );
        assert_eq!(result, 0);
        let mut settings = std::mem::zeroed();
        assert_eq!(libc::tcgetattr(slave, &mut settings), 0);
        settings.c_lflag &= !libc::ECHO;
        assert_eq!(libc::tcsetattr(slave, libc::TCSANOW, &settings), 0);
        for fd in [master, slave] {
            libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC);
        }
        (File::from_raw_fd(master), OwnedFd::from_raw_fd(slave))
    }
}

const TEXT: &str = "one\n\ntwo\r\na line that is somewhat longer\nrest";
const SAID: &str = "<one>\n<>\n<two>\n<a line that is somewhat longer>\n<rest>\nend\n";

#[test]
fn lines_from_whatever_the_input_is() {
    for scenario in ["lines", "select"] {
        for how in EVERYWHERE {
            let (mut writer, program) = Program::piped(scenario, how);
            for piece in TEXT.as_bytes().chunks(5) {
                writer.write_all(piece).unwrap();
                std::thread::yield_now();
            }
            drop(writer);
            assert_eq!(program.end(), SAID, "a pipe");
            assert_eq!(
                Program::start(scenario, how, unlinked_file(TEXT.as_bytes())).end(),
                SAID,
                "a file"
            );
            assert_eq!(Program::start(scenario, how, Stdio::null()).end(), "end\n", "nothing");
            let (mut near, far) = UnixStream::pair().unwrap();
            let program = Program::start(scenario, how, OwnedFd::from(far));
            near.write_all(TEXT.as_bytes()).unwrap();
            drop(near);
            assert_eq!(program.end(), SAID, "a socket");
        }
    }
}

#[test]
fn a_file_on_a_disk_is_fetched_by_the_pool() {
    let text: String = (0..20_000).map(|i| format!("line {i}\n")).collect();
    let said: String = (0..20_000).map(|i| format!("<line {i}>\n")).collect();
    for workers in ["1", "2"] {
        let said_now = Program::start("cold", (workers, "own"), unlinked_file(text.as_bytes())).end();
        assert!(said_now == format!("{said}end\n"));
    }
}

#[test]
fn lines_from_a_terminal() {
    for scenario in ["lines", "select"] {
        for how in EVERYWHERE {
            let (mut keyboard, slave) = terminal();
            let mut program = Program::start(scenario, how, slave);
            keyboard.write_all(b"one\nhalf").unwrap();
            assert_eq!(program.line(), "<one>\n");
            keyboard.write_all(b" and half\n").unwrap();
            assert_eq!(program.line(), "<half and half>\n");
            // Ctrl-D.
            keyboard.write_all(b"last\n\x04").unwrap();
            assert_eq!(program.end(), "<last>\nend\n");
        }
    }
}

#[test]
fn a_line_that_is_no_text_is_an_error_and_the_next_one_is_none() {
    let (mut writer, program) = Program::piped("lines", ("1", "own"));
    writer.write_all(b"a\n\xFF\nb\n").unwrap();
    drop(writer);
    assert_eq!(program.end(), "<a>\nInvalidData\n<b>\nend\n");
}

#[test]
fn everything_at_once() {
    let text: String = (0..30_000).map(|i| format!("{i} ")).collect();
    for how in EVERYWHERE {
        assert!(Program::start("bytes", how, unlinked_file(text.as_bytes())).end() == text);
        let (mut writer, program) = Program::piped("bytes", how);
        let theirs = text.clone();
        let writing = std::thread::spawn(move || writer.write_all(theirs.as_bytes()));
        assert!(program.end() == text);
        writing.join().unwrap().unwrap();
    }
}

#[test]
fn the_worker_of_who_waits_for_a_line_goes_on() {
    for how in [("1", "own"), ("1", "shared")] {
        let (mut writer, mut program) = Program::piped("busy", how);
        assert_eq!(program.line(), "going on\n");
        writer.write_all(b"a line\n").unwrap();
        assert_eq!(program.end(), "a line\n");
        let (mut keyboard, slave) = terminal();
        let mut program = Program::start("busy", how, slave);
        assert_eq!(program.line(), "going on\n");
        keyboard.write_all(b"a line\n").unwrap();
        assert_eq!(program.end(), "a line\n");
    }
}

/// No line is lost, or taken apart, whoever reads, on whatever thread.
#[test]
fn all_handles_share_one_buffer() {
    let lines: Vec<_> = (0..3_000).map(|i| format!("line {i} {}\n", "=".repeat(i % 50))).collect();
    for how in FIBERS {
        let (mut writer, program) = Program::piped("shared", how);
        let text = lines.concat();
        let writing = std::thread::spawn(move || {
            for piece in text.as_bytes().chunks(777) {
                writer.write_all(piece).unwrap();
                std::thread::yield_now();
            }
        });
        let mut said: Vec<_> = program.end().split_inclusive('\n').map(str::to_owned).collect();
        writing.join().unwrap();
        let mut expected = lines.clone();
        said.sort();
        expected.sort();
        assert!(said == expected, "{} of {} lines", said.len(), expected.len());
    }
}

#[test]
fn the_open_files_that_others_share_stay_as_they_are() {
    for how in EVERYWHERE {
        let (mut writer, program) = Program::piped("flags", how);
        writer.write_all(b"a line\n").unwrap();
        assert_eq!(program.end(), "a line\nblocks\nblocks\nblocks\n");
    }
}

/// The line that a fiber waited for when its runtime ended is there for who comes next.
#[test]
fn a_runtime_that_ends_during_a_read_loses_no_line() {
    for how in EVERYWHERE {
        let (mut writer, mut program) = Program::piped("runs", how);
        assert_eq!(program.line(), "ended\n");
        writer.write_all(b"a line\n").unwrap();
        assert_eq!(program.end(), "a line\n");
    }
}

#[test]
fn the_end_of_the_process_waits_for_no_input() {
    for how in EVERYWHERE {
        let (_writer, program) = Program::piped("pending", how);
        assert_eq!(program.end(), "over");
        let (_keyboard, slave) = terminal();
        assert_eq!(Program::start("pending", how, slave).end(), "over");
    }
}

#[test]
fn an_unfinished_line_is_written_at_the_end() {
    for how in EVERYWHERE {
        let mut program = Program::start("unfinished", how, Stdio::null());
        let mut text = String::new();
        program.out.read_to_string(&mut text).unwrap();
        assert_eq!(text, format!("a whole line\nand an unfinished one{}end", ".".repeat(10_000)));
        assert_eq!(program.status(), Some(7));
    }
}

#[test]
fn a_flush_within_a_time_writes_an_unfinished_line() {
    for how in EVERYWHERE {
        assert_eq!(Program::start("flushed", how, Stdio::null()).end(), "unfinished");
    }
}

#[test]
fn a_slow_reader_holds_up_no_worker() {
    for how in FIBERS {
        let mut program = Program::start("flood", how, Stdio::null());
        let mut line = String::new();
        program.err.read_line(&mut line).unwrap();
        assert_eq!(line, "going on\n");
        let text = program.end();
        let expected: String = (0..20_000).map(|i| format!("{i:060}\n")).collect();
        assert!(text == expected);
    }
}

#[test]
fn lines_of_several_fibers_do_not_get_mixed_up() {
    for how in FIBERS {
        let text = Program::start("mixed", how, Stdio::null()).end();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 8 * 20);
        for line in lines {
            assert!(line.len() == 9_000 && line.bytes().all(|byte| byte == line.as_bytes()[0]));
        }
    }
}

#[test]
fn a_losing_write_has_written_nothing() {
    for how in EVERYWHERE {
        let mut program = Program::start("losing", how, Stdio::null());
        let sum = program.errors();
        let text = program.end();
        assert_eq!(text.len().to_string(), sum.trim_end());
    }
}

#[test]
fn a_reader_that_is_gone_is_an_error() {
    for how in EVERYWHERE {
        let (writer, mut program) = Program::piped("broken", how);
        let (nothing, _) = std::io::pipe().unwrap();
        program.out = BufReader::new(nothing);
        drop(writer);
        assert_eq!(program.errors(), "nobody is\n");
        assert_eq!(program.status(), Some(0));
    }
}

#[test]
fn readers_over_the_input_and_the_input_itself() {
    for how in EVERYWHERE {
        let (mut writer, program) = Program::piped("buffers", how);
        writer.write_all(b"first\n0123456789abc\nxyz\n").unwrap();
        drop(writer);
        assert_eq!(program.end(), "\"first\\n\" \"0123456789\"\n[\"abc\", \"xyz\"]\n");
    }
}
