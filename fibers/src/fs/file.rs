//! Open files.
//!
//! A call on the pool cannot borrow from its caller, who may be unwound meanwhile: bytes go through a buffer of the call's own, at most
//! [`CHUNK`] at a time. What lies in the kernel's memory already is read at once, without the pool and without a copy, where the file
//! system can tell (`RWF_NOWAIT`).

use crate::Op;
use crate::blocking::{call, call_op};
use crate::op::BoxOp;
use crate::prim::Arc;
use crate::{sched, sys};
use std::fmt;
use std::fs::{self, FileTimes, Metadata, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::SystemTime;

/// The most bytes that one call reads or writes.
const CHUNK: usize = 1 << 20;

/// An open file, as [`std::fs::File`] is. Reads and writes suspend the fiber, not its worker.
///
/// It is `Read`, `Write` and `Seek`, and so is a reference to it. At most 1 MiB is read or written at a time: more is a short read or
/// write, which `read_exact`, `write_all` and so on hide. Nothing is buffered here.
///
/// A call that a fiber was unwound out of (by a shutdown) may still happen, and move the cursor, after that.
///
/// ```
/// use fibers::fs::File;
/// use std::io::Read;
/// fibers::run(|| {
///     let mut text = String::new();
///     File::open("Cargo.toml").unwrap().read_to_string(&mut text).unwrap();
///     assert!(text.contains("[package]"));
/// });
/// ```
pub struct File {
    /// Calls that are under way share it.
    file: Arc<fs::File>,
}

impl File {
    /// Opens a file to read it.
    ///
    /// # Errors
    /// As [`std::fs::File::open`].
    ///
    /// # Blocking
    /// Suspends the fiber, or blocks the thread; so do all methods that ask the system for something.
    pub fn open(path: impl AsRef<Path>) -> io::Result<File> {
        OpenOptions::new().read(true).open(path)
    }

    /// Opens a file to write it; it is made, or emptied.
    ///
    /// # Errors
    /// As [`std::fs::File::create`].
    pub fn create(path: impl AsRef<Path>) -> io::Result<File> {
        OpenOptions::new().write(true).create(true).truncate(true).open(path)
    }

    /// Makes a file that did not exist, to read and write it.
    ///
    /// # Errors
    /// As [`std::fs::File::create_new`].
    pub fn create_new(path: impl AsRef<Path>) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create_new(true).open(path)
    }

    /// How to open a file: see [`OpenOptions`].
    pub fn options() -> OpenOptions {
        OpenOptions::new()
    }

    /// Makes a call on the pool that uses the file.
    pub(super) fn with<T: Send + 'static>(&self, f: impl FnOnce(&fs::File) -> io::Result<T> + Send + 'static) -> io::Result<T> {
        let file = self.file.clone();
        call(move || f(&file))
    }

    /// Reads at `offset` (in bytes from the beginning) without moving the cursor. Yields how many bytes; 0 is the end.
    ///
    /// # Errors
    /// As [`FileExt::read_at`].
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.read_through(buffer, Some(offset), move |file, bytes| file.read_at(bytes, offset))
    }

    /// The operation that reads at `offset`, as [`read_at`](File::read_at) does. One that loses may still read, for nobody.
    ///
    /// # Errors
    /// As [`FileExt::read_at`].
    pub fn read_at_op<'a>(&'a self, buffer: &'a mut [u8], offset: u64) -> impl Op<Output = io::Result<usize>> {
        let (file, len) = (self.file.clone(), buffer.len().min(CHUNK));
        let reading = call_op(move || {
            let mut bytes = vec![0; len];
            let count = file.read_at(&mut bytes, offset)?;
            bytes.truncate(count);
            Ok(bytes)
        });
        reading.wrap(move |bytes| {
            let bytes = bytes?;
            buffer[..bytes.len()].copy_from_slice(&bytes);
            Ok(bytes.len())
        })
    }

    /// Fills `buffer` from `offset` on, without moving the cursor.
    ///
    /// # Errors
    /// `UnexpectedEof` if the file ends before; those of [`read_at`](File::read_at).
    pub fn read_exact_at(&self, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !buffer.is_empty() {
            match self.read_at(buffer, offset) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => (buffer, offset) = (&mut buffer[count..], offset + count as u64),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes at `offset` (in bytes from the beginning) without moving the cursor. Yields how many bytes.
    ///
    /// # Errors
    /// As [`FileExt::write_at`].
    pub fn write_at(&self, buffer: &[u8], offset: u64) -> io::Result<usize> {
        self.write_through(buffer, move |file, bytes| file.write_at(bytes, offset))
    }

    /// Writes all of `buffer` from `offset` on, without moving the cursor.
    ///
    /// # Errors
    /// As [`FileExt::write_all_at`].
    pub fn write_all_at(&self, mut buffer: &[u8], mut offset: u64) -> io::Result<()> {
        while !buffer.is_empty() {
            match self.write_at(buffer, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => (buffer, offset) = (&buffer[count..], offset + count as u64),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads into the caller's buffer what is in memory, or else has `read` called on the pool.
    fn read_through(
        &self,
        buffer: &mut [u8],
        offset: Option<u64>,
        read: impl FnOnce(&fs::File, &mut [u8]) -> io::Result<usize> + Send + 'static,
    ) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if sched::here().is_none() {
            return read(&self.file, buffer);
        }
        // An error is found again, or not, by the call on the pool; so is the end.
        if let Ok(count @ 1..) = sys::read_cached(self.as_fd(), buffer, offset) {
            return Ok(count);
        }
        let len = buffer.len().min(CHUNK);
        let bytes = self.with(move |file| {
            let mut bytes = vec![0; len];
            let count = read(file, &mut bytes)?;
            bytes.truncate(count);
            Ok(bytes)
        })?;
        buffer[..bytes.len()].copy_from_slice(&bytes);
        Ok(bytes.len())
    }

    /// Has the pool read these bytes, unless they are in memory already: who needs them next does not wait for the disk.
    pub(crate) fn fetch(&self, offset: u64, len: usize) {
        let is_there = |offset| sys::read_cached(self.as_fd(), &mut [0], Some(offset)).is_ok();
        if len == 0 || sched::here().is_none() || is_there(offset) && is_there(offset.saturating_add(len as u64 - 1)) {
            return;
        }
        // An error is found again by whoever needs them.
        let _ = self.with(move |file| file.read_at(&mut vec![0; len], offset));
    }

    pub(crate) fn get_ref(&self) -> &fs::File {
        &self.file
    }

    fn write_through(
        &self,
        buffer: &[u8],
        write: impl FnOnce(&fs::File, &[u8]) -> io::Result<usize> + Send + 'static,
    ) -> io::Result<usize> {
        if sched::here().is_none() {
            return write(&self.file, buffer);
        }
        let bytes = buffer[..buffer.len().min(CHUNK)].to_vec();
        self.with(move |file| write(file, &bytes))
    }

    /// Brings contents and metadata to the disk.
    ///
    /// # Errors
    /// As [`std::fs::File::sync_all`].
    pub fn sync_all(&self) -> io::Result<()> {
        self.with(fs::File::sync_all)
    }

    /// Brings the contents to the disk, and of the metadata what is needed to find them.
    ///
    /// # Errors
    /// As [`std::fs::File::sync_data`].
    pub fn sync_data(&self) -> io::Result<()> {
        self.with(fs::File::sync_data)
    }

    /// Cuts the file off, or extends it with zeros, to `size` bytes.
    ///
    /// # Errors
    /// As [`std::fs::File::set_len`].
    pub fn set_len(&self, size: u64) -> io::Result<()> {
        self.with(move |file| file.set_len(size))
    }

    /// What is known of the file.
    ///
    /// # Errors
    /// As [`std::fs::File::metadata`].
    pub fn metadata(&self) -> io::Result<Metadata> {
        self.with(fs::File::metadata)
    }

    /// Sets who may do what with the file.
    ///
    /// # Errors
    /// As [`std::fs::File::set_permissions`].
    pub fn set_permissions(&self, permissions: Permissions) -> io::Result<()> {
        self.with(|file| file.set_permissions(permissions))
    }

    /// Sets when it was last read and changed.
    ///
    /// # Errors
    /// As [`std::fs::File::set_times`].
    pub fn set_times(&self, times: FileTimes) -> io::Result<()> {
        self.with(move |file| file.set_times(times))
    }

    /// Sets when it was last changed.
    ///
    /// # Errors
    /// As [`std::fs::File::set_modified`].
    pub fn set_modified(&self, time: SystemTime) -> io::Result<()> {
        self.set_times(FileTimes::new().set_modified(time))
    }

    /// Gives it another user, another group, or both; `None` leaves it as it is.
    ///
    /// # Errors
    /// As [`std::os::unix::fs::fchown`].
    pub fn chown(&self, user: Option<u32>, group: Option<u32>) -> io::Result<()> {
        self.with(move |file| std::os::unix::fs::fchown(file, user, group))
    }

    /// Another descriptor of the same open file: the cursor is shared.
    ///
    /// # Errors
    /// As [`std::fs::File::try_clone`].
    pub fn try_clone(&self) -> io::Result<File> {
        self.file.try_clone().map(File::from)
    }

    /// The file as std has it.
    ///
    /// # Errors
    /// If a call that nobody waits for any more still uses the descriptor, it is another one, and none may be left.
    pub fn into_std(self) -> io::Result<fs::File> {
        match Arc::try_unwrap(self.file) {
            Ok(file) => Ok(file),
            Err(shared) => shared.try_clone(),
        }
    }
}

impl Read for &File {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_through(buffer, None, |mut file, bytes| file.read(bytes))
    }

    /// In one call: std would make one for every few bytes.
    fn read_to_end(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        let mut rest = self.with(|mut file| {
            let mut rest = Vec::new();
            file.read_to_end(&mut rest)?;
            Ok(rest)
        })?;
        let count = rest.len();
        buffer.append(&mut rest);
        Ok(count)
    }

    fn read_to_string(&mut self, buffer: &mut String) -> io::Result<usize> {
        let rest = self.with(|mut file| {
            let mut rest = String::new();
            file.read_to_string(&mut rest)?;
            Ok(rest)
        })?;
        buffer.push_str(&rest);
        Ok(rest.len())
    }
}

impl Write for &File {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.write_through(buffer, |mut file, bytes| file.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for &File {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match to {
            // Moves a number in the kernel. From the end it has to ask the disk how long the file is.
            SeekFrom::Start(_) | SeekFrom::Current(_) => (&*self.file).seek(to),
            SeekFrom::End(_) => self.with(move |mut file| file.seek(to)),
        }
    }
}

impl Read for File {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buffer)
    }

    fn read_to_end(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        (&*self).read_to_end(buffer)
    }

    fn read_to_string(&mut self, buffer: &mut String) -> io::Result<usize> {
        (&*self).read_to_string(buffer)
    }
}

impl Write for File {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        (&*self).write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for File {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        (&*self).seek(to)
    }
}

impl From<fs::File> for File {
    fn from(file: fs::File) -> File {
        File { file: Arc::new(file) }
    }
}

impl From<OwnedFd> for File {
    fn from(fd: OwnedFd) -> File {
        fs::File::from(fd).into()
    }
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl AsRawFd for File {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not as std does it, which asks the file system for the path.
        f.debug_struct("File").field("fd", &self.as_raw_fd()).finish()
    }
}

/// How a file is to be opened, as [`std::fs::OpenOptions`] has it.
///
/// ```
/// use fibers::fs::OpenOptions;
/// use std::io::Write;
/// let path = std::env::temp_dir().join(format!("fibers-log-{}", std::process::id()));
/// fibers::run(|| {
///     let mut log = OpenOptions::new().append(true).create(true).open(&path).unwrap();
///     log.write_all(b"a line\n").unwrap();
///     fibers::fs::remove_file(&path).unwrap();
/// });
/// ```
#[derive(Clone, Debug)]
pub struct OpenOptions(fs::OpenOptions);

impl OpenOptions {
    /// Nothing is allowed yet.
    pub fn new() -> OpenOptions {
        OpenOptions(fs::OpenOptions::new())
    }

    /// Opens a file like this.
    ///
    /// # Errors
    /// As [`std::fs::OpenOptions::open`].
    ///
    /// # Blocking
    /// Suspends the fiber, or blocks the thread.
    pub fn open(&self, path: impl AsRef<Path>) -> io::Result<File> {
        self.open_op(path).perform()
    }

    /// The operation of [`open`](OpenOptions::open), for files whose opening may take for ever (named pipes, lost servers). One
    /// that loses may still open, and then closes the file.
    pub fn open_op(&self, path: impl AsRef<Path>) -> BoxOp<'static, io::Result<File>> {
        let (options, path) = (self.0.clone(), path.as_ref().to_owned());
        call_op(move || options.open(path).map(File::from))
    }
}

impl Default for OpenOptions {
    fn default() -> OpenOptions {
        OpenOptions::new()
    }
}

impl From<fs::OpenOptions> for OpenOptions {
    fn from(options: fs::OpenOptions) -> OpenOptions {
        OpenOptions(options)
    }
}

/// Options as std has them.
macro_rules! options {
    ($($(#[$doc:meta])+ $name:ident: $T:ty;)+) => {
        impl OpenOptions {$(
            $(#[$doc])+
            pub fn $name(&mut self, $name: $T) -> &mut OpenOptions {
                self.0.$name($name);
                self
            }
        )+}
    };
}

options! {
    /// To read it.
    read: bool;
    /// To write it.
    write: bool;
    /// To write at its end, wherever that is by then.
    append: bool;
    /// Its contents are removed.
    truncate: bool;
    /// It is made if it does not exist.
    create: bool;
    /// It is made, and must not exist.
    create_new: bool;
    /// The permissions of a file that is made, less the mask of the process. Default: `0o666`.
    mode: u32;
    /// Further `O_` flags for the system.
    custom_flags: i32;
}
