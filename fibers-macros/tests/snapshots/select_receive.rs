// v = <-rx => f(v)
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
            __Selected::A0(v) => f(v),
        }
    }
}

// <-rx => {}
fn expansion() {
    {
        use fibers::__private::Selected1 as __Selected;
        let __out = fibers::__private::Op::perform(
            fibers::__private::choice((
                fibers::__private::arm(
                    fibers::__private::receive(&rx),
                    __Selected::A0,
                    &fibers::__private::Arm {
                        text: "<- rx",
                        file: "src/main.rs",
                        line: 1u32,
                        column: 1u32,
                    },
                ),
            )),
        );
        match __out {
            __Selected::A0(__value) => {
                ::core::mem::drop(__value);
                {}
            }
        }
    }
}

// _ = <-self.jobs[i].rx() => {}
fn expansion() {
    {
        use fibers::__private::Selected1 as __Selected;
        let __out = fibers::__private::Op::perform(
            fibers::__private::choice((
                fibers::__private::arm(
                    fibers::__private::receive(&self.jobs[i].rx()),
                    __Selected::A0,
                    &fibers::__private::Arm {
                        text: "_ = <- self . jobs [i] . rx ()",
                        file: "src/main.rs",
                        line: 1u32,
                        column: 1u32,
                    },
                ),
            )),
        );
        match __out {
            __Selected::A0(__value) => {
                ::core::mem::drop(__value);
                {}
            }
        }
    }
}

// <-&rx => {}
fn expansion() {
    {
        use fibers::__private::Selected1 as __Selected;
        let __out = fibers::__private::Op::perform(
            fibers::__private::choice((
                fibers::__private::arm(
                    fibers::__private::receive(&rx),
                    __Selected::A0,
                    &fibers::__private::Arm {
                        text: "<- & rx",
                        file: "src/main.rs",
                        line: 1u32,
                        column: 1u32,
                    },
                ),
            )),
        );
        match __out {
            __Selected::A0(__value) => {
                ::core::mem::drop(__value);
                {}
            }
        }
    }
}

