//! Synchronising variables: IVar, MVar, Mailbox, Broadcast, Watch, swap channels, and atomics that can be waited for.
#![cfg(not(loom))]
