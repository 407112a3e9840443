#[fibers::main]
fn main();
