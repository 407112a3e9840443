//! See `programs`. Under loom there are no fibers, and nothing to be run.

#[cfg(not(loom))]
mod programs;

fn main() {
    #[cfg(not(loom))]
    programs::main();
}
