//! The example `crawl`, on sites of this test that have everything a site can have.

#[path = "../crawl/html.rs"]
mod html;
#[path = "../crawl/url.rs"]
mod url;

use crate::program::{Program, Run, TIMEOUT};
use crate::running::Running;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

/// What a site says about a path: all bytes of the answer.
type Answer = fn(path: &str, host: &str) -> Vec<u8>;

/// A server on a port of its own, which lives as long as the tests do.
struct Site {
    address: String,
    /// The paths that were asked for.
    requests: Receiver<String>,
}

impl Site {
    fn open(answer: Answer) -> Site {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let (tx, requests) = channel();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let tx = tx.clone();
                thread::spawn(move || {
                    let _ = serve(&stream, answer, |path| drop(tx.send(path.to_owned())));
                });
            }
        });
        Site { address, requests }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn crawl(&self, args: &[&str]) -> Run {
        let mut run = crawl(&[&self.url("/")]).args(["--delay", "0"]).args(args).run();
        run.out = run.stdout().replace(&self.address, "SITE").into_bytes();
        run
    }

    fn asked_for(&self) -> Vec<String> {
        let mut paths: Vec<_> = self.requests.try_iter().collect();
        paths.sort();
        paths
    }
}

fn crawl(args: &[&str]) -> Program {
    Program::new("crawl").args(args)
}

/// Answers one request. An answer that ends with "..." goes on for ever; an empty one never comes.
fn serve(stream: &TcpStream, answer: Answer, asked: impl Fn(&str)) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let request = lines.next().expect("a request")?;
    let path = request.split(' ').nth(1).expect("a path").to_owned();
    let mut host = String::new();
    for line in lines {
        let line = line?;
        host.extend(line.strip_prefix("Host: "));
        if line.is_empty() {
            break;
        }
    }
    asked(&path);
    let answer = answer(&path, &host);
    let mut out = stream;
    match answer.strip_suffix(b"...") {
        None if answer.is_empty() => loop {
            thread::park(); // as long as the test lasts
        },
        None => out.write_all(&answer),
        Some(start) => {
            out.write_all(start)?;
            loop {
                out.write_all(&[b'x'; 4096])?;
            }
        }
    }
}

fn page(body: &str) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}", body.len());
    format!("{head}\r\n\r\n{body}").into()
}

fn moved(to: &str) -> Vec<u8> {
    format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n").into()
}

fn not_found() -> Vec<u8> {
    b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nnone\n".into()
}

fn a_whole_site(path: &str, host: &str) -> Vec<u8> {
    match path {
        "/" => page(&format!(
            "<!DOCTYPE html><TITLE>\n The  start &amp; more\n</TITLE><!-- <a href=/comment> -->
             <script>\"<a href='/script'>\"</script> 1 < 2 <a class=x href = 'sub/page.html'>one</a>
             <A HREF=\"/chunked?a=1&amp;b=2#there\">two</A><a href=\"{:<40}\">three</a>
             <a href=/missing><a href=#here><a href=mailto:me@example.com><a href=https://localhost/>
             <a href='/with space/ü'><a href=/moved><a href=/data><a name=/name>",
            format!("http://{host}/closed"), // as long for each port
        )),
        "/sub/page.html" => page("<title>A page</title><a href=other.html><a href=../missing><a href=./../sub/./page.html>"),
        "/sub/other.html" => page("<a href=..>up</a><a href=.>here</a>"),
        "/chunked?a=1&b=2" => b"HTTP/1.1 200 OK\r\ncontent-type: TEXT/HTML; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n\
            c\r\n<title>In pi\r\n0b; x=y\r\neces</title\r\n1\r\n>\r\n0\r\nTrailer: x\r\n\r\n"
            .into(),
        "/closed" => b"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n<title>\x1b[31mTo the end\x07</title>".into(),
        "/with%20space/%C3%BC" => b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n".into(),
        "/moved" => moved("/moved-again"),
        "/moved-again" => moved("sub/page.html"),
        "/data" => b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 18\r\n\r\n<a href=/in-image>".into(),
        "/sub/" => moved("http://elsewhere.invalid/"),
        _ => not_found(),
    }
}

