#[fibers::main]
fn main(args: Vec<String>) {}
