#[fibers::main(workers)]
fn main() {}
