//! What is said when no stack can be had: which limit of the system was met, and what to do about it.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;

use crate::sys;

/// The step that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Mapping memory of so many bytes.
    Map(usize),
    /// Guarding a stack, with marks in the page tables.
    Mark,
    /// Guarding a stack, by splitting its mapping.
    Split,
}

/// Why there was no stack; can be reported many times.
#[derive(Clone, Debug)]
pub(super) struct Exhausted {
    message: Arc<str>,
    kind: io::ErrorKind,
    errno: Option<i32>,
}

impl Exhausted {
    pub(super) fn new(step: Step, in_use: usize, cause: &io::Error) -> Exhausted {
        let short_of_memory = cause.raw_os_error() == Some(libc::ENOMEM);
        let advice = match step {
            _ if !short_of_memory => String::new(),
            Step::Map(_) => mapping_advice(),
            Step::Mark => ": the machine is out of memory for page tables; run fewer fibers at once".into(),
            Step::Split => splitting_advice(),
        };
        let what = match step {
            Step::Map(bytes) => {
                format!("no memory could be mapped for another fiber stack ({bytes} bytes)")
            }
            Step::Mark | Step::Split => "another fiber stack could not be guarded".into(),
        };
        let message = format!("{what} with {in_use} stacks in use{advice}").into();
        Exhausted {
            message,
            kind: cause.kind(),
            errno: cause.raw_os_error(),
        }
    }

    pub(super) fn to_error(&self) -> io::Error {
        io::Error::new(self.kind, self.clone())
    }
}

/// A mapping can meet three limits; the kernel does not say which.
fn mapping_advice() -> String {
    if let Some(bytes) = sys::address_space_limit() {
        return format!(
            ": the address space of the process is limited to {bytes} bytes; raise the limit (ulimit -v), \
             make stacks smaller, or run fewer fibers at once"
        );
    }
    if sys::read_setting("vm/overcommit_memory") == Some(2) {
        return ": the machine reserves all memory in advance (vm.overcommit_memory = 2); raise vm.overcommit_ratio, \
                make stacks smaller, or run fewer fibers at once"
            .into();
    }
    let limit = map_limit();
    format!(
        ": the address space is used up, or the {limit} mappings that the kernel allows a process (vm.max_map_count); \
         make stacks smaller, run fewer fibers at once, or raise the limit (sysctl -w vm.max_map_count=..)"
    )
}

fn splitting_advice() -> String {
    let limit = map_limit();
    format!(
        ": this kernel has no MADV_GUARD_INSTALL (Linux 6.13), so each stack takes two of the {limit} mappings that it \
         allows a process (vm.max_map_count); raise the limit (sysctl -w vm.max_map_count=..) or run fewer fibers at once"
    )
}

fn map_limit() -> String {
    sys::read_setting("vm/max_map_count").map_or("65530 (by default)".into(), |limit| limit.to_string())
}

impl fmt::Display for Exhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match self.errno {
            Some(errno) => write!(f, ": {}", io::Error::from_raw_os_error(errno)),
            None => Ok(()),
        }
    }
}

impl Error for Exhausted {}
