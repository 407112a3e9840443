use fibers::sync::atomic::Waitable;

fn main() {
    let number = Waitable::<u64>::new(1);
    number.wait_until(|n| n > 1);
}
