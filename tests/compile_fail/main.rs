//! Misuse, and what the compiler says about it. `TRYBUILD=overwrite` accepts new messages; read each of them then: does it tell
//! what to write instead, in the right place?

#[test]
fn messages() {
    trybuild::TestCases::new().compile_fail("compile_fail/*/*.rs");
}
