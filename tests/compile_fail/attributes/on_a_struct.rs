#[fibers::main]
struct Main;

fn main() {}
