//! The workloads that the peers run as well.
fn main() {}
