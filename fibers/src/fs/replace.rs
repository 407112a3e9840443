//! Writing a file so that nobody, and no power failure, ever sees half of it.

use crate::blocking::call;
use crate::prim::plain::{AtomicU64, Ordering};
use crate::sys;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Writes a file as a whole: whoever opens `path` finds either what was there before or all of `contents`.
///
/// The contents are written to a temporary file in the same directory, which is flushed to the disk and then takes the place of what
/// was at `path`; the directory is flushed as well. The new file has the permissions of the old one (who may read, write and execute
/// it, not as whom it executes), but it is another file: hard links keep the old contents, and the owner is whoever writes. If `path`
/// is a symbolic link, the file that it points to is replaced.
///
/// # Errors
/// `InvalidInput` if there is something at `path` that is no file, such as a device or a named pipe; what any of the steps fails with. What was at `path` is untouched then and the temporary file is removed, unless it was the
/// last step: an error of flushing the directory leaves the new contents in place.
///
/// # Blocking
/// Suspends the fiber, or blocks the thread. It is one call on the pool: a fiber that is unwound while it waits leaves no half
/// of it behind.
///
/// ```
/// use fibers::fs;
/// let path = std::env::temp_dir().join(format!("fibers-doc-{}", std::process::id()));
/// fibers::run(|| {
///     fs::write_atomic(&path, "one").unwrap();
///     fs::write_atomic(&path, "two").unwrap();
///     assert_eq!(fs::read_to_string(&path).unwrap(), "two");
///     fs::remove_file(&path).unwrap();
/// });
/// ```
pub fn write_atomic(path: impl AsRef<Path>, contents: impl AsRef<[u8]>) -> io::Result<()> {
    let (path, contents) = (path.as_ref().to_owned(), contents.as_ref().to_owned());
    call(move || replace(path, &contents))
}

fn replace(path: PathBuf, contents: &[u8]) -> io::Result<()> {
    let target = match fs::symlink_metadata(&path) {
        Ok(metadata) if metadata.is_symlink() => fs::canonicalize(&path)?,
        _ => path,
    };
    let directory = match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let old = fs::metadata(&target).ok();
    // (A directory is in its way by itself.)
    if old.as_ref().is_some_and(|old| !old.is_file() && !old.is_dir()) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "only a regular file can be replaced",
        ));
    }
    // Without set-user-ID and the like: those bits were given to another file, perhaps by another owner.
    let mode = old.map(|old| old.permissions().mode() & 0o777);
    let mut temporary = Temporary::new(directory, mode.unwrap_or(0o666))?;
    if let Some(mode) = mode {
        // As they are, whatever the mask of the process says; before anything is in the file that others must not read.
        temporary.file.set_permissions(Permissions::from_mode(mode))?;
    }
    temporary.file.write_all(contents)?;
    temporary.file.sync_all()?;
    fs::rename(&temporary.path, &target)?;
    temporary.kept = true;
    File::open(directory)?.sync_all()
}

/// A file that is removed unless it is kept.
struct Temporary {
    path: PathBuf,
    file: File,
    kept: bool,
}

impl Temporary {
    fn new(directory: &Path, mode: u32) -> io::Result<Temporary> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        loop {
            // The random number is for other machines that write to the same disk.
            let (count, random) = (COUNT.fetch_add(1, Ordering::Relaxed), sys::entropy());
            let path = directory.join(format!(".{}-{count}-{random:016x}.tmp", std::process::id()));
            match OpenOptions::new().write(true).create_new(true).mode(mode).open(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                file => {
                    return Ok(Temporary {
                        file: file?,
                        path,
                        kept: false,
                    });
                }
            }
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.kept {
            // The error that has led here matters more.
            let _ = fs::remove_file(&self.path);
        }
    }
}
