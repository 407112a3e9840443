//! The example `httpd`, visited by clients that behave.

use crate::httpd_client::{Answer, Temp};
use crate::program::Program;
use std::fs::{self, File};
use std::io::Write;
use std::process::Command;
use std::time::{Duration, SystemTime};

#[test]
fn files_and_their_types() {
    let temp = Temp::new("types");
    let large: Vec<u8> = (0..300_000u32).map(|i| (i % 251) as u8).collect();
    temp.write("large.bin", &large);
    temp.write("empty", "");
    temp.write("a/b/page.HTML", "<p>");
    temp.write("ünï code.txt", "text");
    temp.write("100%.css", "css");
    let server = temp.serve(&[]);
    let mut client = server.connect();
    for (target, kind, body) in [
        ("/large.bin", "application/octet-stream", &large[..]),
        ("/empty", "application/octet-stream", b""),
        ("/a/b/page.HTML", "text/html; charset=utf-8", b"<p>"),
        ("/a/./b//page.HTML?query=/..#part", "text/html; charset=utf-8", b"<p>"),
        ("/%C3%BCn%c3%AF%20code.txt", "text/plain; charset=utf-8", b"text"),
        ("/100%25.css", "text/css; charset=utf-8", b"css"),
        ("http://elsewhere:80/100%25.css", "text/css; charset=utf-8", b"css"),
    ] {
        let answer = client.get(target, "");
        let length = body.len().to_string();
        assert_eq!(
            (answer.code, answer.field("Content-Type")),
            (200, Some(kind)),
            "{target}: {answer:?}"
        );
        assert_eq!(answer.field("Content-Length"), Some(&*length), "{target}");
        assert!(answer.body == body, "{target}");
        assert!(answer.field("Date").is_some_and(|date| date.ends_with(" GMT")), "{answer:?}");
    }
    assert_eq!(client.get("/nothing", "").what(), (404, Answer::page("404 Not Found")));
    assert_eq!(client.get("/empty/", "").code, 404);
    assert_eq!(client.get("/empty/more", "").code, 404);
    assert_eq!(server.stop().code, Some(0));
}

#[test]
fn one_connection_for_many_requests() {
    let temp = Temp::new("keep-alive");
    temp.write("a", "first");
    temp.write("b", "second");
    let server = temp.serve(&[]);
    let mut client = server.connect();
    // All at once, the last in two pieces; the one in the middle has a body, and the line before the next is of a sloppy client.
    client.send(
        "GET /a HTTP/1.1\r\nHost: x\r\n\r\nHEAD /b HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody\r\n\
         GET /b HTTP/1.1\nHost: x\n\nGET /a HT",
    );
    assert_eq!(client.answer(true).what(), (200, "first".into()));
    let head = client.answer(false);
    assert_eq!((head.code, head.field("Content-Length")), (200, Some("6")));
    assert_eq!(client.answer(true).what(), (200, "second".into()));
    client.send("TP/1.1\r\nHost: x\r\nConnection: Close\r\n\r\n");
    let last = client.answer(true);
    assert_eq!((last.text(), last.field("Connection")), ("first".into(), Some("close")));
    assert_eq!(client.rest(), b"");

    for (fields, kept) in [("", Some("close")), ("Connection: Keep-Alive\r\n", Some("keep-alive"))] {
        let mut old = server.connect();
        old.send(format!("GET /a HTTP/1.0\r\n{fields}\r\n"));
        let answer = old.answer(true);
        assert_eq!((answer.text(), answer.field("Connection")), ("first".into(), kept));
    }
}

#[test]
fn parts_of_a_file() {
    let temp = Temp::new("range");
    temp.write("digits", "0123456789");
    temp.write("empty", "");
    let server = temp.serve(&[]);
    let mut client = server.connect();
    for (range, code, content_range, body) in [
        ("bytes=0-0", 206, Some("bytes 0-0/10"), "0"),
        ("bytes=2-4", 206, Some("bytes 2-4/10"), "234"),
        ("Bytes= 2-4 ", 206, Some("bytes 2-4/10"), "234"),
        ("bytes=7-", 206, Some("bytes 7-9/10"), "789"),
        ("bytes=7-99999999999999999999999", 206, Some("bytes 7-9/10"), "789"),
        ("bytes=-3", 206, Some("bytes 7-9/10"), "789"),
        ("bytes=-99", 206, Some("bytes 0-9/10"), "0123456789"),
        ("bytes=10-", 416, Some("bytes */10"), "416"),
        ("bytes=99999999999999999999999-", 416, Some("bytes */10"), "416"),
        ("bytes=-0", 416, Some("bytes */10"), "416"),
        ("bytes=4-2", 200, None, "0123456789"),
        ("bytes=1-2,4-5", 200, None, "0123456789"),
        ("bytes=-", 200, None, "0123456789"),
        ("bytes=a-b", 200, None, "0123456789"),
        ("bytes=+1-2", 200, None, "0123456789"),
        ("lines=1-2", 200, None, "0123456789"),
        ("", 200, None, "0123456789"),
    ] {
        let answer = client.get("/digits", &format!("Range: {range}\r\n"));
        assert_eq!((answer.code, answer.field("Content-Range")), (code, content_range), "{range}");
        match code {
            416 => assert_eq!(answer.text(), Answer::page("416 Range Not Satisfiable")),
            _ => assert_eq!(answer.text(), body, "{range}"),
        }
    }
    client.send("HEAD /digits HTTP/1.1\r\nHost: x\r\nRange: bytes=2-4\r\n\r\n");
    assert_eq!(client.answer(false).field("Content-Length"), Some("10"));
    assert_eq!(client.get("/empty", "Range: bytes=0-4\r\n").what(), (200, String::new()));
    let tag = client.get("/digits", "").field("ETag").expect("a tag").to_owned();
    for (version, body) in [(&*tag, "1"), ("\"other\"", "0123456789")] {
        let answer = client.get("/digits", &format!("Range: bytes=1-1\r\nIf-Range: {version}\r\n"));
        assert_eq!(answer.text(), body, "{version}");
    }
}

