//! What tells of the end of a child: a descriptor that is readable from then on.
//!
//! That is a pidfd. Where the kernel has none, or a sandbox refuses them, it is a pipe whose other end is held by a thread that waits
//! for the child. The thread leaves the status to whoever asks for it, so until then the number is the child's, as with a pidfd. There
//! is one for each such child that runs, and not more than [`MOST_THREADS`].

use crate::prim::plain::{AtomicUsize, Ordering};
use crate::sys;
use std::io;
use std::os::fd::OwnedFd;

/// So many children may run whose ends threads wait for.
const MOST_THREADS: usize = 128;

static THREADS: AtomicUsize = AtomicUsize::new(0);

/// See above.
pub(super) struct End {
    pub(super) descriptor: OwnedFd,
    pub(super) is_pidfd: bool,
}

impl End {
    /// Of a child that nobody has waited for.
    ///
    /// # Errors
    /// If there is no descriptor for it; where pidfds are refused, also if there is no thread.
    pub(super) fn of(child: u32) -> io::Result<End> {
        match sys::pidfd_open(child) {
            Ok(descriptor) => Ok(End {
                descriptor,
                is_pidfd: true,
            }),
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => End::by_thread(child),
            Err(error) => Err(error),
        }
    }

    #[cold]
    fn by_thread(child: u32) -> io::Result<End> {
        let place = Place::take()?;
        let (reader, writer) = io::pipe()?;
        sys::spawn_thread("fibers-child".into(), move || {
            let _place = place;
            sys::wait_for_end(child);
            drop(writer);
        })?;
        Ok(End {
            descriptor: reader.into(),
            is_pidfd: false,
        })
    }
}

/// One of the threads that there may be.
struct Place;

impl Place {
    fn take() -> io::Result<Place> {
        if THREADS.fetch_add(1, Ordering::Relaxed) < MOST_THREADS {
            return Ok(Place);
        }
        drop(Place);
        let message = format!("the kernel gives no pidfd, and {MOST_THREADS} threads wait for children already");
        Err(io::Error::new(io::ErrorKind::ResourceBusy, message))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        THREADS.fetch_sub(1, Ordering::Relaxed);
    }
}
