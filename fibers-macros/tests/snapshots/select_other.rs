// conn = listener.accept_op() => serve(conn)
fn expansion() {
    {
        use fibers::__private::Selected1 as __Selected;
        let __out = fibers::__private::Op::perform(
            fibers::__private::choice((
                fibers::__private::arm(
                    listener.accept_op(),
                    __Selected::A0,
                    &fibers::__private::Arm {
                        text: "conn = listener . accept_op ()",
                        file: "src/main.rs",
                        line: 1u32,
                        column: 1u32,
                    },
                ),
            )),
        );
        match __out {
            __Selected::A0(conn) => serve(conn),
        }
    }
}

// x = if c { a } else { b } => x
fn expansion() {
    {
        use fibers::__private::Selected1 as __Selected;
        let __out = fibers::__private::Op::perform(
            fibers::__private::choice((
                fibers::__private::arm(
                    if c { a } else { b },
                    __Selected::A0,
                    &fibers::__private::Arm {
                        text: "x = if c { a } else { b }",
                        file: "src/main.rs",
                        line: 1u32,
                        column: 1u32,
                    },
                ),
            )),
        );
        match __out {
            __Selected::A0(x) => x,
        }
    }
}

