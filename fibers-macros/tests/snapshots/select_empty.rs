fn expansion() {
    match fibers::__private::Op::perform(
        fibers::__private::never::<::core::convert::Infallible>(),
    ) {}
}

