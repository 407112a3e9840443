#[fibers::main]
async fn main() {}