/// The same, whoever answers first.
#[test]
fn a_site() {
    let site = Site::open(a_whole_site);
    for workers in ["1", "8"] {
        let run = site.crawl(&["--workers", workers]);
        run.check(1, include_str!("../expected/crawl.txt"), "");
        let asked_for = [
            "/",
            "/chunked?a=1&b=2",
            "/closed",
            "/data",
            "/missing",
            "/moved",
            "/moved-again",
            "/sub/",
            "/sub/other.html",
            "/sub/page.html",
            "/sub/page.html",
            "/with%20space/%C3%BC",
        ];
        assert_eq!(site.asked_for(), asked_for);
    }
}

/// Each page links to ten others.
fn a_tree(path: &str, _: &str) -> Vec<u8> {
    let links = (0..10).map(|i| format!("<a href='{path}{i}/'>"));
    page(&links.collect::<String>())
}

#[test]
fn no_deeper_and_no_more_than_wanted() {
    let site = Site::open(a_tree);
    let pages = |args: &[&str]| {
        let run = site.crawl(args);
        assert_eq!((run.code, run.stderr()), (Some(0), ""), "{run:?}");
        site.asked_for().len()
    };
    assert_eq!(pages(&["--depth", "0"]), 1);
    assert_eq!(pages(&["--depth", "1"]), 11);
    assert_eq!(pages(&["--depth", "2", "--pages", "1000"]), 111);
    assert_eq!(pages(&["--pages", "1"]), 1);
    assert_eq!(pages(&["--pages", "57"]), 57);
    assert_eq!(pages(&["--pages", "13", "--depth", "18446744073709551615"]), 13);
    // Of those that are as deep, the first ones.
    let run = site.crawl(&["--pages", "13"]);
    let urls: Vec<_> = run.stdout().lines().filter_map(|line| line.split(' ').next_back()).collect();
    assert_eq!(urls[10..13], ["http://SITE/9/", "http://SITE/0/0/", "http://SITE/0/1/"]);
}

fn links_elsewhere(path: &str, host: &str) -> Vec<u8> {
    match path {
        // The same machine by another name is another host.
        "/" => page(&format!("<a href=http://{}/there>", host.replace("127.0.0.1", "localhost"))),
        _ => page("<title>There</title>"),
    }
}

#[test]
fn other_hosts() {
    let site = Site::open(links_elsewhere);
    let run = site.crawl(&[]);
    assert!(run.stdout().contains("http://SITE/\n1 pages, "), "{run:?}");
    assert_eq!(site.asked_for(), ["/"]);
    let run = site.crawl(&["--all-hosts"]);
    assert!(run.stdout().contains("/there There\n2 pages, "), "{run:?}");
    assert_eq!(site.asked_for(), ["/", "/there"]);
}

fn shy(path: &str, _: &str) -> Vec<u8> {
    let text = "User-agent: other\nDisallow: /public\n\nuser-agent: *\nUser-Agent: another\nDisallow: /private # keep out\n\
        Disallow:\nnonsense\nAllow: /private/open\nUser-agent: third\nDisallow: /\n";
    match path {
        "/" => page("<a href=/private/><a href=/private/open><a href=/public><a href=/moved>"),
        "/robots.txt" => format!("HTTP/1.1 200 OK\r\n\r\n{text}").into(),
        "/moved" => moved("/private/too"),
        _ => page(""),
    }
}

#[test]
fn what_a_site_asks_for() {
    let site = Site::open(shy);
    assert_eq!(site.crawl(&[]).code, Some(0));
    assert_eq!(
        site.asked_for(),
        ["/", "/moved", "/private/", "/private/open", "/private/too", "/public"]
    );
    let said = "200       71  http://SITE/\n\
        ---        -  http://SITE/private/ robots.txt forbids it\n\
        200        0  http://SITE/private/open\n\
        200        0  http://SITE/public\n\
        ---        -  http://SITE/moved robots.txt forbids it\n\
        3 pages, 71 bytes, 0 broken links\n";
    site.crawl(&["--robots"]).check(0, said, "");
    assert_eq!(site.asked_for(), ["/", "/moved", "/private/open", "/public", "/robots.txt"]);
    // Who has no such file asks for nothing.
    let site = Site::open(a_whole_site);
    site.crawl(&["--robots"]).check(1, include_str!("../expected/crawl.txt"), "");
}