#[test]
fn what_a_client_has_already() {
    let temp = Temp::new("conditions");
    temp.write("file", "old");
    temp.write("ancient", "");
    let set_modified = |name: &str, time| {
        let file = File::options().write(true).open(temp.site().join(name)).expect("the file");
        file.set_modified(time).expect("a time");
    };
    let noon = SystemTime::UNIX_EPOCH + Duration::from_millis(1_000_000_000_500);
    set_modified("file", noon);
    // HTTP has no name for it.
    set_modified("ancient", SystemTime::UNIX_EPOCH - Duration::from_secs(1));
    let server = temp.serve(&[]);
    let mut client = server.connect();
    let first = client.get("/file", "");
    let tag = first.field("ETag").expect("a tag").to_owned();
    assert_eq!(first.field("Last-Modified"), Some("Sun, 09 Sep 2001 01:46:40 GMT"));
    for (fields, code) in [
        (format!("If-None-Match: {tag}\r\n"), 304),
        (format!("If-None-Match: \"x\", W/{tag}\r\n"), 304),
        (format!("If-None-Match: \"x\"\r\nIf-None-Match: {tag}\r\n"), 304),
        ("If-None-Match: *\r\n".into(), 304),
        (
            "If-None-Match: \"x\"\r\nIf-Modified-Since: Sun, 09 Sep 2001 01:46:40 GMT\r\n".into(),
            200,
        ),
        ("If-Modified-Since: Sun, 09 Sep 2001 01:46:40 GMT\r\n".into(), 304),
        ("If-Modified-Since: Sun, 09 Sep 2001 01:46:39 GMT\r\n".into(), 200),
        ("If-Modified-Since: yesterday\r\n".into(), 200),
    ] {
        client.send(format!("GET /file HTTP/1.1\r\nHost: x\r\n{fields}\r\n"));
        let answer = client.answer(code == 200);
        assert_eq!((answer.code, answer.field("ETag")), (code, Some(&*tag)), "{fields}");
    }
    assert_eq!(client.get("/ancient", "").field("Last-Modified"), None);
    fs::write(server.site().join("file"), "new!").expect("a file");
    assert_eq!(
        client.get("/file", &format!("If-None-Match: {tag}\r\n")).what(),
        (200, "new!".into())
    );
}

