//! What lies below the root, and which answer it makes.

use crate::range::{Wanted, wanted};
use crate::request::Request;
use crate::response::{Body, Method, Response, Status};
use crate::target::Target;
use crate::{listing, response};
use fibers::fs::{self, File, OpenOptions};
use std::ffi::OsStr;
use std::fs::Metadata;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

pub(crate) struct Site {
    /// Without links in it.
    root: PathBuf,
}

impl Site {
    /// # Errors
    /// If `root` is no directory, or cannot be read.
    pub(crate) fn new(root: &Path) -> io::Result<Site> {
        fs::read_dir(root)?;
        Ok(Site {
            root: fs::canonicalize(root)?,
        })
    }

    pub(crate) fn respond(&self, request: &Request) -> Response {
        let target = match Target::parse(&request.target) {
            Ok(target) => target,
            Err(status) => return Response::error(status),
        };
        let answer = self.find(&target.below(&self.root)).and_then(|found| match found.is_dir() {
            true if !target.is_directory => Ok(Response::moved(&target.as_directory())),
            true => self.directory(request, &target, &found),
            false if target.is_directory => Ok(Response::error(Status::NOT_FOUND)),
            false => found.answer(request),
        });
        answer.unwrap_or_else(|error| Response::error(status_of(&error)))
    }

    /// The page that the directory has, or else a list of what is in it.
    fn directory(&self, request: &Request, target: &Target, found: &Found) -> io::Result<Response> {
        match self.find(&found.real.join("index.html")) {
            Ok(page) if page.is_file() => page.answer(request),
            Ok(_) => listing::page(target, &found.opened()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => listing::page(target, &found.opened()),
            Err(error) => Err(error),
        }
    }

    /// Looks at what has that path without opening it: a look has no effect on a pipe or a device, whose opening may wait for ever.
    ///
    /// Symbolic links are followed. Where they have led is asked of the system after the fact, so nobody can exchange a directory
    /// for a link between a check and its use. Outside of the root there is nothing to be found.
    fn find(&self, path: &Path) -> io::Result<Found> {
        let handle = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path)?;
        let real = fs::read_link(through(&handle))?;
        if !real.starts_with(&self.root) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let metadata = handle.metadata()?;
        Ok(Found { handle, real, metadata })
    }
}

/// The path under which the system has what a descriptor of ours refers to.
fn through(file: &File) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

/// Something below the root.
struct Found {
    handle: File,
    real: PathBuf,
    metadata: Metadata,
}

impl Found {
    fn is_dir(&self) -> bool {
        self.metadata.is_dir()
    }

    fn is_file(&self) -> bool {
        self.metadata.is_file()
    }

    /// The path of the very thing that was found, whatever has that name now.
    fn opened(&self) -> PathBuf {
        through(&self.handle)
    }

    /// The file, or the part of it that is wanted, or that nothing has changed.
    fn answer(&self, request: &Request) -> io::Result<Response> {
        if !self.is_file() {
            return Ok(Response::error(Status::FORBIDDEN));
        }
        let file = File::open(self.opened())?;
        // Again, since it may have grown.
        let metadata = file.metadata()?;
        let version = Version::of(&metadata);
        let length = metadata.len();
        let mut response = match self.part(request, &version, length) {
            _ if version.is_known_to(request) => Response::new(Status::NOT_MODIFIED, Body::None),
            Wanted::All => Response::new(Status::OK, Body::File(file, 0..length)),
            Wanted::Part(part) => {
                let bytes = format!("bytes {}-{}/{length}", part.start, part.end - 1);
                Response::new(Status::PARTIAL, Body::File(file, part)).with("Content-Range", bytes)
            }
            Wanted::Nothing => Response::error(Status::RANGE).with("Content-Range", format!("bytes */{length}")),
        };
        if matches!(response.body, Body::File(..)) {
            response = response.with("Content-Type", content_type(&self.real));
        }
        response = response.with("Accept-Ranges", "bytes").with("ETag", version.tag);
        Ok(match version.modified {
            Some(date) => response.with("Last-Modified", date),
            None => response,
        })
    }

    /// Whoever has a part of another version gets all of this one. Only a GET can want a part.
    fn part(&self, request: &Request, version: &Version, length: u64) -> Wanted {
        match (&request.range, &request.if_range) {
            _ if request.method != Method::Get => Wanted::All,
            (Some(range), None) => wanted(range, length),
            (Some(range), Some(known)) if version.is(known) => wanted(range, length),
            _ => Wanted::All,
        }
    }
}

/// What tells one state of a file from another.
struct Version {
    tag: String,
    /// Whole seconds; none for moments that HTTP cannot name.
    modified: Option<String>,
}

impl Version {
    fn of(metadata: &Metadata) -> Version {
        let (seconds, nanos) = (metadata.mtime(), metadata.mtime_nsec());
        Version {
            tag: format!("\"{:x}-{seconds:x}.{nanos:x}-{:x}\"", metadata.ino(), metadata.len()),
            modified: metadata.modified().ok().and_then(response::date),
        }
    }

    /// Whether the client has this one already. Tags are exact, so the date counts only where there are none.
    fn is_known_to(&self, request: &Request) -> bool {
        if let Some(tags) = &request.if_none_match {
            let known = |tag: &str| tag == "*" || tag.trim_start_matches("W/") == self.tag;
            return tags.split(',').any(|tag| known(tag.trim()));
        }
        let dates = request.if_modified_since.as_deref().zip(self.modified.as_deref());
        let dates = dates.and_then(|(since, modified)| Some((parse_date(since)?, parse_date(modified)?)));
        dates.is_some_and(|(since, modified)| modified <= since)
    }

    /// Whether `known`, a tag or a date, is this one.
    fn is(&self, known: &str) -> bool {
        known == self.tag || self.modified.as_deref() == Some(known)
    }
}

fn parse_date(text: &str) -> Option<std::time::SystemTime> {
    httpdate::parse_http_date(text).ok()
}

fn status_of(error: &io::Error) -> Status {
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENOTDIR | libc::ENAMETOOLONG | libc::ELOOP) => Status::NOT_FOUND,
        Some(libc::EACCES | libc::EPERM) => Status::FORBIDDEN,
        Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM) => Status::UNAVAILABLE,
        None if error.kind() == io::ErrorKind::NotFound => Status::NOT_FOUND,
        _ => Status::INTERNAL,
    }
}

/// By the suffix of the name. What is not known is not guessed: a browser offers to save it.
fn content_type(path: &Path) -> &'static str {
    let suffix = path.extension().and_then(OsStr::to_str).unwrap_or_default();
    match &*suffix.to_ascii_lowercase() {
        "html" | "htm" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "txt" | "md" | "rs" | "toml" | "log" => "text/plain; charset=utf-8",
        "csv" => "text/csv; charset=utf-8",
        "json" => "application/json",
        "xml" => "application/xml",
        "pdf" => "application/pdf",
        "wasm" => "application/wasm",
        "zip" => "application/zip",
        "gz" => "application/gzip",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "svg" => "image/svg+xml",
        "webp" => "image/webp",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "mp3" => "audio/mpeg",
        "mp4" => "video/mp4",
        "webm" => "video/webm",
        _ => "application/octet-stream",
    }
}