fn hostile(path: &str, _: &str) -> Vec<u8> {
    match path {
        "/" => page(
            "<a href=/loop><a href=/endless-head><a href=/endless-body><a href=/endless-chunks><a href=/early>\
             <a href=/early-head><a href=/early-chunk><a href=/bad-chunk><a href=/long-chunk><a href=/length>\
             <a href=/not-http><a href=/headers>",
        ),
        "/loop" => moved("/loop"),
        "/endless-head" => b"HTTP/1.1 200 OK\r\nX: ...".into(),
        "/endless-body" => b"HTTP/1.1 200 OK\r\n\r\n...".into(),
        "/endless-chunks" => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffff\r\n...".into(),
        "/early" => b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort".into(),
        "/early-head" => b"HTTP/1.1 200 OK\r\nContent-Le".into(),
        "/early-chunk" => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n".into(),
        "/bad-chunk" => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nmany\r\n".into(),
        "/long-chunk" => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcdef\r\n0\r\n\r\n".into(),
        "/length" => b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n".into(),
        "/not-http" => b"SSH-2.0-OpenSSH\r\n\r\n".into(),
        "/headers" => format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(1000)).into(),
        _ => not_found(),
    }
}

#[test]
fn a_hostile_site() {
    let run = Site::open(hostile).crawl(&[]);
    run.check(1, include_str!("../expected/crawl_hostile.txt"), "");
}

#[test]
fn a_site_that_is_not_there() {
    let nobody = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/", nobody.local_addr().expect("an address"));
    drop(nobody);
    let refused = "Connection refused (os error 111)";
    let said = format!("---        -  {url} {refused}\n0 pages, 0 bytes, 1 broken links\nbroken: {url} ({refused})\n");
    crawl(&[&url]).run().check(1, &said, "");
}

fn never(path: &str, _: &str) -> Vec<u8> {
    match path {
        "/" => page("<a href=/well><a href=/never>"),
        "/well" => page("<title>Well</title>"),
        _ => Vec::new(),
    }
}

#[test]
fn a_page_that_never_comes() {
    let site = Site::open(never);
    let mut run = site.crawl(&["--timeout", "0.5", "--pages", "3"]);
    for seconds in ["2", "10", "60"] {
        // On a busy machine the other pages may take a while.
        if !run.stdout().contains("2 pages") {
            run = site.crawl(&["--timeout", seconds, "--pages", "3"]);
        }
    }
    let late = "the time for this call is over";
    assert_eq!(run.code, Some(1), "{run:?}");
    let said = format!(
        "http://SITE/never {late}\n2 pages, 48 bytes, 1 broken links\nbroken: http://SITE/never ({late}), on http://SITE/\n"
    );
    assert!(run.stdout().ends_with(&said), "{run:?}");
}

#[test]
fn ctrl_c() {
    let site = Site::open(never);
    let mut running = Running::start(crawl(&[&site.url("/"), "--timeout", "600"]));
    assert_eq!(running.out.line(), format!("200       29  {}\n", site.url("/")));
    assert_eq!(running.out.line(), format!("200       19  {} Well\n", site.url("/well")));
    while site.requests.recv_timeout(TIMEOUT).expect("a request") != "/never" {}
    running
        .interrupt()
        .check(130, "2 pages, 48 bytes, 0 broken links\ninterrupted\n", "");
}

