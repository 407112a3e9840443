//! As much of URLs as a crawler needs that speaks http alone: absolute ones, and references that are relative to one (RFC 3986,
//! section 5). No user names, no names of hosts beyond ASCII. What stands behind a `#` is left out.

use std::fmt;

/// Where a page is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Url {
    /// In small letters; an address of IPv6 without its brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Path and query, as a request names them.
    pub(crate) target: String,
}

impl Url {
    /// None if it is no absolute URL of http, or one that is not understood here.
    pub(crate) fn parse(text: &str) -> Option<Url> {
        let (scheme, rest) = text.trim().split_once("://")?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (host, port) = authority(&rest[..end])?;
        scheme.eq_ignore_ascii_case("http").then(|| Url {
            host,
            port,
            target: target("/", &rest[end..]),
        })
    }

    /// What a reference on this page means. None if that is not for http.
    pub(crate) fn join(&self, reference: &str) -> Option<Url> {
        let reference = reference.trim();
        let scheme = reference
            .split(['/', '?', '#'])
            .next()
            .is_some_and(|start| start.contains(':'));
        match reference {
            _ if scheme => Url::parse(reference),
            _ if reference.starts_with("//") => Url::parse(&format!("http:{reference}")),
            _ => Some(self.with_target(&target(&self.target, reference))),
        }
    }

    /// Another page of the same host.
    pub(crate) fn with_target(&self, target: &str) -> Url {
        Url {
            target: target.to_owned(),
            ..self.clone()
        }
    }

    /// Host and port, as in the header `Host`.
    pub(crate) fn authority(&self) -> String {
        let host = match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        };
        match self.port {
            80 => host,
            port => format!("{host}:{port}"),
        }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority(), self.target)
    }
}

fn authority(text: &str) -> Option<(String, u16)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let port = match port {
        "" | ":" => 80,
        port => port.strip_prefix(':')?.parse().ok()?,
    };
    let is_fine = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b) || text.starts_with('[') && b == b':';
    let fine = !host.is_empty() && host.bytes().all(is_fine);
    fine.then(|| (host.to_ascii_lowercase(), port))
}

/// Path and query of `reference` on a page with those of `base`.
fn target(base: &str, reference: &str) -> String {
    let reference = reference.split('#').next().unwrap_or_default();
    let (base_path, base_query) = split_query(base);
    let (path, query) = split_query(reference);
    if path.is_empty() {
        let query = if query.is_empty() { base_query } else { query };
        return encode(base_path) + &encode(query);
    }
    let directory = match path.starts_with('/') {
        true => "",
        false => &base_path[..base_path.rfind('/').map_or(0, |slash| slash + 1)],
    };
    encode(&without_dots(&format!("{directory}{path}"))) + &encode(query)
}

/// The path, and the query with its question mark.
fn split_query(target: &str) -> (&str, &str) {
    target.split_at(target.find('?').unwrap_or(target.len()))
}

/// A path without `.` and `..`.
fn without_dots(path: &str) -> String {
    let mut parts = Vec::new();
    let mut names = path.split('/').skip(1).peekable();
    while let Some(name) = names.next() {
        let is_last = names.peek().is_none();
        match name {
            "." | ".." => {
                if name == ".." {
                    parts.pop();
                }
                if is_last {
                    parts.push("");
                }
            }
            name => parts.push(name),
        }
    }
    format!("/{}", parts.join("/"))
}

/// What a request line cannot contain, in percent.
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes().filter(|byte| !b"\t\r\n".contains(byte)) {
        match byte {
            0..=b' ' | 0x7f.. | b'"' | b'<' | b'>' => encoded += &format!("%{byte:02X}"),
            byte => encoded.push(byte.into()),
        }
    }
    encoded
}
