// v = <-rx => f(v), default => idle()
fn expansion() {
    {
        use fibers::__private::Selected1 as __Selected;
        let __out = fibers::__private::Op::try_perform(
            fibers::__private::choice((
                fibers::__private::arm(
                    fibers::__private::receive(&rx),
                    __Selected::A0,
                    &fibers::__private::Arm {
                        text: "v = <- rx",
                        file: "src/main.rs",
                        line: 1u32,
                        column: 1u32,
                    },
                ),
            )),
        );
        match __out {
            ::core::option::Option::Some(__Selected::A0(v)) => f(v),
            ::core::option::Option::None => idle(),
        }
    }
}

// default => idle()
fn expansion() {
    { idle() }
}

