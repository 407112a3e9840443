#[fibers::main(threads = 2, workers = 1, workers = 2)]
fn main() {}