#[test]
fn directories() {
    let temp = Temp::new("directories");
    temp.write("with page/index.html", "<p>page");
    temp.write("plain/b <i>&'\".txt", "");
    temp.write("plain/javascript:alert(1)", "");
    temp.write("plain/a dir/x", "");
    let server = temp.serve(&[]);
    let mut client = server.connect();
    assert_eq!(client.get("/with%20page/", "").what(), (200, "<p>page".into()));
    let moved = client.get("/with%20page", "");
    assert_eq!((moved.code, moved.field("Location")), (301, Some("/with%20page/")));
    // Never to another host.
    assert_eq!(client.get("//plain", "").field("Location"), Some("/plain/"));

    let list = "<!DOCTYPE html>\n<meta charset=\"utf-8\">\n<title>/plain/</title>\n<h1>/plain/</h1>\n<ul>\n\
        <li><a href=\"../\">../</a></li>\n\
        <li><a href=\"a%20dir/\">a dir/</a></li>\n\
        <li><a href=\"b%20%3Ci%3E%26%27%22.txt\">b &lt;i&gt;&amp;&#39;&quot;.txt</a></li>\n\
        <li><a href=\"javascript%3Aalert%281%29\">javascript:alert(1)</a></li>\n</ul>\n";
    assert_eq!(client.get("/plain/", "").what(), (200, list.into()));
    assert!(
        client
            .get("/", "")
            .text()
            .contains("<title>/</title>\n<h1>/</h1>\n<ul>\n<li><a href=\"plain/\">")
    );
    client.send("HEAD /plain/ HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(client.answer(false).field("Content-Length"), Some(&*list.len().to_string()));
    assert_eq!(client.get("/plain/b%20%3Ci%3E%26%27%22.txt", "").code, 200);
}

#[test]
fn the_access_log() {
    let temp = Temp::new("log");
    temp.write("file", "12345");
    let mut server = temp.serve(&[]);
    let mut client = server.connect();
    client.get("/file?a=\"b\"\\", "");
    client.send("HEAD /file HTTP/1.1\r\nHost: x\r\n\r\n");
    client.answer(false);
    client.get("/nothing", "");
    client.send("\0\x1b[31m\r\n");
    client.answer(true);
    for (request, rest) in [
        (r#""GET /file?a=\"b\"\\ HTTP/1.1""#, "200 5"),
        (r#""HEAD /file HTTP/1.1""#, "200 -"),
        (r#""GET /nothing HTTP/1.1""#, "404 68"),
        (r#""\x00\x1b[31m""#, "400 72"),
    ] {
        let line = server.running.out.line();
        let (from, line) = line.split_once(" - - [").expect("an address");
        let (date, line) = line.split_once("] ").expect("a date");
        assert_eq!((from, line), ("127.0.0.1", &*format!("{request} {rest}\n")));
        assert_eq!(
            (date.len(), &date[2..3], &date[11..12], &date[20..]),
            (26, "/", ":", " +0000"),
            "{date}"
        );
    }
    assert_eq!(server.stop().out, b"");
}

#[test]
fn command_line() {
    let here = env!("CARGO_MANIFEST_DIR");
    let help = Program::new("httpd").args(["--help"]).run();
    assert!(help.stdout().starts_with("usage: httpd DIR ["), "{help:?}");
    help.check(0, help.stdout(), "");
    for (args, message) in [
        (&[][..], "DIR is missing"),
        (&[here, here], "more than one DIR"),
        (&[here, "--port"], "unknown option --port"),
        (&[here, "--addr"], "--addr needs an address"),
        (&[here, "--idle", "0"], "--idle needs a number of seconds, not '0'"),
        (&[here, "--grace", "NaN"], "--grace needs a number of seconds, not 'NaN'"),
        (
            &[here, "--connections", "0"],
            "--connections needs a number up to 1000000, not '0'",
        ),
    ] {
        let run = Program::new("httpd").args(args).run();
        run.check(2, "", &format!("{message}\n{}", help.stdout()));
    }
    let free = "127.0.0.1:0";
    let taken = std::net::TcpListener::bind(free).expect("a port");
    let taken = taken.local_addr().expect("its address").to_string();
    for (dir, addr, message) in [
        ("/nowhere/at/all", free, "/nowhere/at/all: No such file"),
        ("/dev/null", free, "/dev/null: Not a directory"),
        (here, "not an address", "not an address: "),
        (here, &taken, &format!("{taken}: Address already in use")),
    ] {
        let run = Program::new("httpd").args([dir, "--addr", addr]).run();
        assert!(
            run.code == Some(1) && run.stderr().starts_with(&format!("httpd: {message}")),
            "{run:?}"
        );
    }
}

/// The list of a directory, as a browser understands it.
#[test]
fn a_real_browser() {
    let browsers = ["chromium", "google-chrome", "chromium-browser"];
    let works = |name: &&str| {
        Command::new(name)
            .arg("--version")
            .output()
            .is_ok_and(|output| output.status.success())
    };
    let Some(browser) = browsers.into_iter().find(works) else {
        // Past the capture of the test harness, which would keep it to itself.
        let _ = writeln!(
            std::io::stderr(),
            "### SKIPPED httpd::a_real_browser: none of {browsers:?} is installed"
        );
        return;
    };
    let temp = Temp::new("browser");
    temp.write("<b>bold & \"quoted\".txt", "");
    temp.write(
        "page/index.html",
        "<!DOCTYPE html><p id=p>before</p><script src=/page/set.js></script>",
    );
    temp.write("page/set.js", "document.getElementById('p').textContent = 'after';");
    let server = temp.serve(&[]);
    let dump = |path: &str| {
        let profile = server.site().join("..").join(format!("profile{}", path.len()));
        let run = Program::at(browser.into())
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--no-first-run",
                "--disable-background-networking",
            ])
            .args([format!("--user-data-dir={}", profile.display())])
            .args(["--dump-dom", &format!("http://{}{path}", server.address)])
            .run();
        String::from_utf8_lossy(&run.out).into_owned()
    };
    let list = dump("/");
    assert!(
        list.contains("<h1>/</h1>") && list.contains(">&lt;b&gt;bold &amp; \"quoted\".txt</a>"),
        "{list}"
    );
    let page = dump("/page/");
    assert!(page.contains("<p id=\"p\">after</p>"), "{page}");
}
