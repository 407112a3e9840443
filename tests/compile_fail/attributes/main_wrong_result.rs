#[fibers::main]
fn main() -> Result<(), std::num::ParseIntError> {
    "1".parse::<u8>()
}
