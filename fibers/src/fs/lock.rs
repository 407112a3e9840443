//! Locks on open files, which other processes see.
//!
//! The system can wait for such a lock only by blocking a thread, for as long as others please: with enough of those the pool would
//! be full, also for the one call that unlocks. So nobody blocks here. Who has to wait asks again, after pauses that grow.

use super::File;
use crate::time;
use std::fs::{self, TryLockError};
use std::io;
use std::time::Duration;

/// The first pause, and the longest.
const PAUSE: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_millis(50);

/// The lock of an open file: exclusive, or shared by several. It is advice, which those heed who ask for locks as well, and it belongs to
/// the open file: [`try_clone`](File::try_clone) shares it, and it ends with the last duplicate.
///
/// ```
/// use fibers::fs::{self, File, TryLockError};
/// let path = std::env::temp_dir().join(format!("fibers-lock-{}", std::process::id()));
/// fibers::run(|| {
///     let (one, other) = (File::create(&path).unwrap(), File::create(&path).unwrap());
///     one.lock().unwrap();
///     assert!(matches!(other.try_lock(), Err(TryLockError::WouldBlock)));
///     one.unlock().unwrap();
///     other.lock_shared().unwrap();
///     one.lock_shared().unwrap();
///     fs::remove_file(&path).unwrap();
/// });
/// ```
impl File {
    /// Waits until nobody else has a lock, and takes it.
    ///
    /// There is no queue: of several who wait, who asks first gets it, at most 50 ms after it is free.
    ///
    /// # Errors
    /// As [`std::fs::File::lock`].
    pub fn lock(&self) -> io::Result<()> {
        with_pauses(|| self.try_lock())
    }

    /// Waits until nobody else has the lock for itself alone, and shares it.
    ///
    /// # Errors
    /// As [`std::fs::File::lock_shared`].
    pub fn lock_shared(&self) -> io::Result<()> {
        with_pauses(|| self.try_lock_shared())
    }

    /// Takes the lock if nobody else has it.
    ///
    /// # Errors
    /// [`TryLockError::WouldBlock`] if somebody has; otherwise as [`std::fs::File::try_lock`].
    pub fn try_lock(&self) -> Result<(), TryLockError> {
        self.ask(fs::File::try_lock)
    }

    /// Shares the lock if nobody else has it for itself alone.
    ///
    /// # Errors
    /// [`TryLockError::WouldBlock`] if somebody has; otherwise as [`std::fs::File::try_lock_shared`].
    pub fn try_lock_shared(&self) -> Result<(), TryLockError> {
        self.ask(fs::File::try_lock_shared)
    }

    /// Gives the lock back.
    ///
    /// # Errors
    /// As [`std::fs::File::unlock`].
    pub fn unlock(&self) -> io::Result<()> {
        self.with(fs::File::unlock)
    }

    fn ask(&self, call: impl FnOnce(&fs::File) -> Result<(), TryLockError> + Send + 'static) -> Result<(), TryLockError> {
        let taken = self.with(move |file| match call(file) {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        });
        match taken {
            Ok(true) => Ok(()),
            Ok(false) => Err(TryLockError::WouldBlock),
            Err(error) => Err(TryLockError::Error(error)),
        }
    }
}

fn with_pauses(mut ask: impl FnMut() -> Result<(), TryLockError>) -> io::Result<()> {
    let mut pause = PAUSE;
    loop {
        match ask() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) => {
                time::sleep(pause);
                pause = (pause * 2).min(LONGEST);
            }
        }
    }
}
