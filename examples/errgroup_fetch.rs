//! Fetches pages from several sources, a few at a time. The first failure stops all: who has not answered by then is given up.
//!
//! The sources are simulated, so that each run prints the same.
//!
//! `cargo run --release --example errgroup_fetch`

use fibers::scope::{TryScope, try_scope};
use fibers::{Op, op, select};
use std::fmt;
use std::sync::Mutex;

/// How many requests are under way at once.
const AT_ONCE: usize = 3;

#[derive(Clone, Copy)]
enum Source {
    Answers { name: &'static str, page: &'static str },
    Refuses { name: &'static str },
    Hangs { name: &'static str },
}

const SOURCES: [Source; 7] = [
    Source::Answers {
        name: "alpha",
        page: "one",
    },
    Source::Answers {
        name: "beta",
        page: "two",
    },
    Source::Hangs { name: "gamma" },
    Source::Answers {
        name: "delta",
        page: "three",
    },
    Source::Refuses { name: "epsilon" },
    Source::Hangs { name: "zeta" },
    Source::Hangs { name: "eta" },
];

/// Why there is no page.
#[derive(Debug)]
enum Failure {
    Refused(&'static str),
    GivenUp,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Refused(name) => write!(f, "{name} refused the connection"),
            Failure::GivenUp => write!(f, "given up"),
        }
    }
}

impl Source {
    fn name(self) -> &'static str {
        match self {
            Source::Answers { name, .. } | Source::Refuses { name } | Source::Hangs { name } => name,
        }
    }

    /// The operation that waits for the page; a real one would be `stream.read_op(..)`.
    fn fetch_op(self) -> impl Op<Output = Result<&'static str, Failure>> {
        match self {
            Source::Answers { page, .. } => op::always(Ok(page)).boxed(),
            Source::Refuses { name } => op::always(Err(Failure::Refused(name))).boxed(),
            Source::Hangs { .. } => op::never().boxed(),
        }
    }

    /// Waits for the page, or for the end of the group, whichever comes first.
    fn fetch(self, group: &TryScope<'_, '_, Failure>) -> Result<&'static str, Failure> {
        select! {
            biased;
            page = self.fetch_op() => page,
            _ = group.cancelled_op() => Err(Failure::GivenUp),
        }
    }
}

/// The pages of all sources, or the first failure and the names of those who have not answered.
fn fetch_all(sources: &[Source]) -> Result<Vec<&'static str>, (Failure, Vec<&'static str>)> {
    let given_up = Mutex::new(Vec::new());
    let pages = try_scope(|group| {
        group.limit(AT_ONCE);
        let fetch = |source: &Source| {
            let (source, given_up) = (*source, &given_up);
            group.spawn(move || {
                source.fetch(group).inspect_err(|failure| {
                    if let Failure::GivenUp = failure {
                        given_up.lock().expect("nobody panics with it").push(source.name());
                    }
                })
            })
        };
        // With all under way or done: the first page is first, whoever was faster.
        let requests: Vec<_> = sources.iter().map(fetch).collect();
        Ok(requests
            .into_iter()
            .filter_map(|request| request.join().expect("no request panics"))
            .collect())
    });
    pages.map_err(|failure| {
        let mut given_up = given_up.into_inner().expect("nobody panics with it");
        given_up.sort_unstable();
        (failure, given_up)
    })
}

fn report(sources: &[Source]) {
    let names: Vec<_> = sources.iter().map(|source| source.name()).collect();
    println!("asking {}", names.join(", "));
    match fetch_all(sources) {
        Ok(pages) => println!("  fetched: {}", pages.join(", ")),
        Err((failure, given_up)) => println!("  failed: {failure}\n  given up: {}", given_up.join(", ")),
    }
}

#[fibers::main]
fn main() {
    report(&SOURCES);
    let answering = SOURCES.map(|source| matches!(source, Source::Answers { .. }).then_some(source));
    report(&answering.into_iter().flatten().collect::<Vec<_>>());
}
