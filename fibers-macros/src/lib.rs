//! The macros of the crate `fibers`. Use them through that crate.
