#[fibers::main]
const unsafe extern "C" fn main<T>() {}
