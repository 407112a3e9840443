//! The example `httpd`, visited by clients that do not behave, and told to end.

use crate::httpd_client::{Client, Server, Temp};
use std::io::Read;
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::symlink;
use std::process::Command;
use std::time::Duration;

/// A site with a page, and everything in it that leads out of it.
fn with_ways_out(test: &str) -> Temp {
    let temp = Temp::new(test);
    temp.write("page.txt", "page");
    temp.write("dir/inner.txt", "inner");
    let site = temp.site();
    symlink("../secret.txt", site.join("link-out")).expect("a link");
    symlink("..", site.join("up")).expect("a link");
    symlink("/etc", site.join("etc")).expect("a link");
    symlink("/dev/zero", site.join("zero")).expect("a link");
    symlink("loop", site.join("loop")).expect("a link");
    symlink("dir/inner.txt", site.join("link-in")).expect("a link");
    symlink("dir", site.join("dir-in")).expect("a link");
    symlink("../../secret.txt", site.join("dir/index.html")).expect("a link");
    let made = Command::new("mkfifo").arg(site.join("fifo")).status();
    assert!(made.expect("mkfifo").success());
    temp
}

#[test]
fn nothing_outside_is_sent() {
    let server = with_ways_out("escape").serve(&[]);
    for target in [
        "/../secret.txt",
        "/dir/../../secret.txt",
        "/dir/../page.txt",
        "/%2e%2e/secret.txt",
        "/.%2E/secret.txt",
        "/%2e%2e%2fsecret.txt",
        "/..%2fsecret.txt",
        "/dir%2f..%2f..%2fsecret.txt",
        "/%2fetc/passwd",
        "//etc/passwd",
        "/etc/passwd",
        "/etc/",
        "/up/secret.txt",
        "/up/",
        "/up/site/page.txt",
        "/link-out",
        "/link-out/",
        "/zero",
        "/loop",
        "/dir/",
        "/fifo",
        "/page.txt%00.html",
        "/page.txt%",
        "/page.txt%zz",
        "/%c0%ae%c0%ae/secret.txt",
        "/%252e%252e/secret.txt",
        "/..\\secret.txt",
        "/.../secret.txt",
        "http://x/../secret.txt",
        "*",
        "page.txt",
    ] {
        let answer = server.get(target);
        match target {
            // It really lies in the site: the link leads out and in again.
            "/up/site/page.txt" => assert_eq!(answer.what(), (200, "page".into())),
            "/fifo" => assert_eq!(answer.code, 403),
            // Its page lies outside, so it has none.
            "/dir/" => assert!(answer.text().contains("inner.txt"), "{answer:?}"),
            _ => assert!(matches!(answer.code, 400 | 404), "{target}: {answer:?}"),
        }
        assert!(!answer.text().contains("secret"), "{target}: {answer:?}");
    }
    assert_eq!(server.get("/link-in").what(), (200, "inner".into()));
    assert_eq!(server.get("/dir-in/inner.txt").what(), (200, "inner".into()));
    assert_eq!(server.stop().code, Some(0));
}

