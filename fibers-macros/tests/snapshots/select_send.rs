// tx <- item => sent()
fn expansion() {
    {
        use fibers::__private::Selected1 as __Selected;
        let __out = fibers::__private::Op::perform(
            fibers::__private::choice((
                fibers::__private::arm(
                    fibers::__private::transmit(&tx, item),
                    __Selected::A0,
                    &fibers::__private::Arm {
                        text: "tx <- item",
                        file: "src/main.rs",
                        line: 1u32,
                        column: 1u32,
                    },
                ),
            )),
        );
        match __out {
            __Selected::A0(__value) => {
                fibers::__private::sent(__value);
                sent()
            }
        }
    }
}

// r = tx <- f(x) => r?
fn expansion() {
    {
        use fibers::__private::Selected1 as __Selected;
        let __out = fibers::__private::Op::perform(
            fibers::__private::choice((
                fibers::__private::arm(
                    fibers::__private::transmit(&tx, f(x)),
                    __Selected::A0,
                    &fibers::__private::Arm {
                        text: "r = tx <- f (x)",
                        file: "src/main.rs",
                        line: 1u32,
                        column: 1u32,
                    },
                ),
            )),
        );
        match __out {
            __Selected::A0(r) => r?,
        }
    }
}

// self.jobs[i].tx <- Job { id } => {}
fn expansion() {
    {
        use fibers::__private::Selected1 as __Selected;
        let __out = fibers::__private::Op::perform(
            fibers::__private::choice((
                fibers::__private::arm(
                    fibers::__private::transmit(&self.jobs[i].tx, Job { id }),
                    __Selected::A0,
                    &fibers::__private::Arm {
                        text: "self . jobs [i] . tx <- Job { id }",
                        file: "src/main.rs",
                        line: 1u32,
                        column: 1u32,
                    },
                ),
            )),
        );
        match __out {
            __Selected::A0(__value) => {
                fibers::__private::sent(__value);
                {}
            }
        }
    }
}

