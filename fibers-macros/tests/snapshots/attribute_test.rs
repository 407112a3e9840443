// #[fibers::test]
// #[should_panic]
// fn panics() { body() }
fn expansion() {
    #[::core::prelude::v1::test]
    #[should_panic]
    fn panics() {
        ::fibers::Runtime::builder()
            .build()
            .expect("the fiber runtime could not be started")
            .run(move || { body() })
    }
}

