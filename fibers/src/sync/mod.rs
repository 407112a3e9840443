//! Synchronisation whose waiting is an operation.

pub mod atomic;
mod broadcast;
mod error;
mod ivar;
mod mailbox;
mod mvar;
mod swap;
mod until;
mod wait_group;
mod watch;

pub use broadcast::{Broadcast, BroadcastRecvOp, BroadcastSendOp, Lag, Subscriber};
pub use error::{BroadcastRecvError, PutError, SwapError, WatchClosed};
pub use ivar::{IVar, IVarOp};
pub use mailbox::{Mailbox, MailboxOp};
pub use mvar::{MVar, PutOp, ReadOp, SwapVarOp, TakeOp};
pub use swap::{Swap, SwapOp};
pub use wait_group::{WaitGroup, WaitGroupOp};
pub use watch::{ChangedOp, WaitForOp, Watch, WatchRef, Watcher};
