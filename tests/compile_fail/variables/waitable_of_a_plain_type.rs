use fibers::sync::atomic::Waitable;

fn wait(_number: &Waitable<u64>) {}

fn main() {}
