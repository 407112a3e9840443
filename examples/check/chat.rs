//! The example `chat`, with guests who behave and guests who do not.

use crate::client::Client;
use crate::program::{Program, TIMEOUT};
use crate::running::Running;
use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::time::Instant;

fn chat(args: &[&str]) -> (Running, String) {
    let mut server = Running::start(Program::new("chat").args(["127.0.0.1:0"]).args(args));
    let address = server.address();
    (server, address)
}

/// A guest who has been welcomed, and then is called by `name`.
fn guest(address: &str, number: usize, name: &str) -> Client {
    let mut guest = Client::connect(address);
    guest.expect(&format!("* welcome, you are guest{number}; /help tells what there is"));
    guest.say(&format!("/nick {name}"));
    guest.expect(&format!("* you are now {name}"));
    guest
}

/// Two who know each other.
fn alice_and_bob(address: &str) -> (Client, Client) {
    let mut alice = guest(address, 1, "alice");
    let bob = guest(address, 2, "bob");
    alice.expect("* guest2 is here");
    alice.expect("* guest2 is now bob");
    (alice, bob)
}

#[test]
fn a_conversation() {
    let (server, address) = chat(&[]);
    let (mut alice, mut bob) = alice_and_bob(&address);
    alice.say("hello, who is there?");
    bob.expect("alice: hello, who is there?");
    bob.say("  ");
    bob.say("/me waves\r"); // as telnet ends its lines
    alice.expect("* bob waves");
    bob.say("/who");
    bob.expect("* here are alice, bob");
    bob.say("not for your \x1b[31mterminal\x07");
    alice.expect("bob: not for your [31mterminal");
    bob.say("who writes \u{202e}backwards\u{2028}\u{85}* alice has left");
    alice.expect("bob: who writes backwards* alice has left");
    bob.say("/help");
    bob.expect("* /nick NAME, /me DOES, /who, /help, /quit; anything else is said to all");
    for wrong in ["/me", "/sing", "/who is it", "/"] {
        bob.say(wrong);
        bob.expect("* that is no command; /help tells what there is");
    }
    bob.say("/quit");
    bob.expect("* good-bye");
    assert_eq!(bob.hear(), None);
    alice.expect("* bob has left");
    alice.say("/who");
    alice.expect("* here are alice");
    drop(alice);
    server.interrupt().check(0, "2 guests were here\n", "");
}

#[test]
fn names() {
    let (_server, address) = chat(&[]);
    let (mut alice, mut bob) = alice_and_bob(&address);
    for taken in ["alice", "ALICE"] {
        bob.say(&format!("/nick {taken}"));
        bob.expect(&format!("* {taken} is taken"));
    }
    for wrong in ["", "a b", "ünï", "a-name-of-21-letters-"] {
        bob.say(&format!("/nick {wrong}"));
        bob.expect("* a name is 1 to 20 letters, digits, - and _");
    }
    bob.say("/nick BOB");
    bob.expect("* you are now BOB");
    alice.expect("* bob is now BOB");
    bob.say("/nick Guest3");
    bob.expect("* you are now Guest3");
    alice.expect("* BOB is now Guest3");
    // The name of a new guest is its own as well, and those that were given up can be had again.
    let mut carol = Client::connect(&address);
    carol.expect("* welcome, you are guest4; /help tells what there is");
    carol.say("/nick bob");
    carol.expect("* you are now bob");
    carol.say("/who");
    carol.expect("* here are alice, bob, Guest3");
}

#[test]
fn guests_that_vanish() {
    let (server, address) = chat(&[]);
    let (mut alice, mut bob) = alice_and_bob(&address);
    alice.say("never read");
    bob.expect("alice: never read");
    drop(bob);
    alice.expect("* bob has left");
    // With a word unread, so that the connection is reset; and with half a line that nobody ended.
    let mut carol = TcpStream::connect(&address).expect("a connection");
    alice.expect("* guest3 is here");
    carol.peek(&mut [0]).expect("a welcome");
    carol.write_all(b"and here is").expect("an open connection");
    drop(carol);
    while let Some(line) = alice.hear()
        && line != "* guest3 has left"
    {
        assert_eq!(line, "guest3: and here is", "it may be lost, or come");
    }
    // Who ends only its own direction is heard to the end.
    let mut dave = TcpStream::connect(&address).expect("a connection");
    dave.write_all(b"one\ntwo").expect("an open connection");
    dave.shutdown(Shutdown::Write).expect("an open connection");
    for line in ["* guest4 is here", "guest4: one", "guest4: two", "* guest4 has left"] {
        alice.expect(line);
    }
    drop(alice);
    server.interrupt().check(0, "4 guests were here\n", "");
}

