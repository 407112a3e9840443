//! Child processes, as `std::process` has them, whose waiting is an operation and suspends the fiber alone.
//!
//! [`Command`] describes a program, [`Child`] is one that runs. Its end is seen through a pidfd (a descriptor for a process): no
//! handler for SIGCHLD is installed, nobody waits for "any child", and children that other parts of the program have
//! started are left alone. A signal goes through the pidfd as well, so it never reaches a stranger who has inherited the number.
//! (Where the kernel refuses pidfds, because it is older than 5.3 or a sandbox forbids them, a thread waits for each child that runs, of
//! which there may be 128, and a signal goes to the number, as long as nobody has asked for the status.)
//!
//! # No zombies
//! A process that has ended stays in the process table until its parent has asked for its status. A [`Child`] that is dropped without
//! that is handed to a thread of the process (the caretaker), which asks once it has ended. (std leaves it there, until the parent
//! ends.)
//!
//! # Starting
//! [`Command::spawn`] is made on the caller's own thread, not on the pool: it takes about a millisecond, and the
//! [parent-death signal](Command::parent_death_signal) belongs to the thread that spawns.

mod child;
mod command;
mod end;
mod orphans;

pub use child::{Child, ChildStderr, ChildStdin, ChildStdout, Unfinished};
pub use command::Command;
pub use std::process::{ExitStatus, Output, Stdio};
