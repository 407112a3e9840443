use fibers::sync::Mutex;

static TOTAL: Mutex<u32> = Mutex::new(0);

fn main() {
    let guard = TOTAL.lock();
    fibers::spawn(move || drop(guard));
}
