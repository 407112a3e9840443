//! The example `digest_tree`, on trees with everything that can go wrong in one.

use crate::program::{self, Program, Run};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// SHA-256 of nothing.
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// A directory of its own for a test, removed at its end. The programs run in it.
struct Temp(PathBuf);

impl Temp {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("digest_tree-{test}-{}", std::process::id()));
        fs::create_dir_all(path.join("tree")).expect("a temporary directory");
        Temp(path)
    }

    fn write(&self, name: impl AsRef<OsStr>, content: impl AsRef<[u8]>) {
        let path = self.0.join("tree").join(name.as_ref());
        fs::create_dir_all(path.parent().expect("inside the tree")).expect("a directory");
        fs::write(path, content).expect("a file");
    }

    fn run(&self, args: &[&str]) -> Run {
        let mut program = Program::new("digest_tree").args(args);
        program.command.current_dir(&self.0);
        program.run()
    }

    fn sh(&self, script: &str) -> Option<Vec<u8>> {
        let output = Command::new("sh").arg("-c").arg(script).current_dir(&self.0).output().ok()?;
        output.status.success().then_some(output.stdout)
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Names that sort differently as names and as paths, names that must be escaped, and things that are no files.
fn odd_tree(test: &str) -> Temp {
    let temp = Temp::new(test);
    for name in [
        "a/x",
        "a/b/c/d/deep",
        "a-b",
        "a.b",
        "a0",
        "a!",
        "a/b.c",
        "a/b-c",
        " ",
        "-",
        "--help",
        "*",
        "~",
        "ünïcode",
        "🦀",
    ] {
        temp.write(name, name);
    }
    for name in [
        "back\\slash",
        "new\nline",
        "return\r",
        "tab\t",
        "quote'\"",
        "\\\n/in\\side",
        "\\",
    ] {
        temp.write(name, name);
    }
    temp.write("empty", "");
    temp.write("one chunk", vec![1; 128 << 10]);
    temp.write("large", (0..1_000_003u32).map(|i| (i % 251) as u8).collect::<Vec<_>>());
    let tree = temp.0.join("tree");
    fs::create_dir_all(tree.join("nothing/in/here")).expect("a directory");
    symlink("a0", tree.join("link to a file")).expect("a link");
    symlink("a", tree.join("link to a directory")).expect("a link");
    symlink("..", tree.join("a/link to above")).expect("a link");
    symlink("nowhere", tree.join("broken link")).expect("a link");
    temp.sh("mkfifo tree/fifo");
    temp
}

#[test]
fn an_odd_tree() {
    let temp = odd_tree("odd");
    for args in [
        &["tree"][..],
        &["--jobs", "1", "tree"],
        &["tree", "--jobs=16", "--fail-fast"],
        &["--", "tree"],
    ] {
        temp.run(args).check(0, include_str!("../expected/digest_tree.txt"), "");
    }
}

#[test]
fn the_same_as_sha256sum() {
    let temp = odd_tree("same");
    temp.write(OsStr::from_bytes(b"not \xff UTF-8 \xfe/\x80"), "bytes");
    for dir in [
        "tree",
        "tree/",
        ".",
        "./tree//",
        "tree/a0",
        "tree/link to a directory",
        "tree/link to a directory/",
        "tree/nothing",
    ] {
        let script = format!("set -e; find '{dir}' -type f -print0 | LC_ALL=C sort -z | xargs -0 -r sha256sum");
        let Some(expected) = temp.sh(&script) else {
            return eprintln!("no sha256sum here to compare with");
        };
        let run = temp.run(&[dir]);
        assert_eq!((run.code, &run.err[..]), (Some(0), &b""[..]), "{run:?}");
        assert!(
            run.out == expected,
            "{dir}: {run:?}\nexpected:\n{}",
            String::from_utf8_lossy(&expected)
        );
    }
}

#[test]
fn a_name_that_is_not_utf8() {
    let temp = Temp::new("bytes");
    temp.write(OsStr::from_bytes(b"\xff\\\n\xfe"), "");
    let run = temp.run(&["tree"]);
    assert_eq!(
        run.out,
        [b"\\", EMPTY.as_bytes(), b"  tree/\xff\\\\\\n\xfe\n"].concat(),
        "{run:?}"
    );
}

#[test]
fn an_empty_tree_prints_nothing() {
    Temp::new("empty").run(&["tree"]).check(0, "", "");
}

#[test]
fn a_file_that_cannot_be_read() {
    let error = "digest_tree: /proc/self/mem: Input/output error (os error 5)\n";
    Temp::new("mem").run(&["/proc/self/mem"]).check(1, "", error);
}

/// A path that is too long for the system, which holds for root as well.
#[test]
fn a_path_too_long() {
    let temp = Temp::new("long");
    let half: PathBuf = std::iter::repeat_n("d".repeat(250), 9).collect();
    temp.write("a", "");
    temp.write("z", "");
    temp.write(half.join("file"), "");
    // Two halves that are short enough on their own.
    let tree = temp.0.join("tree");
    fs::rename(&tree, temp.0.join("half")).expect("a rename");
    temp.write("a", "");
    temp.write("z", "");
    temp.write(half.join("readable"), "");
    fs::rename(temp.0.join("half"), tree.join(&half).join("half")).expect("a rename");

    let long = half.display();
    let readable = [format!("{EMPTY}  tree/a\n"), format!("{EMPTY}  tree/{long}/half/a\n")];
    let more = [
        format!("{EMPTY}  tree/{long}/half/z\n"),
        format!("{EMPTY}  tree/{long}/readable\n"),
        format!("{EMPTY}  tree/z\n"),
    ];
    for (args, expected) in [
        (&["tree"][..], [&readable[..], &more].concat()),
        (&["tree", "--fail-fast"], readable.to_vec()),
    ] {
        let run = temp.run(args);
        assert_eq!((run.code, run.stdout()), (Some(1), &expected.concat()[..]), "{run:?}");
        assert!(
            run.stderr().starts_with(&format!("digest_tree: tree/{long}/half/ddd")),
            "{run:?}"
        );
        assert!(run.stderr().ends_with(": File name too long (os error 36)\n"), "{run:?}");
    }
}

/// Root may read everything, so as root this runs the program as somebody else.
#[test]
fn files_and_directories_without_permission() {
    const NOBODY: u32 = 65534;
    let temp = Temp::new("permission");
    for name in ["a", "closed file", "closed directory/file", "b", "new\nline"] {
        temp.write(name, "");
    }
    for name in ["closed file", "closed directory", "new\nline"] {
        fs::set_permissions(temp.0.join("tree").join(name), fs::Permissions::from_mode(0o000)).expect("a change of mode");
    }
    let program = temp.0.join("digest_tree");
    // Others may run the copy. Not copied by this process: a sibling test that starts a program just then would hold the copy
    // open for writing, and it could not be run ("text file busy").
    let copied = Command::new("cp").arg(program::path("digest_tree")).arg(&program).status();
    assert!(copied.is_ok_and(|status| status.success()), "a copy of the program");
    let run = |args: &[&str]| {
        let mut program = Program::at(program.clone()).args(args);
        program.command.current_dir(&temp.0);
        if fs::metadata("/proc/self").expect("/proc").uid() == 0 {
            program.command.uid(NOBODY).gid(NOBODY);
        }
        program.run()
    };
    let denied = |name: &str| format!("digest_tree: tree/{name}: Permission denied (os error 13)\n");
    let errors = [denied("closed directory"), denied("closed file"), denied("new\\nline")];
    run(&["tree"]).check(1, &format!("{EMPTY}  tree/a\n{EMPTY}  tree/b\n"), &errors.concat());
    run(&["tree", "--fail-fast"]).check(1, &format!("{EMPTY}  tree/a\n{EMPTY}  tree/b\n"), &errors[0]);
    fs::set_permissions(temp.0.join("tree/closed directory"), fs::Permissions::from_mode(0o755)).expect("a change of mode");
}

fn many_files(test: &str) -> Temp {
    let temp = Temp::new(test);
    for i in 0..3000 {
        temp.write(format!("{}/{i}", i % 7), "");
    }
    temp
}

#[test]
fn a_reader_who_has_had_enough_is_no_error() {
    let temp = many_files("epipe");
    let mut program = Program::new("digest_tree").args(["tree"]);
    program.command.current_dir(&temp.0);
    program.run_for_one_line().check(0, &format!("{EMPTY}  tree/0/0\n"), "");
}

#[test]
fn a_full_device_is_an_error() {
    let temp = many_files("full");
    let mut program = Program::new("digest_tree").args([temp.0.join("tree")]);
    program
        .command
        .stdout(Stdio::from(File::options().write(true).open("/dev/full").expect("/dev/full")));
    program
        .run()
        .check(1, "", "digest_tree: standard output: No space left on device (os error 28)\n");
}

/// `script` gives the program a terminal.
#[test]
fn a_terminal_shows_progress_and_keeps_nothing_of_it() {
    let temp = Temp::new("terminal");
    temp.write("large", "");
    let size = if cfg!(debug_assertions) { 32 << 20 } else { 512 << 20 };
    let large = File::options().write(true).open(temp.0.join("tree/large")).expect("a file");
    large.set_len(size).expect("a hole");
    let program = program::path("digest_tree");
    let script = format!("script -qec '{} tree' /dev/null </dev/null", program.display());
    let Some(screen) = temp.sh(&script) else {
        return eprintln!("no script here to make a terminal");
    };
    let screen = String::from_utf8(screen).expect("UTF-8");
    assert!(screen.starts_with("0 files, "), "{screen:?}");
    // What is left on it: of each line what comes after its last erasure. Progress may be drawn below the digest as well.
    let erased = |line: &str| line.rsplit("\r\x1b[K").next().map(str::to_string);
    let left: Vec<_> = screen.split("\r\n").filter_map(erased).collect();
    let [digest, rest] = &left[..] else { panic!("{screen:?}") };
    assert!(
        digest.ends_with("  tree/large") && digest.len() == 64 + "  tree/large".len() && rest.is_empty(),
        "{screen:?}"
    );
}

#[test]
fn usage() {
    let temp = Temp::new("usage");
    let help = temp.run(&["--help"]);
    assert!(
        help.stdout().starts_with("usage: digest_tree DIR [--fail-fast] [--jobs N]\n"),
        "{help:?}"
    );
    help.check(0, help.stdout(), "");
    temp.run(&["-h", "tree"]).check(0, help.stdout(), "");
    let wrong: [(&[&str], &str); _] = [
        (&[], "DIR is missing"),
        (&["--jobs", "2"], "DIR is missing"),
        (&["tree", "tree"], "more than one DIR"),
        (&["--quick", "tree"], "unknown option --quick"),
        (&["tree", "--jobs"], "--jobs needs a number"),
        (&["tree", "--jobs", "0"], "--jobs needs a number from 1 to 512, not '0'"),
        (&["tree", "--jobs=x"], "--jobs needs a number from 1 to 512, not 'x'"),
        (&["nowhere"], "nowhere: No such file or directory (os error 2)"),
        (&[""], ": No such file or directory (os error 2)"),
    ];
    for (args, message) in wrong {
        temp.run(args)
            .check(2, "", &format!("digest_tree: {message}\n{}", help.stdout()));
    }
}

#[test]
fn a_directory_named_like_an_option() {
    let temp = Temp::new("dash");
    fs::rename(temp.0.join("tree"), temp.0.join("--jobs")).expect("a rename");
    fs::write(Path::new(&temp.0).join("--jobs/file"), "").expect("a file");
    temp.run(&["--", "--jobs"]).check(0, &format!("{EMPTY}  --jobs/file\n"), "");
}
