//! The page of a directory that has none of its own.

use crate::response::{Response, Status};
use crate::target::{Target, encode};
use fibers::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The most entries of a page: a directory of any size takes no more memory than these.
const MOST: usize = 10_000;

/// Lists the directory at `path`, which the client knows as `target`: directories first, both by name.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn page(target: &Target, path: &Path) -> io::Result<Response> {
    let mut entries = Vec::new();
    let mut found = fs::read_dir(path)?;
    for entry in found.by_ref().take(MOST) {
        let entry = entry?;
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        entries.push((!is_dir, entry.file_name()));
    }
    entries.sort();

    let title = escape(&target.title());
    let mut html = format!("<!DOCTYPE html>\n<meta charset=\"utf-8\">\n<title>{title}</title>\n<h1>{title}</h1>\n<ul>\n");
    if target.title() != "/" {
        html += "<li><a href=\"../\">../</a></li>\n";
    }
    for (is_no_dir, name) in &entries {
        let (link, text) = (encode(name.as_bytes()), escape(&name.to_string_lossy()));
        let slash = if *is_no_dir { "" } else { "/" };
        html += &format!("<li><a href=\"{link}{slash}\">{text}{slash}</a></li>\n");
    }
    html += "</ul>\n";
    if found.next().is_some() {
        html += "<p>There are more.</p>\n";
    }
    Ok(Response::html(Status::OK, html))
}

/// Text that means nothing to a browser, whatever a file is called.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            letter => escaped.push(letter),
        }
    }
    escaped
}
