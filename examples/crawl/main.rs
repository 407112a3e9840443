//! Visits the pages of a site, starting at one and following links, and reports which links are broken.
//!
//! `cargo run --release --example crawl -- http://localhost:8000/ --depth 3`
//!
//! ```text
//!           jobs, each with a channel for the reply
//!   crawl ──────────────────────────────────────────> visit (N fibers)
//!     ^                                                 │
//!     └─────────────────────────────────────────────────┘
//!           pages, taken in the order of their jobs
//! ```
//!
//! The pages of one depth are all visited before those of the next. So what is visited, and the order in which it is printed, depends
//! on the site and not on who answers first. Nobody is asked for two pages at the same moment: hosts have a pause between requests,
//! which the workers wait for in turn. How many pages there are, how long each may be and how long it may take is limited.
//!
//! Ctrl-C or SIGTERM gives up what is under way, and reports what there is.

mod html;
mod http;
mod robots;
mod url;

use fibers::sync::{Mutex, OnceCell};
use fibers::{Cond, Receiver, Sender, go, select, time, unbounded};
use fibers_examples::{Args, complain, positive, seconds, seconds_or_none, stop_on_signal};
use robots::Rules;
use std::collections::{HashMap, HashSet};
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use url::Url;

const USAGE: &str = "\
usage: crawl URL [--depth N] [--pages N] [--workers N] [--delay SECONDS]
             [--timeout SECONDS] [--all-hosts] [--robots]

Visits URL, which is http://.., and the pages that it links to. Prints status,
size in bytes, URL and title of each, and then which links are broken.

  --depth N          follow links so many times (default: 3)
  --pages N          visit so many pages at most (default: 100)
  --workers N        visit so many at once (default: 8)
  --delay SECONDS    pause between requests to one host (default: 0.1)
  --timeout SECONDS  give up a page after so long (default: 10)
  --all-hosts        follow links to other hosts as well
  --robots           visit only what the robots.txt of a host allows
  -h, --help         print this text

The exit code is 0 if all is well, 1 if a link is broken, 130 after Ctrl-C.";

/// How many redirects in a row are followed.
const REDIRECTS: usize = 5;

struct Options {
    start: Url,
    depth: usize,
    pages: usize,
    workers: usize,
    delay: Duration,
    timeout: Duration,
    all_hosts: bool,
    robots: bool,
}

fn parse(args: &mut Args) -> Result<Options, String> {
    const SECONDS: &str = "a number of seconds";
    let (mut start, mut depth, mut pages, mut workers) = (None, 3, 100, 8);
    let (mut all_hosts, mut robots) = (false, false);
    let (mut delay, mut timeout) = (Duration::from_millis(100), Duration::from_secs(10));
    while let Some(arg) = args.text()? {
        match &*arg {
            "--depth" => depth = args.value(&arg, "a number", |text| text.parse().ok())?,
            "--pages" => pages = args.value(&arg, "a number of pages", positive)?,
            "--workers" => workers = args.value(&arg, "a number of workers", positive)?,
            "--delay" => delay = args.value(&arg, SECONDS, seconds_or_none)?,
            "--timeout" => timeout = args.value(&arg, SECONDS, seconds)?,
            "--all-hosts" => all_hosts = true,
            "--robots" => robots = true,
            option if option.starts_with('-') => return Err(format!("unknown option {option}")),
            _ if start.is_some() => return Err("more than one URL".into()),
            text => start = Some(Url::parse(text).ok_or_else(|| format!("'{text}' is no URL of http"))?),
        }
    }
    Ok(Options {
        start: start.ok_or("URL is missing")?,
        depth,
        pages,
        workers,
        delay,
        timeout,
        all_hosts,
        robots,
    })
}

