//! Runs every example as its user would, and checks what it prints.

#[path = "check/chat.rs"]
mod chat;
#[path = "check/client.rs"]
mod client;
#[path = "check/crawl.rs"]
mod crawl;
#[path = "check/digest_tree.rs"]
mod digest_tree;
#[path = "check/echo.rs"]
mod echo;
#[path = "check/from_go.rs"]
#[rustfmt::skip] // its lines are those of the README
mod from_go;
#[path = "check/httpd.rs"]
mod httpd;
#[path = "check/httpd_client.rs"]
mod httpd_client;
#[path = "check/httpd_hostile.rs"]
mod httpd_hostile;
#[path = "check/port_scan.rs"]
mod port_scan;
#[path = "check/program.rs"]
mod program;
#[path = "check/running.rs"]
mod running;
#[path = "check/tail_f.rs"]
mod tail_f;
#[path = "check/tee_exec.rs"]
mod tee_exec;

use program::Program;

/// One test per line: an example, its arguments, and what it prints: `expected/NAME.txt`.
macro_rules! prints_expected {
    ($($name:ident $args:tt)+) => {$(
        #[test]
        fn $name() {
            let run = Program::new(stringify!($name)).args($args as [&str; _]).run();
            run.check(0, include_str!(concat!("expected/", stringify!($name), ".txt")), "");
        }
    )+};
}

prints_expected! {
    context_tree []
    dining ["200"]
    errgroup_fetch []
    fibonacci []
    handler []
    philosophers ["200"]
    ping_pong []
    prime_sieve ["100"]
    rate_limiter []
    rpc_nack []
    select []
}

#[test]
fn skynet() {
    let run = Program::new("skynet").args(["10000"]).run();
    assert_eq!((run.code, run.stdout()), (Some(0), "49995000\n"), "{run:?}");
    assert!(run.stderr().starts_with("10000 leaves in "), "{run:?}");
}

#[test]
fn skynet_of_any_size() {
    for (leaves, sum) in [("0", "0\n"), ("1", "0\n"), ("2", "1\n"), ("11", "55\n"), ("1234", "760761\n")] {
        assert_eq!(Program::new("skynet").args([leaves]).run().stdout(), sum, "{leaves} leaves");
    }
}

#[test]
fn bank() {
    let run = Program::new("bank").args(["200"]).run();
    assert_eq!(
        (run.code, run.stdout()),
        (Some(0), include_str!("expected/bank.txt")),
        "{run:?}"
    );
    // How often the auditor gets round to it is up to the machine.
    assert!(run.stderr().ends_with(" transfers came to nothing\n"), "{run:?}");
}

#[test]
fn the_sieve_finds_the_2000th_prime() {
    let run = Program::new("prime_sieve").args(["500"]).run();
    assert_eq!(run.stdout().lines().last(), Some("3571"), "{run:?}");
}

#[test]
fn nothing_to_do_is_fine() {
    Program::new("prime_sieve").args(["0"]).run().check(0, "", "");
    Program::new("ping_pong").args(["0"]).run().check(0, "game over\n", "");
}

#[test]
fn a_reader_who_has_had_enough_is_no_error() {
    let run = Program::new("prime_sieve").args(["1500"]).run_for_one_line();
    run.check(0, "2\n", "");
}

#[test]
fn help_and_wrong_arguments() {
    for name in ["bank", "dining", "philosophers", "ping_pong", "prime_sieve", "skynet"] {
        let help = Program::new(name).args(["--help"]).run();
        assert!(help.stdout().starts_with(&format!("usage: {name} [")), "{help:?}");
        help.check(0, help.stdout(), "");
        for wrong in [["-1", ""], ["many", ""], ["1", "2"]] {
            let args = wrong.into_iter().filter(|arg| !arg.is_empty());
            Program::new(name).args(args).run().check(2, "", help.stdout());
        }
    }
}

/// In the order of the lines, whichever ends first; what takes too long is killed with all that it has started.
#[test]
fn run_all() {
    const COMMANDS: &str =
        "sleep 0.2; echo one\necho two; sleep 600 & wait\n\necho three >&2; exit 3\nyes | head -n 50000 | wc -l\n";
    const EXPECTED: &str = "$ sleep 0.2; echo one\none\n\
        $ echo two; sleep 600 & wait\ntwo\n! took longer than 5s\n\
        $ echo three >&2; exit 3\nthree\n! exit status: 3\n\
        $ yes | head -n 50000 | wc -l\n50000\n";
    let run = Program::new("run_all")
        .args(["--jobs", "3", "--limit", "5"])
        .input(COMMANDS)
        .run();
    run.check(1, EXPECTED, "");
    for jobs in ["1", "18446744073709551615"] {
        let run = Program::new("run_all").args(["--jobs", jobs]).input("true\n").run();
        run.check(0, "$ true\n", "");
    }
    Program::new("run_all").run().check(0, "", "");
    let first = Program::new("run_all").input("yes | head -n 100000\n").run_for_one_line();
    first.check(0, "$ yes | head -n 100000\n", "");
    let mut full = Program::new("run_all").input("true\n");
    full.command.stdout(std::fs::File::create("/dev/full").expect("a device"));
    full.run().check(1, "", "run_all: No space left on device (os error 28)\n");
    let help = Program::new("run_all").args(["--help"]).run();
    assert!(
        help.stdout()
            .starts_with("usage: run_all [--jobs N] [--limit SECONDS] < COMMANDS\n"),
        "{help:?}"
    );
    help.check(0, help.stdout(), "");
    let wrong = format!("--jobs needs a number of commands, not '0'\n{}", help.stdout());
    Program::new("run_all").args(["--jobs", "0"]).run().check(2, "", &wrong);
}
