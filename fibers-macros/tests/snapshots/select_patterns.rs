// Ok(v) = <-rx => f(v)
fn expansion() {
    {
        use fibers::__private::Selected1 as __Selected;
        let __out = fibers::__private::Op::perform(
            fibers::__private::choice((
                fibers::__private::arm(
                    fibers::__private::receive(&rx),
                    __Selected::A0,
                    &fibers::__private::Arm {
                        text: "Ok (v) = <- rx",
                        file: "src/main.rs",
                        line: 1u32,
                        column: 1u32,
                    },
                ),
            )),
        );
        match __out {
            __Selected::A0(__value) => {
                let Ok(v) = __value;
                f(v)
            }
        }
    }
}

// Ok(v) = <-rx else { continue } => f(v)
fn expansion() {
    {
        use fibers::__private::Selected1 as __Selected;
        let __out = fibers::__private::Op::perform(
            fibers::__private::choice((
                fibers::__private::arm(
                    fibers::__private::receive(&rx),
                    __Selected::A0,
                    &fibers::__private::Arm {
                        text: "Ok (v) = <- rx",
                        file: "src/main.rs",
                        line: 1u32,
                        column: 1u32,
                    },
                ),
            )),
        );
        match __out {
            __Selected::A0(__value) => {
                let Ok(v) = __value else { continue };
                f(v)
            }
        }
    }
}

// v: Result<u8, _> = <-rx => v
fn expansion() {
    {
        use fibers::__private::Selected1 as __Selected;
        let __out = fibers::__private::Op::perform(
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
            __Selected::A0(__value) => {
                let v: Result<u8, _> = __value;
                v
            }
        }
    }
}

// A(x) | B(x) = op => x
fn expansion() {
    {
        use fibers::__private::Selected1 as __Selected;
        let __out = fibers::__private::Op::perform(
            fibers::__private::choice((
                fibers::__private::arm(
                    op,
                    __Selected::A0,
                    &fibers::__private::Arm {
                        text: "A (x) | B (x) = op",
                        file: "src/main.rs",
                        line: 1u32,
                        column: 1u32,
                    },
                ),
            )),
        );
        match __out {
            __Selected::A0(__value) => {
                let (A(x) | B(x)) = __value;
                x
            }
        }
    }
}

