//! Complete programs written with `fibers`; each `.rs` beside this file is one.
