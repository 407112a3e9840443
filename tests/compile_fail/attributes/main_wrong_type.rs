#[fibers::main(workers = "two")]
fn main() -> Result<(), std::num::ParseIntError> {
    Ok(())
}
