#[fibers::test]
fn runs_on_a_fiber() {
    assert_eq!(fibers::spawn(|| 3).join().unwrap(), 3);
    fibers::yield_now();
}

#[fibers::test(workers = 2, seed = 3, stack_size = 128 << 10)]
#[should_panic(expected = "told so")]
fn keeps_other_attributes() {
    panic!("told so");
}

#[fibers::test(shutdown = fibers::Shutdown::Unwind, crate = fibers)]
fn returns_a_result() -> Result<(), std::num::ParseIntError> {
    let _: u8 = "3".parse()?;
    Ok(())
}
