//! What a request is for: a path below the root, without detours.

use crate::response::Status;
use std::ffi::OsStr;
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

pub(crate) struct Target {
    /// Names of directories, and of what is asked for. None is empty, `.` or `..`, and none has a slash or a zero byte.
    names: Vec<Vec<u8>>,
    /// It ended with a slash.
    pub(crate) is_directory: bool,
}

impl Target {
    /// # Errors
    /// The status for a target that is no path, or leads upwards.
    pub(crate) fn parse(text: &str) -> Result<Target, Status> {
        let path = text.split(['?', '#']).next().unwrap_or_default();
        let path = strip_origin(path).strip_prefix('/').ok_or(Status::BAD_REQUEST)?;
        let mut names = Vec::new();
        for part in path.split('/') {
            match decode(part).ok_or(Status::BAD_REQUEST)? {
                name if name.is_empty() || name == b"." => {}
                name if name == b".." || name.contains(&0) => return Err(Status::BAD_REQUEST),
                name if name.contains(&b'/') => return Err(Status::NOT_FOUND),
                name => names.push(name),
            }
        }
        Ok(Target {
            is_directory: path.is_empty() || path.ends_with('/'),
            names,
        })
    }

    /// Where it lies.
    pub(crate) fn below(&self, root: &Path) -> PathBuf {
        let names = self.names.iter().map(|name| OsStr::from_bytes(name));
        root.iter().chain(names).collect()
    }

    /// The path of the directory, for a `Location`. It begins with one slash: two would name another host.
    pub(crate) fn as_directory(&self) -> String {
        let names = self.names.iter().map(|name| encode(name) + "/");
        "/".to_owned() + &names.collect::<String>()
    }

    /// The path as people read it.
    pub(crate) fn title(&self) -> String {
        let names = self.names.iter().map(|name| String::from_utf8_lossy(name) + "/");
        "/".to_owned() + &names.collect::<String>()
    }
}

/// The path of an absolute target, as clients send it to proxies.
fn strip_origin(target: &str) -> &str {
    match target.split_at_checked(7) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http://") => rest.find('/').map_or("/", |slash| &rest[slash..]),
        _ => target,
    }
}

/// Each `%XX` is a byte. `None`: a `%` without two digits.
fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => digit(bytes.next()?)? << 4 | digit(bytes.next()?)?,
            byte => byte,
        });
    }
    Some(decoded)
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

/// Everything that could mean something in a URL becomes `%XX`, also a colon: `javascript:` is a file name here and no scheme.
pub(crate) fn encode(name: &[u8]) -> String {
    let mut text = String::new();
    for &byte in name {
        match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'.' | b'_' | b'~' => text.push(byte.into()),
            byte => write!(text, "%{byte:02X}").expect("a string takes everything"),
        }
    }
    text
}
