//! Tests of the stacks as a whole.