#[fibers::main]
fn main() -> ExitCode {
    let options = fibers_examples::options(USAGE, parse);
    match crawl(options) {
        Ok(code) => code,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS, // the reader has had enough
        Err(error) => {
            complain(format_args!("crawl: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// A URL, and the page on which it was found.
struct Found {
    url: Url,
    on: Option<Url>,
}

/// What a worker is to do, and where the result is wanted.
struct Job {
    url: Url,
    reply: Sender<Result<Page, Failure>>,
}

fn crawl(options: Options) -> io::Result<ExitCode> {
    let stop = stop_on_signal()?;
    let visitor = Arc::new(Visitor {
        turns: Mutex::new(HashMap::new()),
        rules: Mutex::new(HashMap::new()),
        stop: stop.clone(),
        options,
    });
    let options = &visitor.options;
    let (jobs, to_do) = unbounded();
    for _ in 0..options.workers.min(options.pages) {
        go!(clone(visitor, to_do); { visitor.work(to_do) });
    }

    let mut known = HashSet::from([options.start.clone()]);
    let mut level = vec![Found {
        url: options.start.clone(),
        on: None,
    }];
    let mut report = Report::default();
    for depth in 0..=options.depth {
        let mut next = Vec::new();
        for (found, visited) in visit_all(level, &jobs) {
            let visited = visited.recv().expect("a worker replies to each job");
            let links = report.add(&found, visited)?;
            for url in links
                .into_iter()
                .filter(|url| depth < options.depth && visitor.may_visit(url))
            {
                if known.len() < options.pages && known.insert(url.clone()) {
                    let on = Some(found.url.clone());
                    next.push(Found { url, on });
                }
            }
        }
        level = next;
        if level.is_empty() {
            break; // however deep it may be
        }
    }
    report.finish(stop.is_signalled())
}

/// Gives the workers all pages of one depth, of which there are no more than all pages together may be. In the same order, what they
/// find.
fn visit_all(level: Vec<Found>, jobs: &Sender<Job>) -> Vec<(Found, Receiver<Result<Page, Failure>>)> {
    let visit = |found: Found| {
        let (reply, visited) = fibers::channel(1);
        let url = found.url.clone();
        jobs.send(Job { url, reply }).expect("the workers wait for jobs");
        (found, visited)
    };
    level.into_iter().map(visit).collect()
}

/// A page as it was found.
struct Page {
    status: u16,
    size: usize,
    /// There is more of it.
    is_cut: bool,
    title: String,
    links: Vec<Url>,
}

/// Why there is no page.
enum Failure {
    Interrupted,
    Forbidden,
    Failed(String),
}

/// What all workers share.
struct Visitor {
    options: Options,
    /// When each host may be asked again.
    turns: Mutex<HashMap<String, Instant>>,
    /// What each host asks for, once it has been asked.
    rules: Mutex<HashMap<String, Arc<OnceCell<Rules>>>>,
    stop: Cond,
}

impl Visitor {
    fn work(&self, jobs: Receiver<Job>) {
        for Job { url, reply } in jobs {
            // Nobody waits for it any more if the output has failed.
            let _ = reply.send(self.visit(url));
        }
    }

    /// Fetches a page, wherever it has been moved to.
    fn visit(&self, mut url: Url) -> Result<Page, Failure> {
        for _ in 0..=REDIRECTS {
            if self.options.robots && !self.is_allowed(&url)? {
                return Err(Failure::Forbidden);
            }
            self.wait_for_turn(&url)?;
            let response = self.get(&url)?;
            match response.location.as_ref().and_then(|location| url.join(location)) {
                Some(next) if self.may_visit(&next) => url = next,
                _ => return Ok(page(&url, response)),
            }
        }
        Err(Failure::Failed(format!("more than {REDIRECTS} redirects")))
    }

    fn may_visit(&self, url: &Url) -> bool {
        self.options.all_hosts || url.authority() == self.options.start.authority()
    }

    /// Whether the host of a page allows to visit it. Whoever is the first to ask fetches its rules, and the others wait for them.
    fn is_allowed(&self, url: &Url) -> Result<bool, Failure> {
        let rules = self.rules.lock().entry(url.authority()).or_default().clone();
        let rules = rules.get_or_try_init(|| {
            self.wait_for_turn(url)?;
            let response = self.get(&url.with_target("/robots.txt"))?;
            Ok(match response.status {
                200 => Rules::read(&String::from_utf8_lossy(&response.body)),
                _ => Rules::default(),
            })
        })?;
        Ok(rules.allow(&url.target))
    }

    /// Whoever comes first is given the first turn, and waits without keeping others from being given theirs.
    fn wait_for_turn(&self, url: &Url) -> Result<(), Failure> {
        let turn = {
            let mut turns = self.turns.lock();
            let next = turns.entry(url.authority()).or_insert_with(time::now);
            let turn = time::now().max(*next);
            *next = turn + self.options.delay;
            turn
        };
        select! {
            biased;
            <-self.stop => Err(Failure::Interrupted),
            <-time::sleep_until_op(turn) => Ok(()),
        }
    }

    /// On a fiber of its own, which can be left alone: it ends in time by itself.
    fn get(&self, url: &Url) -> Result<http::Response, Failure> {
        let (url, limit) = (url.clone(), self.options.timeout);
        let getting = go!(name = "get"; { http::get(&url, limit) });
        select! {
            got = <-getting => match got {
                Ok(got) => got.map_err(|error| Failure::Failed(error.to_string())),
                // At the end of the program that fiber may be gone before this one is.
                Err(error) => Err(Failure::Failed(error.to_string())),
            },
            <-self.stop => Err(Failure::Interrupted),
        }
    }
}

fn page(url: &Url, response: http::Response) -> Page {
    let html = match response.is_html {
        true => html::read(&String::from_utf8_lossy(&response.body)),
        false => html::Html::default(),
    };
    Page {
        status: response.status,
        size: response.body.len(),
        is_cut: response.is_cut,
        title: html.title,
        links: html.links.iter().filter_map(|link| url.join(link)).collect(),
    }
}

/// What has been found so far. Prints it as it comes.
#[derive(Default)]
struct Report {
    pages: usize,
    bytes: usize,
    broken: Vec<String>,
}

impl Report {
    /// Prints a page, and returns its links.
    fn add(&mut self, found: &Found, visited: Result<Page, Failure>) -> io::Result<Vec<Url>> {
        let (url, mut out) = (&found.url, fibers::io::stdout());
        match visited {
            Ok(page) => {
                self.pages += 1;
                self.bytes += page.size;
                let more = if page.is_cut { "+" } else { " " };
                let line = format!("{} {:>8}{more} {url} {}", page.status, page.size, page.title);
                writeln!(out, "{}", line.trim_end())?;
                if page.status >= 400 {
                    self.add_broken(found, &page.status.to_string());
                }
                Ok(page.links)
            }
            Err(Failure::Failed(why)) => {
                writeln!(out, "--- {:>8}  {url} {why}", "-")?;
                self.add_broken(found, &why);
                Ok(Vec::new())
            }
            Err(Failure::Forbidden) => {
                writeln!(out, "--- {:>8}  {url} robots.txt forbids it", "-")?;
                Ok(Vec::new())
            }
            Err(Failure::Interrupted) => Ok(Vec::new()),
        }
    }

    fn add_broken(&mut self, found: &Found, why: &str) {
        let on = found.on.as_ref().map_or(String::new(), |on| format!(", on {on}"));
        self.broken.push(format!("broken: {} ({why}){on}", found.url));
    }

    fn finish(&self, is_interrupted: bool) -> io::Result<ExitCode> {
        let (mut out, broken) = (fibers::io::stdout(), self.broken.len());
        writeln!(out, "{} pages, {} bytes, {broken} broken links", self.pages, self.bytes)?;
        for line in &self.broken {
            writeln!(out, "{line}")?;
        }
        if is_interrupted {
            writeln!(out, "interrupted")?;
        }
        Ok(ExitCode::from(match (is_interrupted, broken) {
            (true, _) => 130,
            (false, 0) => 0,
            (false, _) => 1,
        }))
    }
}
