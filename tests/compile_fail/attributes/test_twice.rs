#[fibers::test]
#[test]
fn works() {}

fn main() {}
