use fibers::sync::RwLock;

fn main() {
    let lock = RwLock::new(1);
    *lock.read() += 1;
}
