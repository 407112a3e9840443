//! What the tests of this package share: seeds, watchdogs, subprocesses.