/// However many there are who ask.
#[test]
fn pauses_between_requests() {
    let site = Site::open(a_tree);
    let started = Instant::now();
    let url = site.url("/");
    let run = crawl(&[&url, "--delay", "0.03", "--pages", "8", "--workers", "8"]).run();
    assert!(started.elapsed() >= 7 * Duration::from_millis(30), "{run:?}");
    assert_eq!(site.asked_for().len(), 8);
}

#[test]
fn a_reader_who_has_had_enough_is_no_error() {
    let site = Site::open(a_tree);
    let url = site.url("/");
    let run = crawl(&[&url, "--delay", "0.001"]).run_for_one_line();
    assert_eq!((run.code, run.stderr()), (Some(0), ""), "{run:?}");
}

#[test]
fn wrong_arguments() {
    let help = crawl(&["--help"]).run();
    assert!(help.stdout().starts_with("usage: crawl URL [--depth N] "), "{help:?}");
    help.check(0, help.stdout(), "");
    let wrong: [(&[&str], &str); _] = [
        (&[], "URL is missing"),
        (&["https://localhost/"], "'https://localhost/' is no URL of http"),
        (&["localhost"], "'localhost' is no URL of http"),
        (&["http:///"], "'http:///' is no URL of http"),
        (&["http://a b/"], "'http://a b/' is no URL of http"),
        (&["http://localhost:99999/"], "'http://localhost:99999/' is no URL of http"),
        (&["http://a/", "http://b/"], "more than one URL"),
        (&["http://a/", "--fast"], "unknown option --fast"),
        (&["http://a/", "--pages", "0"], "--pages needs a number of pages, not '0'"),
        (
            &["http://a/", "--delay", "1e99"],
            "--delay needs a number of seconds, not '1e99'",
        ),
    ];
    for (args, message) in wrong {
        crawl(args).run().check(2, "", &format!("{message}\n{}", help.stdout()));
    }
}

#[test]
fn urls() {
    let base = url::Url::parse("HTTP://Example.COM:8080/a/b/c?q#f").expect("a URL");
    assert_eq!(base.to_string(), "http://example.com:8080/a/b/c?q");
    let root = "http://example.com:8080";
    for (reference, target) in [
        ("", "/a/b/c?q"),
        ("#there", "/a/b/c?q"),
        ("?x=/../", "/a/b/c?x=/../"),
        ("d", "/a/b/d"),
        (" d/./e/../f/ ", "/a/b/d/f/"),
        ("..", "/a/"),
        ("../../../../d", "/d"),
        ("/..", "/"),
        ("//example.com:8080", "/"),
        ("http://example.com:8080?y", "/?y"),
        ("a b\n\u{e4}\"", "/a/b/a%20b%C3%A4%22"),
    ] {
        let joined = base.join(reference).expect(reference).to_string();
        assert_eq!(joined, format!("{root}{target}"), "{reference}");
    }
    for other in [
        "https://example.com",
        "mailto:me@example.com",
        "javascript:x()",
        "//a:b/",
        "http://user@host/",
        "http://ho\nst/",
    ] {
        assert_eq!(base.join(other), None, "{other}");
    }
    let local = url::Url::parse("http://[::1]:81").expect("a URL");
    assert_eq!((&*local.host, local.to_string()), ("::1", "http://[::1]:81/".to_string()));
}

/// Whatever it is given, it comes to an end.
#[test]
fn no_html_at_all() {
    let words = [
        "<",
        ">",
        "a",
        " ",
        "href",
        "=",
        "\"",
        "'",
        "/",
        "!--",
        "--",
        "title",
        "script",
        "&amp;",
        "\u{130}",
        "\u{1f980}",
        "\n",
    ];
    let mut seed = 1u64;
    for _ in 0..2000 {
        let mut text = String::new();
        for _ in 0..40 {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            text += words[(seed >> 33) as usize % words.len()];
        }
        let read = html::read(&text);
        assert!(
            read.links.len() <= text.matches("href").count() && read.title.len() <= text.len(),
            "{text}"
        );
    }
    for open in ["<a href=\"", "<!--", "<script>", "<title>", "<a ", "<"] {
        assert!(html::read(&open.repeat(100_000)).links.len() <= 1);
    }
}
