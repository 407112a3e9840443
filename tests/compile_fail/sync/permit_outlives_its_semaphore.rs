use fibers::sync::Semaphore;

fn main() {
    let permit = {
        let semaphore = Semaphore::new(1);
        semaphore.acquire().unwrap()
    };
    drop(permit);
}
