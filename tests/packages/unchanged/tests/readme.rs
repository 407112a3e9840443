//! The page "Crates that run on fibers" of the README: each row names a test, and each test has its row.

use std::collections::BTreeSet;
use std::path::Path;

/// The text of a link and where it leads, of the last cell of each row.
fn rows() -> BTreeSet<(String, String)> {
    let readme = include_str!("../../../../README.md");
    let section = readme
        .split("\n## ")
        .find(|section| section.starts_with("Crates that run on fibers"));
    let rows = section
        .expect("the page is there")
        .lines()
        .filter(|line| line.ends_with(") |"));
    rows.map(|row| {
        let (_, link) = row.rsplit_once("| [").expect("a link in the last cell");
        let (name, path) = link.trim_end_matches(") |").split_once("](").expect("a link");
        (name.to_owned(), path.to_owned())
    })
    .collect()
}

fn source(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
    std::fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn each_row_is_a_test() {
    let rows = rows();
    assert!(rows.len() >= 20, "{} rows", rows.len());
    for (name, path) in rows {
        assert!(
            source(&path).contains(&format!("#[test]\nfn {name}()")),
            "{path} has no test {name}"
        );
    }
}

#[test]
fn whatever_blocks_has_its_row() {
    let rows = rows();
    let path = "tests/packages/unchanged/tests/blocking.rs";
    for test in source(path).split("#[test]\nfn ").skip(1) {
        let name = test.split("()").next().expect("a name");
        assert!(rows.contains(&(name.into(), path.into())), "{name} has no row");
    }
}
