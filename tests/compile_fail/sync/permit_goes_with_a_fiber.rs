use fibers::{go, sync::Semaphore};
use std::sync::Arc;

fn main() {
    let semaphore = Arc::new(Semaphore::new(1));
    let permit = semaphore.acquire().unwrap(); // `acquire_owned` keeps the semaphore alive
    go! { drop(permit) };
}
