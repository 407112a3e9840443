// biased; v = <-rx => f(v), w = <-ry => f(w)
fn expansion() {
    {
        use fibers::__private::Selected2 as __Selected;
        let __out = fibers::__private::Op::perform(
            fibers::__private::biased((
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
                fibers::__private::arm(
                    fibers::__private::receive(&ry),
                    __Selected::A1,
                    &fibers::__private::Arm {
                        text: "w = <- ry",
                        file: "src/main.rs",
                        line: 1u32,
                        column: 1u32,
                    },
                ),
            )),
        );
        match __out {
            __Selected::A0(v) => f(v),
            __Selected::A1(w) => f(w),
        }
    }
}

