//! The semantics of operations: one module per group of the list, one or more tests per case, named by the case's number.
//!
//! The groups run on plain threads and on fibers; `op_threads` runs the same files on plain threads alone. What needs a runtime
//! in any case stands in `runtime.rs`.

mod algebra;
mod buffers;
mod closing;
mod fairness;
mod faults_op;
mod guards;
mod nacks;
mod rendezvous;
mod resources;
mod runtime;
mod stress;
mod time;
mod waiters;

use fibers_tests::On;

/// Runs a test with every kind of performer.
fn everywhere(test: impl Fn(On)) {
    for on in [On::Threads, On::Fibers(1), On::Fibers(2)] {
        on.run(&test);
    }
}

/// Runs a stress test with every kind of performer, and with more workers than there may be processors.
fn under_stress(test: impl Fn(On)) {
    everywhere(&test);
    On::Fibers(4).run(&test);
}
