use fibers::sync::RwLock;

static TOTAL: RwLock<u32> = RwLock::new(0);

fn main() {
    let guard = TOTAL.read();
    fibers::spawn(move || drop(guard));
}