#[test]
fn an_endless_line() {
    let (_server, address) = chat(&[]);
    let (mut alice, mut bob) = alice_and_bob(&address);
    alice.say(&"x".repeat(999));
    bob.expect(&format!("alice: {}", "x".repeat(999)));
    let mut hostile = TcpStream::connect(&address).expect("a connection");
    while hostile.write(&[b'x'; 4096]).is_ok() {}
    for guest in [&mut alice, &mut bob] {
        guest.expect("* guest3 is here");
        guest.expect("* guest3 has left (line too long)");
    }
}

/// Says much more than the system keeps for somebody who does not read, and waits until it has been heard.
fn say_much(guest: &mut Client, lines: usize) -> Vec<String> {
    let line = "much ".repeat(180);
    (0..lines).for_each(|_| guest.say(&line));
    guest.say("/who");
    let mut heard = Vec::new();
    while let Some(line) = guest.hear()
        && !line.starts_with("* here are ")
    {
        heard.push(line);
    }
    heard
}

/// How many of the lines a guest hears, and how many it misses, until that was all.
fn listen(guest: &mut Client) -> (usize, usize) {
    let (mut heard, mut missed) = (0, 0);
    while let Some(line) = guest.hear()
        && line != "alice: that was all"
    {
        match line.strip_prefix("* you have missed ") {
            Some(count) => missed += count.trim_end_matches(" lines").parse::<usize>().expect("a number"),
            None if line.starts_with("alice: much") => heard += 1,
            None => panic!("{line}"),
        }
    }
    (heard, missed)
}

#[test]
fn a_slow_guest_misses_something_and_is_told() {
    const LINES: usize = 2000;
    let (server, address) = chat(&[]);
    let (mut alice, mut bob) = alice_and_bob(&address);
    assert_eq!(say_much(&mut alice, LINES), [""; 0]);
    alice.say("that was all");
    let (heard, missed) = listen(&mut bob);
    assert!(missed > 0, "all of it was kept");
    assert_eq!(heard + missed, LINES);
    drop((alice, bob));
    assert_eq!(server.interrupt().code, Some(0));
}

#[test]
fn a_guest_that_never_reads_has_to_go() {
    let (_server, address) = chat(&["--patience", "0.1"]);
    let (mut alice, _bob) = alice_and_bob(&address);
    let started = Instant::now();
    while say_much(&mut alice, 200) != ["* bob has left (too slow)"] {
        assert!(started.elapsed() < TIMEOUT, "it is still there");
    }
}

#[test]
fn the_room_closes() {
    for signal in ["INT", "TERM"] {
        let (server, address) = chat(&[]);
        let (mut alice, mut bob) = alice_and_bob(&address);
        // Who does not read does not hold it up.
        let deaf = Client::connect(&address);
        alice.expect("* guest3 is here");
        bob.expect("* guest3 is here");
        say_much(&mut alice, 2000);
        alice.say("that was all");
        listen(&mut bob);
        server.signal(signal);
        for guest in [&mut alice, &mut bob] {
            guest.expect("* the room closes; good-bye");
            assert_eq!(guest.hear(), None);
        }
        server.end().check(0, "3 guests were here\n", "");
        drop(deaf);
    }
}

#[test]
fn wrong_arguments() {
    let help = Program::new("chat").args(["-h"]).run();
    assert!(
        help.stdout().starts_with("usage: chat [ADDRESS] [--patience SECONDS]\n"),
        "{help:?}"
    );
    help.check(0, help.stdout(), "");
    let wrong: [(&[&str], &str); _] = [
        (&["--loud"], "unknown option --loud"),
        (&["--patience", "-1"], "--patience needs a number of seconds, not '-1'"),
        (&["localhost:1", "localhost:2"], "more than one ADDRESS"),
    ];
    for (args, message) in wrong {
        let run = Program::new("chat").args(args).run();
        run.check(2, "", &format!("{message}\n{}", help.stdout()));
    }
    let run = Program::new("chat").args(["here"]).run();
    run.check(2, "", "chat: \"here\" is no address: write host:port\n");
}
