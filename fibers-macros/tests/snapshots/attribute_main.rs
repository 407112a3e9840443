// #[fibers::main]
// fn main() { body() }
fn expansion() {
    fn main() {
        ::fibers::Runtime::builder()
            .build()
            .expect("the fiber runtime could not be started")
            .run(move || { body() })
    }
}

// #[fibers::main(workers = 2, crate = f)]
// fn main() -> R { body() }
fn expansion() {
    fn main() -> R {
        f::Runtime::builder()
            .workers(2)
            .build()
            .expect("the fiber runtime could not be started")
            .run(move || -> R { body() })
    }
}

