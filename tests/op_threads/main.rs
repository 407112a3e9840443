//! The semantics of operations on plain OS threads: the files of `semantics`, without any runtime. So it runs under Miri and
//! under ThreadSanitizer, which know threads but no fibers.

#[path = "../semantics/algebra.rs"]
mod algebra;
#[path = "../semantics/buffers.rs"]
mod buffers;
#[path = "../semantics/closing.rs"]
mod closing;
#[path = "../semantics/fairness.rs"]
mod fairness;
#[path = "../semantics/faults_op.rs"]
mod faults_op;
#[path = "../semantics/guards.rs"]
mod guards;
#[path = "../semantics/nacks.rs"]
mod nacks;
#[path = "../semantics/rendezvous.rs"]
mod rendezvous;
#[path = "../semantics/resources.rs"]
mod resources;
#[path = "../semantics/stress.rs"]
mod stress;
#[path = "../semantics/time.rs"]
mod time;
#[path = "../semantics/waiters.rs"]
mod waiters;

use fibers_tests::On;

fn everywhere(test: impl Fn(On)) {
    On::Threads.run(test);
}

fn under_stress(test: impl Fn(On)) {
    On::Threads.run(test);
}