#[test]
fn requests_that_cannot_be_served() {
    let temp = Temp::new("bad");
    temp.write("a", "first");
    let server = temp.serve(&[]);
    let long = "x".repeat(20_000);
    let many: String = (0..100).map(|i| format!("X-{i}: y\r\n")).collect();
    for (request, code) in [
        ("\r\n\r\nnonsense\r\n\r\n", 400),
        ("\x16\x03\x01\x02\0\x01\0\x01\u{fc}\x03\x03", 400), // a client that wants TLS
        ("GET /a HTTP/1.1\r\n\r\n", 400),
        ("GET /a HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
        ("GET /a HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", 400),
        ("GET /a HTTP/1.1\r\nHost: x\r\nname : y\r\n\r\n", 400),
        ("GET /a HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        (
            "GET /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            400,
        ),
        (
            "GET /a HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
            400,
        ),
        ("GET /a HTTP/1.1\r\nHost: x\r\nExpect: more\r\n\r\n", 417),
        ("GET /a HTTP/2.0\r\nHost: x\r\n\r\n", 505),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        ("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi", 405),
        ("BREW /a HTTP/1.1\r\nHost: x\r\n\r\n", 501),
        ("get /a HTTP/1.1\r\nHost: x\r\n\r\n", 501),
        (&format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n"), 414),
        (&format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", &long[..10_000]), 414),
        (&format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", &long[..1_000]), 404), // longer than any name
        (&format!("GET /a HTTP/1.1\r\nHost: x\r\nX: {long}\r\n\r\n"), 431),
        (&format!("GET /a HTTP/1.1\r\nHost: x\r\n{many}\r\n"), 431),
        (&"\r\n".repeat(10_000), 431),
    ] {
        let shown = &request[..request.len().min(80)];
        let mut client = server.connect();
        client.try_send(request);
        let answer = client.answer(true);
        assert_eq!(answer.code, code, "{shown:?}: {answer:?}");
        assert_eq!(answer.field("Allow"), (code == 405).then_some("GET, HEAD"));
        if code != 404 {
            assert_eq!(answer.field("Connection"), Some("close"), "{shown:?}");
            assert_eq!(client.rest(), b"", "{shown:?}");
        }
    }
    // Whatever they have said, others are served.
    assert_eq!(server.get("/a").what(), (200, "first".into()));
}

/// Where nobody can say for sure what the next request is, there is none.
#[test]
fn bodies() {
    let temp = Temp::new("bodies");
    temp.write("a", "first");
    let server = temp.serve(&[]);
    let hidden = "GET /b HTTP/1.1\r\nHost: x\r\n\r\n";
    for fields in [
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Content-Length: 4000000000\r\n",
        "Content-Length: 30\r\nExpect: 100-continue\r\n",
    ] {
        let mut client = server.connect();
        client.send(format!("GET /a HTTP/1.1\r\nHost: x\r\n{fields}\r\n{hidden}"));
        let answer = client.answer(true);
        assert_eq!(
            (answer.text(), answer.field("Connection")),
            ("first".into(), Some("close")),
            "{fields}"
        );
        assert_eq!(client.rest(), b"", "{fields}");
    }
    // Others may see a length or a coding in what is no text here.
    for (field, code) in [(&b"Content-Length: 2\xff"[..], 400), (b"Transfer-Encoding: chunked\xff", 200)] {
        let mut client = server.connect();
        let request = [b"GET /a HTTP/1.1\r\nHost: x\r\n", field, b"\r\n\r\n", hidden.as_bytes()].concat();
        client.send(request);
        let answer = client.answer(true);
        assert_eq!((answer.code, answer.field("Connection")), (code, Some("close")));
        assert_eq!(client.rest(), b"");
    }
    // A body that is short enough is read over, whatever it looks like.
    let mut client = server.connect();
    let length = hidden.len() * 100;
    client.send(format!("GET /a HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"));
    (0..100).for_each(|_| client.send(hidden));
    assert_eq!(client.answer(true).text(), "first");
    assert_eq!(client.get("/a", "").text(), "first");
}

/// A byte now and then keeps no request open, and half a request is told so.
#[test]
fn slow_clients() {
    let temp = Temp::new("slow");
    temp.write("a", "first");
    temp.write("large", vec![7; LARGE]);
    let server = temp.serve(&["--patience", "1", "--connections", "4"]);
    let (mut half, mut body, mut trickle) = (server.connect(), server.connect(), server.connect());
    let mut deaf = server.connect();
    deaf.send("GET /large HTTP/1.1\r\nHost: x\r\n\r\n");
    half.send("GET /a HTT");
    body.send("GET /a HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345");
    trickle.send("GET /a HTTP/1.1\r\nHost: x\r\nX: ");
    while !trickle.has_answer() {
        trickle.try_send("y");
        // Slow enough not to have said too much before its time is over.
        std::thread::sleep(Duration::from_millis(5));
    }
    let answer = String::from_utf8(trickle.rest()).expect("text");
    // It is lost if this machine is so busy that we have gone on talking for too long after it.
    assert!(answer.starts_with("HTTP/1.1 408 ") || answer.is_empty(), "{answer}");
    assert_eq!(half.answer(true).code, 408);
    assert_eq!(half.rest(), b"");
    let answer = body.answer(true);
    assert_eq!((answer.code, answer.field("Connection")), (200, Some("close")));

    // Their places are free again, although they are still there.
    let mut others: Vec<Client> = (0..4).map(|_| server.connect()).collect();
    for client in &mut others {
        assert_eq!(client.get("/a", "").text(), "first");
    }
    assert!(deaf.rest().len() < LARGE);
}

#[test]
fn idle_connections_end() {
    let temp = Temp::new("idle");
    temp.write("a", "first");
    let server = temp.serve(&["--idle", "0.2"]);
    assert_eq!(server.connect().rest(), b"");
    loop {
        let mut client = server.connect();
        client.try_send("GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
        let all = client.rest();
        if !all.is_empty() {
            assert!(all.ends_with(b"\r\nConnection: keep-alive\r\n\r\nfirst"), "{all:?}");
            break;
        } // else this machine is so busy that the request came too late
    }
}

#[test]
fn hundreds_of_connections_at_once() {
    let temp = Temp::new("many");
    for i in 0..10 {
        temp.write(&format!("file{i}"), format!("content {i}").repeat(1000));
    }
    let server = temp.serve(&[]);
    let mut clients: Vec<Client> = (0..300).map(|_| server.connect()).collect();
    for round in 0..3 {
        for (i, client) in clients.iter_mut().enumerate() {
            let i = (i + round) % 10;
            client.send(format!("GET /file{i} HTTP/1.1\r\nHost: x\r\n\r\n"));
        }
        for (i, client) in clients.iter_mut().enumerate().rev() {
            let i = (i + round) % 10;
            assert_eq!(client.answer(true).what(), (200, format!("content {i}").repeat(1000)));
        }
    }
    drop(clients);
    let run = server.stop();
    assert_eq!((run.code, run.stdout().lines().count()), (Some(0), 900));
}

/// Those for whom there is no place wait.
#[test]
fn as_many_connections_as_are_allowed() {
    let temp = Temp::new("limit");
    temp.write("a", "first");
    let server = temp.serve(&["--connections", "2"]);
    let (mut one, mut two, mut three) = (server.connect(), server.connect(), server.connect());
    three.send("GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
    for _ in 0..20 {
        one.get("/a", "");
        two.get("/a", "");
    }
    assert!(!three.has_answer());
    drop(one);
    assert_eq!(three.answer(true).text(), "first");
}

/// More than the buffers of a connection hold.
const LARGE: usize = 32 << 20;

/// A server, and a client that has read the head of a large file.
fn with_answer_under_way(test: &str, args: &[&str]) -> (Server, TcpStream, Vec<u8>) {
    let temp = Temp::new(test);
    temp.write("large", vec![7; LARGE]);
    let server = temp.serve(args);
    let mut stream = TcpStream::connect(&server.address).expect("the server listens");
    std::io::Write::write_all(&mut stream, b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n").expect("the server reads");
    let mut head = vec![0; 1000];
    stream.read_exact(&mut head).expect("the beginning of an answer");
    (server, stream, head)
}

#[test]
fn an_end_that_lets_answers_finish() {
    for signal in ["INT", "TERM"] {
        let (mut server, mut stream, mut answer) = with_answer_under_way(signal, &["--grace", "100"]);
        let mut idle = server.connect();
        idle.get("/nothing", "");
        let mut fresh = server.connect();
        server.running.signal(signal);
        assert_eq!(server.running.err.line(), format!("httpd: SIG{signal}, ending\n"));
        assert_eq!((idle.rest(), fresh.rest()), (vec![], vec![]));
        stream.read_to_end(&mut answer).expect("the rest of the answer");
        let body = answer.len()
            - answer
                .windows(4)
                .position(|end| end == b"\r\n\r\n")
                .expect("the end of the head")
            - 4;
        assert_eq!(body, LARGE);
        let run = server.end();
        assert_eq!(run.code, Some(0), "{run:?}");
        assert!(run.stdout().contains(&format!(" 200 {LARGE}\n")), "{run:?}");
    }
}

#[test]
fn an_end_that_has_waited_long_enough() {
    let (server, _stalled, _) = with_answer_under_way("grace", &["--grace", "0.1"]);
    assert_eq!(server.stop().code, Some(0));
    let (mut server, _stalled, _) = with_answer_under_way("twice", &["--grace", "1000"]);
    server.running.signal("INT");
    server.running.err.line();
    server.running.signal("INT");
    assert_eq!(server.end().code, Some(0));
}

/// Without a log, but with a server.
#[test]
fn nobody_reads_the_log() {
    let temp = Temp::new("closed");
    temp.write("a", "first");
    let mut server = temp.serve(&[]);
    server.running.out.close();
    while server.running.err.is_silent() {
        assert_eq!(server.get("/a").what(), (200, "first".into()));
    }
    let line = server.running.err.line();
    assert!(line.starts_with("httpd: no access log from here on: "), "{line}");
    assert_eq!(server.get("/a").what(), (200, "first".into()));
    assert_eq!(server.stop().code, Some(0));
}

/// Who leaves in the middle of an answer, or of a request, disturbs nobody.
#[test]
fn clients_that_leave() {
    let (server, stream, _) = with_answer_under_way("leave", &[]);
    drop(stream);
    for sent in ["", "GET", "GET /large HTTP/1.1\r\nHost: x\r\n\r\n"] {
        let mut client = server.connect();
        client.send(sent);
        drop(client);
    }
    let stream = TcpStream::connect(&server.address).expect("the server listens");
    stream.shutdown(Shutdown::Write).expect("a connection");
    assert_eq!((&stream).read(&mut [0]).expect("the end"), 0);
    assert_eq!(server.get("/nothing").code, 404);
    assert_eq!(server.stop().code, Some(0));
}
