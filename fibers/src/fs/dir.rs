//! Making directories, and reading them, a batch of entries at a time.

use crate::blocking::call;
use crate::prim::Arc;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, FileType, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, DirEntryExt};
use std::path::{Path, PathBuf};

/// Entries fetched by one call on the pool: enough that its price does not matter, few enough that a directory of any size takes
/// little memory.
const BATCH: usize = 128;

/// How a directory is to be made, as [`std::fs::DirBuilder`] has it.
///
/// ```
/// use fibers::fs::{self, DirBuilder};
/// let path = std::env::temp_dir().join(format!("fibers-dir-{}", std::process::id()));
/// fibers::run(|| {
///     DirBuilder::new().recursive(true).mode(0o700).create(path.join("below")).unwrap();
///     fs::remove_dir_all(&path).unwrap();
/// });
/// ```
#[derive(Clone, Debug)]
pub struct DirBuilder {
    recursive: bool,
    mode: u32,
}

impl DirBuilder {
    /// One directory, of which the mask of the process says who may use it.
    pub fn new() -> DirBuilder {
        DirBuilder {
            recursive: false,
            mode: 0o777,
        }
    }

    /// Those above it that are missing are made as well, and one that exists is no error.
    pub fn recursive(&mut self, recursive: bool) -> &mut DirBuilder {
        self.recursive = recursive;
        self
    }

    /// The permissions of what is made, less the mask of the process. Default: `0o777`.
    pub fn mode(&mut self, mode: u32) -> &mut DirBuilder {
        self.mode = mode;
        self
    }

    /// Makes it.
    ///
    /// # Errors
    /// As [`std::fs::DirBuilder::create`].
    ///
    /// # Blocking
    /// Suspends the fiber, or blocks the thread.
    pub fn create(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let (DirBuilder { recursive, mode }, path) = (self.clone(), path.as_ref().to_owned());
        call(move || fs::DirBuilder::new().recursive(recursive).mode(mode).create(path))
    }
}

impl Default for DirBuilder {
    fn default() -> DirBuilder {
        DirBuilder::new()
    }
}

/// The entries of a directory, in no particular order, without `.` and `..`.
///
/// # Errors
/// As [`std::fs::read_dir`]. Each entry may fail for itself.
///
/// # Blocking
/// Suspends the fiber, or blocks the thread: this call, and every now and then the iterator, which fetches entries in batches.
///
/// ```
/// fibers::run(|| {
///     let mut names: Vec<_> = fibers::fs::read_dir("src/fs").unwrap().map(|entry| entry.unwrap().file_name()).collect();
///     names.sort();
///     assert_eq!(names, ["dir.rs", "file.rs", "lock.rs", "replace.rs"]);
/// });
/// ```
pub fn read_dir(path: impl AsRef<Path>) -> io::Result<ReadDir> {
    let path = path.as_ref().to_owned();
    call(|| {
        let mut dir = ReadDir {
            rest: Some(fs::read_dir(path)?),
            ready: VecDeque::new(),
        };
        dir.fetch();
        Ok(dir)
    })
}

/// The entries of a directory: see [`read_dir`].
pub struct ReadDir {
    /// None: there is nothing more.
    rest: Option<fs::ReadDir>,
    ready: VecDeque<io::Result<DirEntry>>,
}

impl ReadDir {
    fn fetch(&mut self) {
        let Some(rest) = &mut self.rest else { return };
        self.ready.extend(rest.take(BATCH).map(|entry| entry.map(DirEntry::new)));
        if self.ready.len() < BATCH {
            self.rest = None;
        }
    }
}

impl Iterator for ReadDir {
    type Item = io::Result<DirEntry>;

    fn next(&mut self) -> Option<io::Result<DirEntry>> {
        if self.ready.is_empty() && self.rest.is_some() {
            let mut dir = ReadDir {
                rest: self.rest.take(),
                ready: VecDeque::new(),
            };
            let fetched = call(|| {
                dir.fetch();
                Ok(dir)
            });
            match fetched {
                Ok(dir) => *self = dir,
                Err(error) => return Some(Err(error)),
            }
        }
        self.ready.pop_front()
    }
}

impl fmt::Debug for ReadDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadDir")
            .field("fetched", &self.ready.len())
            .field("more", &self.rest.is_some())
            .finish()
    }
}

/// An entry of a directory.
#[derive(Clone)]
pub struct DirEntry {
    entry: Arc<fs::DirEntry>,
    /// Most file systems tell it with the name.
    file_type: Option<FileType>,
}

impl DirEntry {
    fn new(entry: fs::DirEntry) -> DirEntry {
        DirEntry {
            file_type: entry.file_type().ok(),
            entry: Arc::new(entry),
        }
    }

    /// The path that was given to [`read_dir`], and the name.
    pub fn path(&self) -> PathBuf {
        self.entry.path()
    }

    /// The name alone.
    pub fn file_name(&self) -> OsString {
        self.entry.file_name()
    }

    /// The number of the inode.
    pub fn ino(&self) -> u64 {
        self.entry.ino()
    }

    /// What it is; links are not followed.
    ///
    /// # Errors
    /// As [`std::fs::DirEntry::file_type`].
    ///
    /// # Blocking
    /// Only if the directory did not tell.
    pub fn file_type(&self) -> io::Result<FileType> {
        if let Some(file_type) = self.file_type {
            return Ok(file_type);
        }
        let entry = self.entry.clone();
        call(move || entry.file_type())
    }

    /// What is known of it; links are not followed.
    ///
    /// # Errors
    /// As [`std::fs::DirEntry::metadata`].
    ///
    /// # Blocking
    /// Suspends the fiber, or blocks the thread.
    pub fn metadata(&self) -> io::Result<Metadata> {
        let entry = self.entry.clone();
        call(move || entry.metadata())
    }
}

impl fmt::Debug for DirEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DirEntry").field(&self.path()).finish()
    }
}
