//! The file system, as `std::fs` has it, without blocking a worker: the calls are made on the pool for blocking calls.
//!
//! On a fiber each function hands its call to the pool of the runtime and suspends until that is done. On a plain thread, outside of
//! any runtime, it blocks the thread, as `std::fs` does. Types that only describe (`Metadata`, `Permissions`, `FileType`) are std's.
//!
//! # Races
//! A call that has begun cannot be taken back. So only questions are there as operations ([`read_op`], [`metadata_op`], ..): one that
//! loses runs to its end all the same (if it had begun), and its result is dropped. For the same reason a fiber that is unwound
//! by a shutdown leaves its call behind, and a write may still happen after that.
//!
//! # Errors
//! Those of `std::fs`; and an error of kind `Other` if the runtime has ended before the call was made.

mod dir;
mod file;
mod lock;
mod replace;

pub use dir::{DirBuilder, DirEntry, ReadDir, read_dir};
pub use file::{File, OpenOptions};
pub use replace::write_atomic;
pub use std::fs::{FileTimes, FileType, Metadata, Permissions, TryLockError};

use crate::Op;
use crate::blocking::{call, call_op};
use crate::op::BoxOp;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The bytes of a file.
///
/// # Errors
/// As [`std::fs::read`].
///
/// # Blocking
/// Suspends the fiber, or blocks the thread; so does everything in this module.
///
/// ```
/// fibers::run(|| {
///     let text = fibers::fs::read("Cargo.toml").unwrap();
///     assert!(text.starts_with(b"[package]"));
/// });
/// ```
pub fn read(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    read_op(path).perform()
}

/// The operation of [`read`].
pub fn read_op(path: impl AsRef<Path>) -> BoxOp<'static, io::Result<Vec<u8>>> {
    let path = path.as_ref().to_owned();
    call_op(|| fs::read(path))
}

/// The text of a file.
///
/// # Errors
/// As [`std::fs::read_to_string`].
pub fn read_to_string(path: impl AsRef<Path>) -> io::Result<String> {
    read_to_string_op(path).perform()
}

/// The operation of [`read_to_string`].
///
/// ```
/// use fibers::{Op, fs};
/// use std::time::Duration;
/// fibers::run(|| {
///     let text = fs::read_to_string_op("Cargo.toml").timeout(Duration::from_secs(60)).perform();
///     assert!(text.expect("in time").unwrap().contains("[package]"));
/// });
/// ```
pub fn read_to_string_op(path: impl AsRef<Path>) -> BoxOp<'static, io::Result<String>> {
    let path = path.as_ref().to_owned();
    call_op(|| fs::read_to_string(path))
}

/// What is known of a file; links are followed.
///
/// # Errors
/// As [`std::fs::metadata`].
pub fn metadata(path: impl AsRef<Path>) -> io::Result<Metadata> {
    metadata_op(path).perform()
}

/// The operation of [`metadata`].
pub fn metadata_op(path: impl AsRef<Path>) -> BoxOp<'static, io::Result<Metadata>> {
    let path = path.as_ref().to_owned();
    call_op(|| fs::metadata(path))
}

/// Writes a file, which is made or emptied before. The bytes are copied. See also [`write_atomic`].
///
/// # Errors
/// As [`std::fs::write`].
pub fn write(path: impl AsRef<Path>, contents: impl AsRef<[u8]>) -> io::Result<()> {
    let (path, contents) = (path.as_ref().to_owned(), contents.as_ref().to_owned());
    call(|| fs::write(path, contents))
}

/// Whether there is something at `path`; links are followed. An error says that nobody knows.
///
/// # Errors
/// As [`std::fs::exists`].
pub fn exists(path: impl AsRef<Path>) -> io::Result<bool> {
    let path = path.as_ref().to_owned();
    call(|| fs::exists(path))
}

/// Calls of one path, as std has them.
macro_rules! of_a_path {
    ($($(#[$doc:meta])+ $name:ident -> $Output:ty;)+) => {$(
        $(#[$doc])+
        ///
        /// # Errors
        #[doc = concat!("As [`std::fs::", stringify!($name), "`].")]
        pub fn $name(path: impl AsRef<Path>) -> io::Result<$Output> {
            let path = path.as_ref().to_owned();
            call(|| fs::$name(path))
        }
    )+};
}

of_a_path! {
    /// What is known of a file, or of a link itself.
    symlink_metadata -> Metadata;
    /// The path without links and without detours. Everything on it has to exist.
    canonicalize -> PathBuf;
    /// Where a symbolic link points.
    read_link -> PathBuf;
    /// Removes a file, or a link.
    remove_file -> ();
    /// Removes an empty directory.
    remove_dir -> ();
    /// Removes a directory with all that is in it; links are removed, not followed.
    remove_dir_all -> ();
    /// Makes a directory.
    create_dir -> ();
    /// Makes a directory, and those above it that are missing.
    create_dir_all -> ();
}

/// Calls of two paths, as std has them.
macro_rules! of_two_paths {
    ($($(#[$doc:meta])+ $name:ident -> $Output:ty;)+) => {$(
        $(#[$doc])+
        ///
        /// # Errors
        #[doc = concat!("As [`std::fs::", stringify!($name), "`].")]
        pub fn $name(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<$Output> {
            let (from, to) = (from.as_ref().to_owned(), to.as_ref().to_owned());
            call(|| fs::$name(from, to))
        }
    )+};
}

of_two_paths! {
    /// Copies a file with its permissions; what was at `to` is overwritten. Yields the number of bytes.
    copy -> u64;
    /// Gives a file another name; what had that name is replaced.
    rename -> ();
    /// Gives a file one more name.
    hard_link -> ();
}

/// Makes a symbolic link at `link` that points to `original`.
///
/// # Errors
/// As [`std::os::unix::fs::symlink`].
pub fn symlink(original: impl AsRef<Path>, link: impl AsRef<Path>) -> io::Result<()> {
    let (original, link) = (original.as_ref().to_owned(), link.as_ref().to_owned());
    call(|| std::os::unix::fs::symlink(original, link))
}

/// Calls of a path and two owners, as std has them.
macro_rules! of_owners {
    ($($(#[$doc:meta])+ $name:ident;)+) => {$(
        $(#[$doc])+
        ///
        /// # Errors
        #[doc = concat!("As [`std::os::unix::fs::", stringify!($name), "`].")]
        pub fn $name(path: impl AsRef<Path>, user: Option<u32>, group: Option<u32>) -> io::Result<()> {
            let path = path.as_ref().to_owned();
            call(move || std::os::unix::fs::$name(path, user, group))
        }
    )+};
}

of_owners! {
    /// Gives a file another user, another group, or both; `None` leaves it as it is. Links are followed.
    chown;
    /// As [`chown`], of a link itself.
    lchown;
}

/// Sets who may do what with a file.
///
/// # Errors
/// As [`std::fs::set_permissions`].
pub fn set_permissions(path: impl AsRef<Path>, permissions: Permissions) -> io::Result<()> {
    let path = path.as_ref().to_owned();
    call(|| fs::set_permissions(path, permissions))
}
